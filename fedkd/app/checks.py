"""Whether an experiment can be carried out: whether its parts fit together, its data are there, and its engine is."""

import importlib.util
from collections.abc import Iterator

from fedkd.app.data_checks import sample_faults
from fedkd.app.loss_checks import choice_faults, loss_faults
from fedkd.app.model_checks import kept_faults, model_faults
from fedkd.app.secure_checks import check_secure_sum, secure_faults
from fedkd.client.rule import ClientRule
from fedkd.client.setup import attack_behaviour, client_rule, honest_behaviour
from fedkd.config.given import pinned
from fedkd.config.plugin_sections import PLUGIN_SECTIONS, plugin_at
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.faults import told_by_line
from fedkd.core.messages import CONSENSUS, LABELS, LOGITS, PARAMETERS
from fedkd.experiment import Experiment, forget_changed_files
from fedkd.privacy.private import EXAMPLES, Private, discloses
from fedkd.server.privacy_budget import with_noise
from fedkd.server.setup import new_strategy, new_student_rule, private_part_of
from fedkd.server.student_rule import StudentRule


@told_by_line("preparing the experiment", PluginError)
def check(config: ExperimentConfig, *, own_engine: bool = True) -> Experiment:
    """The experiment with its data; raises ``ConfigError`` or ``DataError`` for what cannot work.

    ``PluginError`` where a plug-in's own code fails.

    In the configuration of what is returned, a mechanism's target ε is replaced by the noise that meets it, and the
    files that it names are pinned. Without ``own_engine`` that of ``engine.kind`` will not be started, and need not
    work.
    """
    problems: list[str] = []
    try:
        config = pinned(config)
    except ConfigError as error:
        problems += error.problems
    forget_changed_files(config)
    experiment = Experiment.of(config)
    problems += [*composition_faults(experiment), *_engine_faults(config, own_engine)]
    try:
        experiment.data  # noqa: B018  # loaded here, for its faults are the configuration's as well
    except ConfigError as error:
        raise ConfigError(list(dict.fromkeys([*problems, *error.problems]))) from error
    problems += [*sample_faults(experiment), *model_faults(experiment)]
    if not problems:
        problems += kept_faults(experiment)
        problems += loss_faults(experiment) if new_student_rule(experiment).teaches else ()
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    experiment = with_noise(experiment)
    check_secure_sum(experiment)
    return experiment


def composition_faults(experiment: Experiment) -> list[str]:
    """What keeps the rules, the strategy, the behaviours and the privacy mechanism from working together."""
    client, student = client_rule(experiment), new_student_rule(experiment)
    return [
        *_rule_faults(experiment, client, student),
        *_label_faults(experiment, student),
        *_teacher_faults(experiment),
        *(choice_faults(experiment) if student.teaches else ()),
        *_public_faults(experiment, client, student),
        *_behaviour_faults(experiment, client),
        *_privacy_faults(experiment, client, student),
        *secure_faults(experiment),
    ]


def _engine_faults(config: ExperimentConfig, own_engine: bool) -> Iterator[str]:
    if own_engine and config.data.at_home:
        yield (
            "data.partition.scheme: at_home leaves private data on the nodes of a deployment, and here there are none; "
            "deploy it (docs/deployment.md), or simulate such a split with data.partition.scheme=given"
        )
    if not own_engine:
        yield from faults_elsewhere(config, "Flower")
    elif config.engine.kind == "ray":
        yield from faults_elsewhere(config, "Ray")
        if importlib.util.find_spec("ray") is None:
            yield (
                "engine.kind: 'ray' needs the package ray, which is not installed; "
                "pip install 'ray==2.55.*', or set engine.kind=inline"
            )


def _rule_faults(experiment: Experiment, client: ClientRule, student: StudentRule) -> Iterator[str]:
    config = experiment.config
    own, theirs = config.student.rule.name, config.clients.rule.name
    if client.sends != student.needs:
        yield (
            f"clients.rule: {theirs} sends {client.sends} and student.rule {own} needs {student.needs}; exchange one "
            "of the two"
        )
    for missing in sorted(client.receives - student.offers):
        yield (
            f"clients.rule: {theirs} needs {missing} of the server, which student.rule {own} does not offer; exchange "
            "one of the two"
        )
    if config.clients.self_distillation > 0 and client.own_loss:
        yield (
            f"clients.self_distillation: it adds to the clients' cross-entropy, and clients.rule {theirs} trains by a "
            f"loss of its own, got {config.clients.self_distillation:g}; set clients.self_distillation=0, or choose "
            "another rule, such as broadcast, own_model or parameters"
        )
    yield from _kept_faults(config, client, student)
    if PARAMETERS in client.receives and not student.averages_architectures:
        yield from _architecture_faults(config, student)
    if config.communication.cache_rounds > 0 and client.sends != LOGITS:
        yield (
            f"communication.cache_rounds: it saves logits and clients.rule {theirs} sends {client.sends}, got "
            f"{config.communication.cache_rounds}; set communication.cache_rounds=0"
        )
    if "teacher_only" in config.controls and not student.teaches:
        yield f"controls: student.rule {own} has no teacher to measure, got teacher_only; leave it out"


def _kept_faults(config: ExperimentConfig, client: ClientRule, student: StudentRule) -> Iterator[str]:
    kept = config.clients.keep_batch_norm
    if kept == "none":
        return
    if PARAMETERS not in client.receives:
        yield (
            f"clients.keep_batch_norm: clients with clients.rule {config.clients.rule.name} do not start from the "
            f"server's model, got {kept}; set clients.keep_batch_norm=none, or clients.rule=broadcast"
        )
    if student.needs == PARAMETERS and not student.takes_parts:
        yield (
            f"clients.keep_batch_norm: student.rule {config.student.rule.name} needs the clients' whole models, got "
            f"{kept}; set clients.keep_batch_norm=none, or student.rule=average"
        )


def _architecture_faults(config: ExperimentConfig, student: StudentRule) -> Iterator[str]:
    others = sorted({model.name for model in config.clients.models if model != config.student.model})
    if others:
        yield (
            f"clients.models: with clients.rule {config.clients.rule.name} and student.rule {config.student.rule.name} "
            f"clients start from the student and must share its architecture ({config.student.model.name}), got "
            f"{', '.join(others)}; leave it empty, or set "
            f"{'student.rule=average_and_distil' if student.needs == PARAMETERS else 'clients.rule=own_model'}"
        )


def _label_faults(experiment: Experiment, student: StudentRule) -> Iterator[str]:
    config = experiment.config
    if config.data.public.labelled > 0:
        return
    if student.teaches and new_strategy(experiment).needs_labels:
        yield (
            f"strategy.name: {config.strategy.name} is fitted on labelled public samples and data.public.labelled is "
            "0; raise it, or choose another strategy"
        )
    if student.needs_labels:
        yield (
            f"student.rule: {config.student.rule.name} trains on labelled public samples before the first round and "
            "data.public.labelled is 0; raise it, or set student.rule.pretrain_steps=0"
        )


def _teacher_faults(experiment: Experiment) -> Iterator[str]:
    if (teacher := experiment.config.teacher) is not None:
        yield (
            "teacher: a network teaches in `fedkd distill`, and in a federated run the clients do, got "
            f"{teacher.model.name}; set teacher=null, or take fedkd distill"
        )
    if experiment.config.data.tasks is not None:
        yield (
            "data.tasks: a sequence of tasks is learned in `fedkd distill`, and not in a federated run; set "
            "data.tasks=null, or take fedkd distill"
        )
    if heads := experiment.config.data.heads:
        yield (
            f"data.heads: several labels are learned in `fedkd distill`, not in a federated run, got {list(heads)}; "
            "set data.heads=[], or take fedkd distill"
        )


def _public_faults(experiment: Experiment, client: ClientRule, student: StudentRule) -> Iterator[str]:
    """What needs public samples where there are none."""
    config = experiment.config
    if config.data.public.size > 0:
        return
    if student.teaches:
        yield (
            f"data.public.size: student.rule {config.student.rule.name} teaches on public samples, got 0; raise it, or "
            "choose a rule without a teacher, such as student.rule=average with clients.rule=parameters"
        )
    if client.sends == LOGITS or client.receives & {CONSENSUS, LABELS}:
        yield (
            f"data.public.size: clients.rule {config.clients.rule.name} answers on public samples, got 0; raise it, or "
            "choose a rule that does not, such as clients.rule=parameters with student.rule=average"
        )
    if attacks := config.privacy.audit.attacks:
        yield (
            "privacy.audit.attacks: attacks put their candidates among the public samples, and data.public.size is 0, "
            f"got {', '.join(attack.name for attack in attacks)}; leave them out, or raise data.public.size"
        )


def _behaviour_faults(experiment: Experiment, client: ClientRule) -> Iterator[str]:
    clients = experiment.config.clients
    attackers = clients.attackers
    if attack_behaviour(experiment).needs_others and client.sends != LOGITS and attackers.share > 0:
        yield (
            f"clients.attackers.behaviour: {attackers.behaviour.name} forges logits and clients.rule "
            f"{clients.rule.name} sends {client.sends}; choose another behaviour"
        )
    if honest_behaviour(experiment).needs_others:
        yield (
            f"clients.behaviour: {clients.behaviour.name} is for attackers that know what the others answered; "
            "name it in clients.attackers.behaviour, and their share in clients.attackers.share"
        )


def _privacy_faults(experiment: Experiment, client: ClientRule, student: StudentRule) -> Iterator[str]:
    config, mechanism = experiment.config, experiment.mechanism
    name, rule = config.privacy.mechanism.name, config.clients.rule.name
    if isinstance(mechanism, Private):
        yield from _uncovered(experiment, client, mechanism)
    elif name != "none" and client.sends != LOGITS:
        yield (
            f"privacy.mechanism: it protects logits and clients.rule {rule} sends {client.sends}; "
            "set privacy.mechanism=none or choose a rule that sends logits"
        )
    strategy = new_strategy(experiment)
    if isinstance(strategy, Private):
        yield from _strategy_faults(experiment, client, student)
    try:
        part = private_part_of(experiment)
    except ValueError as error:
        yield f"privacy.mechanism: {error}; set privacy.mechanism=none or choose another strategy"
        return
    if part is not None and student.teaches and strategy.needs_label_counts:
        yield (
            f"strategy.name: {config.strategy.name} has clients disclose how many samples of each class they hold, "
            f"which no proof covers, and privacy.mechanism is {name}; choose another strategy, or set "
            "privacy.mechanism=none"
        )
    if student.teaches and strategy.needs_examples and not discloses(experiment.mechanism, EXAMPLES):
        yield (
            f"strategy.name: {config.strategy.name} weights clients by how many samples they hold, and under "
            f"privacy.mechanism={name} they do not tell; choose another strategy, say mean_probabilities, or set "
            "privacy.mechanism=none"
        )


def _strategy_faults(experiment: Experiment, client: ClientRule, student: StudentRule) -> Iterator[str]:
    """What a strategy with a proof does not go with."""
    config = experiment.config
    strategy, attackers = config.strategy.name, config.clients.attackers
    if not student.teaches or client.sends != LOGITS:
        yield (
            f"strategy.name: {strategy} protects what a teacher makes of logits, but clients.rule "
            f"{config.clients.rule.name} sends {client.sends} and student.rule {config.student.rule.name} "
            f"{'has a' if student.teaches else 'has no'} teacher; choose rules with logits and a teacher, or another "
            "strategy"
        )
    if attack_behaviour(experiment).needs_others and attackers.share > 0:
        yield (
            f"clients.attackers.behaviour: {attackers.behaviour.name} repeats what honest clients answered, so that a "
            f"client has more than its own vote and the noise of strategy.name={strategy} is too little; choose "
            "another behaviour or another strategy"
        )


def _uncovered(experiment: Experiment, client: ClientRule, mechanism: Private) -> Iterator[str]:
    """What clients send, or do with their data, that the mechanism's proof does not cover."""
    config = experiment.config
    name, rule = config.privacy.mechanism.name, config.clients.rule.name
    if client.sends not in mechanism.covers:
        covered = " and ".join(sorted(mechanism.covers - {EXAMPLES}))
        yield (
            f"privacy.mechanism: {name} covers {covered}, and clients.rule {rule} sends {client.sends}; choose "
            "a rule that sends what is covered, or set privacy.mechanism=none"
        )
    if client.abstains:
        yield (
            f"privacy.mechanism: {name} proves nothing about where clients abstain, and clients.rule {rule} does; "
            "choose another rule, or set privacy.mechanism=none"
        )
    if not experiment.mechanism.trains_privately:
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
    if config.clients.self_distillation > 0:
        yield (
            f"clients.self_distillation: privacy.mechanism={name} trains by plain cross-entropy, got "
            f"{config.clients.self_distillation:g}; set clients.self_distillation=0, or privacy.mechanism=none"
        )


def faults_elsewhere(config: ExperimentConfig, where: str) -> list[str]:
    """The plug-ins that processes of Ray or Flower (``where``) cannot import, being defined in the script itself."""
    found = []
    for path, kind in PLUGIN_SECTIONS:
        names = [name for spec in plugin_at(config, path) for name in (spec.name, *spec.options.values())]
        for spec_name in names:
            module, _, cls = str(spec_name).partition(":")
            if module == "__main__":
                name = cls.lower()
                own = f"into {kind.source}/{name}.py and name it {name}, or " if kind.by_path else ""
                found.append(
                    f"{path}.name: {cls} is defined in the script or notebook that is running, which the processes of "
                    f"{where} cannot import, got {spec_name!r}; put it {own}into my_mod.py and name it my_mod:{cls}"
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
