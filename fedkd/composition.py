"""Whether the parts of an algorithm fit together."""

from collections.abc import Iterator

from fedkd import plugins
from fedkd.aggregation import LogitAggregator
from fedkd.config import ExperimentConfig
from fedkd.local import ClientBehaviour, ClientRule
from fedkd.privacy import LogitMechanism, Private, private_part
from fedkd.secure_rules import secure_faults
from fedkd.students import StudentRule


def composition_faults(config: ExperimentConfig) -> list[str]:
    """What keeps the rules, the teacher, the behaviours and the privacy mechanism from working together."""
    return list(_faults(config))


def _faults(config: ExperimentConfig) -> Iterator[str]:
    client: ClientRule = plugins.build(plugins.CLIENT_RULE, config.clients.rule.name, config.clients.rule.options)
    student: StudentRule = plugins.build(plugins.STUDENT_RULE, config.student.rule.name, config.student.rule.options)
    if client.sends != student.needs:
        yield (
            f"clients.rule: {config.clients.rule.name} sends {client.sends} and student.rule "
            f"{config.student.rule.name} needs {student.needs}; exchange one of the two"
        )
    for missing in sorted(client.receives - student.offers):
        yield (
            f"clients.rule: {config.clients.rule.name} needs {missing} of the server, which student.rule "
            f"{config.student.rule.name} does not offer; exchange one of the two"
        )
    if "parameters" in client.receives and not student.averages_architectures:
        yield from _architecture_faults(config, student)
    teacher: type[LogitAggregator] = plugins.resolve(plugins.TEACHER, config.teacher.name)
    if student.teaches and teacher.needs_labels and config.data.public.labelled == 0:
        yield (
            f"teacher.name: {config.teacher.name} is fitted on labelled public samples and data.public.labelled is 0; "
            "raise it, or choose another teacher"
        )
    if student.needs_labels and config.data.public.labelled == 0:
        yield (
            f"student.rule: {config.student.rule.name} trains on labelled public samples before the first round and "
            "data.public.labelled is 0; raise it, or set student.rule.pretrain_steps=0"
        )
    behaviour: type[ClientBehaviour] = plugins.resolve(plugins.CLIENT, config.clients.attackers.behaviour.name)
    if behaviour.needs_others and client.sends != "logits" and config.clients.attackers.share > 0:
        yield (
            f"clients.attackers.behaviour: {config.clients.attackers.behaviour.name} forges logits and clients.rule "
            f"{config.clients.rule.name} sends {client.sends}; choose another behaviour"
        )
    honest: type[ClientBehaviour] = plugins.resolve(plugins.CLIENT, config.clients.behaviour.name)
    if honest.needs_others:
        yield (
            f"clients.behaviour: {config.clients.behaviour.name} is for attackers that know what the others answered; "
            "name it in clients.attackers.behaviour, and their share in clients.attackers.share"
        )
    if config.exchange.cache_rounds > 0 and client.sends != "logits":
        yield (
            f"exchange.cache_rounds: it saves logits and clients.rule {config.clients.rule.name} sends "
            f"{client.sends}, got {config.exchange.cache_rounds}; set exchange.cache_rounds=0"
        )
    yield from _privacy_faults(config, client, student)
    yield from secure_faults(config)


def _privacy_faults(config: ExperimentConfig, client: ClientRule, student: StudentRule) -> Iterator[str]:
    name, rule, teacher = config.privacy.mechanism.name, config.clients.rule.name, config.teacher.name
    mechanism: LogitMechanism = plugins.build(plugins.MECHANISM, name, config.privacy.mechanism.options)
    aggregator: LogitAggregator = plugins.build(plugins.TEACHER, teacher, config.teacher.options)
    if isinstance(mechanism, Private):
        yield from _uncovered(config, client, mechanism)
    elif name != "none" and client.sends != "logits":
        yield (
            f"privacy.mechanism: it protects logits and clients.rule {rule} sends {client.sends}; "
            "set privacy.mechanism=none or choose a rule that sends logits"
        )
    if isinstance(aggregator, Private):
        if not student.teaches or client.sends != "logits":
            yield (
                f"teacher.name: {teacher} protects what a teacher makes of logits, but clients.rule {rule} sends "
                f"{client.sends} and student.rule {config.student.rule.name} "
                f"{'has a' if student.teaches else 'has no'} teacher; choose rules with logits and a teacher, or "
                "another teacher"
            )
        behaviour: type[ClientBehaviour] = plugins.resolve(plugins.CLIENT, config.clients.attackers.behaviour.name)
        if behaviour.needs_others and config.clients.attackers.share > 0:
            yield (
                f"clients.attackers.behaviour: {config.clients.attackers.behaviour.name} repeats what honest clients "
                f"answered, so that a client has more than its own vote and the noise of teacher.name={teacher} is too "
                "little; choose another behaviour or another teacher"
            )
    try:
        part = private_part(mechanism, aggregator)
    except ValueError as error:
        yield f"privacy.mechanism: {error}; set privacy.mechanism=none or choose another teacher"
        return
    if part is not None and student.teaches and aggregator.needs_label_counts:
        yield (
            f"teacher.name: {teacher} has clients disclose how many samples of each class they hold, which no proof "
            f"covers, and privacy.mechanism is {name}; choose another teacher, or set privacy.mechanism=none"
        )


def _uncovered(config: ExperimentConfig, client: ClientRule, mechanism: LogitMechanism) -> Iterator[str]:
    """What clients send, or do with their data, that the mechanism's proof does not cover."""
    name, rule = config.privacy.mechanism.name, config.clients.rule.name
    if isinstance(mechanism, Private) and client.sends not in mechanism.covers:
        yield (
            f"privacy.mechanism: {name} covers {' and '.join(sorted(mechanism.covers))}, and clients.rule {rule} sends "
            f"{client.sends}; choose a rule that sends what is covered, or set privacy.mechanism=none"
        )
    if client.abstains:
        yield (
            f"privacy.mechanism: {name} proves nothing about where clients abstain, and clients.rule {rule} does; "
            "choose another rule, or set privacy.mechanism=none"
        )
    if not mechanism.trains_privately:
        return
    if not client.only_trains:
        yield (
            f"privacy.mechanism: {name} makes local training private, and clients.rule {rule} uses private data in "
            "other ways too; choose broadcast, own_model or parameters, or set privacy.mechanism=none"
        )
    if config.clients.logit_adjustment > 0:
        yield (
            f"clients.logit_adjustment: it uses a client's label counts, which the proof of privacy.mechanism={name} "
            f"does not cover, got {config.clients.logit_adjustment:g}; set clients.logit_adjustment=0"
        )


def _architecture_faults(config: ExperimentConfig, student: StudentRule) -> Iterator[str]:
    others = sorted({model.name for model in config.clients.models if model != config.student.model})
    if others:
        yield (
            f"clients.models: with clients.rule {config.clients.rule.name} and student.rule {config.student.rule.name} "
            f"clients start from the student and must share its architecture ({config.student.model.name}), got "
            f"{', '.join(others)}; leave it empty, or set "
            f"{'student.rule=average_and_distil' if student.needs == 'parameters' else 'clients.rule=own_model'}"
        )
