"""Whether the parts of an algorithm fit together."""

import importlib
from collections.abc import Iterator

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.app.secure_checks import check_secure_sum, secure_faults
from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.rule import ClientRule
from fedkd.config.load import PLUGIN_SECTIONS, plugin_at, to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.preview import private_part
from fedkd.privacy.private import Private
from fedkd.server.privacy_budget import with_noise
from fedkd.server.student_rule import StudentRule


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
    teacher: type[LogitAggregator] = plugins.resolve(plugins.STRATEGY, config.strategy.name)
    if student.teaches and teacher.needs_labels and config.data.public.labelled == 0:
        yield (
            f"strategy.name: {config.strategy.name} is fitted on labelled public samples and data.public.labelled is "
            "0; raise it, or choose another strategy"
        )
    if student.needs_labels and config.data.public.labelled == 0:
        yield (
            f"student.rule: {config.student.rule.name} trains on labelled public samples before the first round and "
            "data.public.labelled is 0; raise it, or set student.rule.pretrain_steps=0"
        )
    behaviour: type[ClientBehaviour] = plugins.resolve(plugins.BEHAVIOUR, config.clients.attackers.behaviour.name)
    if behaviour.needs_others and client.sends != "logits" and config.clients.attackers.share > 0:
        yield (
            f"clients.attackers.behaviour: {config.clients.attackers.behaviour.name} forges logits and clients.rule "
            f"{config.clients.rule.name} sends {client.sends}; choose another behaviour"
        )
    honest: type[ClientBehaviour] = plugins.resolve(plugins.BEHAVIOUR, config.clients.behaviour.name)
    if honest.needs_others:
        yield (
            f"clients.behaviour: {config.clients.behaviour.name} is for attackers that know what the others answered; "
            "name it in clients.attackers.behaviour, and their share in clients.attackers.share"
        )
    if config.communication.cache_rounds > 0 and client.sends != "logits":
        yield (
            f"communication.cache_rounds: it saves logits and clients.rule {config.clients.rule.name} sends "
            f"{client.sends}, got {config.communication.cache_rounds}; set communication.cache_rounds=0"
        )
    yield from _privacy_faults(config, client, student)
    yield from secure_faults(config)


def _privacy_faults(config: ExperimentConfig, client: ClientRule, student: StudentRule) -> Iterator[str]:
    name, rule, teacher = config.privacy.mechanism.name, config.clients.rule.name, config.strategy.name
    mechanism: LogitMechanism = plugins.build(plugins.MECHANISM, name, config.privacy.mechanism.options)
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, teacher, config.strategy.options)
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
                f"strategy.name: {teacher} protects what a teacher makes of logits, but clients.rule {rule} sends "
                f"{client.sends} and student.rule {config.student.rule.name} "
                f"{'has a' if student.teaches else 'has no'} teacher; choose rules with logits and a teacher, or "
                "another strategy"
            )
        behaviour: type[ClientBehaviour] = plugins.resolve(plugins.BEHAVIOUR, config.clients.attackers.behaviour.name)
        if behaviour.needs_others and config.clients.attackers.share > 0:
            yield (
                f"clients.attackers.behaviour: {config.clients.attackers.behaviour.name} repeats what honest clients "
                f"answered, so that a client has more than its own vote and the noise of strategy.name={teacher} is "
                "too little; choose another behaviour or another strategy"
            )
    try:
        part = private_part(mechanism, aggregator)
    except ValueError as error:
        yield f"privacy.mechanism: {error}; set privacy.mechanism=none or choose another strategy"
        return
    if part is not None and student.teaches and aggregator.needs_label_counts:
        yield (
            f"strategy.name: {teacher} has clients disclose how many samples of each class they hold, which no proof "
            f"covers, and privacy.mechanism is {name}; choose another strategy, or set privacy.mechanism=none"
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


def faults_elsewhere(config: ExperimentConfig, where: str) -> list[str]:
    """The plug-ins that processes of Ray or Flower (``where``) cannot import, being defined in the script itself."""
    found = []
    for path, kind in PLUGIN_SECTIONS:
        for spec in plugin_at(config, path):
            module, _, cls = spec.name.partition(":")
            if module == "__main__":
                name = cls.lower()
                own = f"into {kind.source}/{name}.py and name it {name}, or " if kind.by_path else ""
                found.append(
                    f"{path}.name: {cls} is defined in the script or notebook that is running, which the processes of "
                    f"{where} cannot import, got {spec.name!r}; put it {own}into my_mod.py and name it my_mod:{cls}"
                    + (", or set engine.kind=inline" if where == "Ray" else "")
                )
    return found


def notices(config: ExperimentConfig) -> list[str]:
    """What the user should read before the run: which shipped plug-ins a file of theirs stands in for."""
    pairs = [(kind, spec.name) for path, kind in PLUGIN_SECTIONS for spec in plugin_at(config, path)]
    return [
        f"{kind.noun} {name}: {files[0]} is used in place of the shipped one"
        for kind, name in dict.fromkeys(pairs)
        if (files := plugins.hidden(kind, name)) is not None
    ]


def check(config: ExperimentConfig, *, own_engine: bool = True) -> Experiment:
    """Load what the experiment needs; raises ``ConfigError`` or ``DataError`` for what cannot work.

    In the configuration of what is returned, a mechanism's target ε is replaced by the noise that meets it. Without
    ``own_engine`` that of ``engine.kind`` will not be started, and need not work.
    """
    problems = composition_faults(config)
    if config.engine.kind == "ray" or not own_engine:
        problems.extend(faults_elsewhere(config, "Ray" if own_engine else "Flower"))
    if own_engine and config.engine.kind == "ray" and importlib.util.find_spec("ray") is None:
        problems.append(
            "engine.kind: 'ray' needs the package ray, which is not installed; "
            "pip install 'ray==2.55.*', or set engine.kind=inline"
        )
    student: type[StudentRule] = plugins.resolve(plugins.STUDENT_RULE, config.student.rule.name)
    if "teacher_only" in config.controls and not student.teaches:
        problems.append(
            f"controls: student.rule {config.student.rule.name} has no teacher to measure, got teacher_only; "
            "leave it out"
        )
    try:
        experiment = Experiment.of(to_json(config))
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    experiment = with_noise(experiment)
    check_secure_sum(experiment)
    return experiment
