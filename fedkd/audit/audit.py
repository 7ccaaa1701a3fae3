"""Attacking a finished run: which clients, with what to go by, and what comes of it."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fedkd.audit.asking.asker import MODELS, Asker
from fedkd.audit.asking.shares import SHARED
from fedkd.audit.attack import (
    OBSERVATIONS,
    AskingAttack,
    Attack,
    InferenceAttack,
    MembershipAttack,
    new_attack,
)
from fedkd.audit.candidates import HoldOut, draw_pool
from fedkd.audit.evidence import disclosure_of, evidence_of
from fedkd.audit.membership import Given, ScoredAttack, comparisons, scored
from fedkd.audit.metrics import Confidence
from fedkd.audit.performer import SHADOW_RUN
from fedkd.audit.plan import ACTUAL, Plan, save_plan
from fedkd.audit.queries import crafted_queries
from fedkd.audit.replay import Progress, Run, jobs_to_observe
from fedkd.audit.report import AuditReport, Inference, Violation, violations
from fedkd.audit.server_side import CONSENSUS, STUDENT, load_answers, server_before
from fedkd.audit.shadows import MODEL, ShadowRun, all_shadow_runs, inserted_places, without_differences
from fedkd.audit.surrogates import SURROGATE
from fedkd.client.setup import asked_positions, client_rule
from fedkd.config.load import to_json, to_mapping
from fedkd.config.schema import AuditConfig
from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, FolderError, RunError
from fedkd.core.files import writing
from fedkd.core.messages import Job
from fedkd.core.seeding import numpy_generator, torch_generator
from fedkd.data.roles import unused_samples
from fedkd.experiment import Experiment
from fedkd.privacy.preview import smallest_release
from fedkd.results.directory import RunDirectory
from fedkd.server.privacy_budget import plan_of
from fedkd.server.setup import private_part_of

AUDIT_FOLDER = "audit"
OF_REPORTS = ("queried", "transcript")
"""Observations for which somebody must see the reports of a single client."""
UNSEEN = 1000
"""Most inputs in no role on which a surrogate model is compared with its original."""
BATCH = 64
"""Shadow runs in one job."""


def audit(
    directory: RunDirectory, experiment: Experiment, options: AuditConfig, run: Run, progress: Progress
) -> AuditReport:
    """Attack a finished run and write its ``audit.json``; ``experiment`` is the run's, with all noise known.

    What was computed before with the same options, but for the attacks, the observations, the shadows and the level, is
    found in the folder ``audit`` and not computed again. Raises ``ConfigError`` for what cannot be audited, and
    ``RunError`` for an unfinished run and where a piece of the work failed.
    """
    begun = time.monotonic()
    return _Audit(directory, _plain(experiment), options, run, progress).report(begun)


def built_attacks(options: AuditConfig) -> dict[str, Attack]:
    """The attacks to run, by name: those named, or all there are. Raises ``PluginError``."""
    specs = options.attacks or tuple(Plugin(name) for name in plugins.names(plugins.ATTACK))
    return {spec.name: new_attack(spec.name, spec.options) for spec in specs}


@dataclass
class _Audit:
    directory: RunDirectory
    experiment: Experiment
    options: AuditConfig
    run: Run
    progress: Progress

    def report(self, begun: float) -> AuditReport:
        summary = self.directory.summary
        if summary is None:
            raise FolderError(
                f"{self.directory.path} holds no finished run, and there is nothing to audit; resume it with "
                "fedkd run --resume"
            )
        config, options = self.experiment.config, self.options
        attacks = built_attacks(options)
        self._check(attacks)
        if not any(isinstance(attack, MembershipAttack) and attack.needs_shadows for attack in attacks.values()):
            self.options = replace(options, shadows=0)
        self._skipped: list[str] = []
        if config.privacy.secure_aggregation is not None:
            attacks = self._without_reports(attacks)
        folder = self._folder(summary.student_sha256)
        plan = self._plan(folder)
        self._asker = Asker(
            self.experiment,
            plan,
            folder,
            shadows=self.options.shadows,
            models=min(options.shadows, MODELS),
            queried="queried" in self.options.observations,
        )
        unable = self._asker.skipped(attacks)
        self._skipped += [f"{name}: {reason}" for name, reason in unable.items()]
        attacks = {name: attack for name, attack in attacks.items() if name not in unable}
        self._compute(folder, plan, attacks)
        verified = self._verify(folder, plan, summary.student_sha256)
        part = private_part_of(self.experiment)
        guarantee = None if part is None else part.guarantee(smallest_release(plan_of(self.experiment)))
        scores = self._membership(folder, plan, attacks, None if guarantee is None else guarantee.adversary)
        bound = Confidence(config.privacy.delta, options.level, config.seed)
        broken: tuple[Violation, ...] = ()
        if summary.epsilon is not None:
            held = [each.held() for each in scores if each.covered]
            broken = violations(held, epsilon=summary.epsilon, delta=summary.delta, level=options.level)
        report = AuditReport(
            attacks=tuple(each.result(self.options.shadows, bound) for each in scores),
            inferences=tuple(self._inferences(folder, plan, attacks)),
            epsilon=summary.epsilon,
            delta=summary.delta,
            unit=None if guarantee is None else guarantee.unit,
            ceiling=broken,
            seconds=round(time.monotonic() - begun, 3),
            settings={**asdict(options), "attacks": [_as_mapping(spec) for spec in options.attacks]},
            clients=tuple(pool.client for pool in plan.pools),
            adversary={name: OBSERVATIONS[name] for name in options.observations},
            verified=verified,
            comparisons=tuple(comparisons(scores, options.level)),
            skipped=tuple(self._skipped),
        )
        self.directory.save_audit(asdict(report))
        return report

    def _check(self, attacks: dict[str, Attack]) -> None:
        """Raises ``ConfigError`` for attacks without what they need, and for algorithms with nothing to attack."""
        problems = []
        name, rule = self.experiment.config.clients.rule.name, client_rule(self.experiment)
        if rule.sends not in {"logits", "parameters"}:
            problems.append(
                f"clients.rule: attacks need answers on chosen inputs, and {name} sends {rule.sends}; "
                "audit a run whose clients send logits or parameters"
            )
        if self.experiment.config.data.public.size == 0:
            problems.append(
                "data.public.size: attacks put their candidates among the public samples, got 0; audit a run that has "
                "public samples"
            )
        for name, attack in attacks.items():
            if isinstance(attack, MembershipAttack) and attack.needs_shadows and self.options.shadows < 4:
                problems.append(
                    f"privacy.audit.shadows: {name} needs at least 4, got {self.options.shadows}; raise it, or choose "
                    "attacks without shadows"
                )
        if self.options.rounds > self.experiment.config.rounds:
            problems.append(
                f"privacy.audit.rounds: must not exceed the run's {self.experiment.config.rounds} rounds, "
                f"got {self.options.rounds}; lower it"
            )
        if problems:
            raise ConfigError(problems)

    def _without_reports(self, attacks: dict[str, Attack]) -> dict[str, Attack]:
        """What is left to attack where nobody sees a client's own report."""
        unseen = [each for each in self.options.observations if each in OF_REPORTS]
        blind = [name for name, attack in attacks.items() if isinstance(attack, InferenceAttack)]
        self._skipped += [
            f"{name}: under secure aggregation nobody sees a client's report" for name in (*unseen, *blind)
        ]
        left = tuple(each for each in self.options.observations if each not in OF_REPORTS)
        self.options = replace(self.options, observations=left)
        return {name: attack for name, attack in attacks.items() if name not in blind}

    def _folder(self, student: str | None) -> Path:
        """A folder for all that depends on the same run and the same options."""
        mapping = to_mapping(self.experiment.config)
        mapping["engine"] = {"device": self.experiment.config.engine.device}
        mapping["privacy"].pop("audit")
        mapping.pop("controls")
        names = ("targets", "rounds", "views", "candidates", "surrogate_epochs")
        chosen = {name: getattr(self.options, name) for name in names}
        text = json.dumps([mapping, chosen, student], sort_keys=True)
        folder = self.directory.path / AUDIT_FOLDER / hashlib.sha256(text.encode()).hexdigest()[:16]
        with writing(folder):
            for kind in (SHADOW_RUN, MODEL, SHARED, SURROGATE, CONSENSUS, STUDENT):
                (folder / kind).mkdir(parents=True, exist_ok=True)
        return folder

    def _plan(self, folder: Path) -> Plan:
        experiment, options = self.experiment, self.options
        if options.views > 1 and not experiment.data.spec.is_image:
            raise ConfigError(
                [
                    "privacy.audit.views: views are mirrored and shifted images, and the samples are "
                    f"{experiment.data.spec}, got {options.views}; set views=1"
                ]
            )
        jobs, server = jobs_to_observe(experiment, self.directory, folder, options.rounds, self.run, self.progress)
        room = min(
            len(inserted_places(experiment, asked_positions(experiment, job))) for job in jobs[-options.rounds :]
        )
        if room // options.views < 2:
            raise ConfigError(
                [
                    f"data.public.size: leaves {room} public samples without a label to put candidates in, and one "
                    f"takes {options.views}; raise it, or lower privacy.audit.views"
                ]
            )
        most = room // options.views
        if options.candidates is not None:
            most = min(most, options.candidates)
        inputs, labels = unused_samples(experiment.config)
        spare = HoldOut(inputs, labels)
        pools = [draw_pool(experiment, client, spare, most=most) for client in self._targets()]
        generator = torch_generator(experiment.config.seed, purpose="audit: crafted queries")
        plan = Plan(
            jobs=jobs,
            observed=options.rounds,
            pools=tuple(pools),
            crafted=crafted_queries(experiment.data.public.inputs, generator)[:room],
            unseen=torch.cat([inputs, *(pool.inputs[~pool.members] for pool in pools)])[:UNSEEN],
            views=options.views,
            surrogate_epochs=options.surrogate_epochs,
            server=str(server.resolve()),
        )
        save_plan(folder, plan)
        return plan

    def _targets(self) -> list[int]:
        experiment = self.experiment
        honest = [
            client for client in experiment.sampled(experiment.config.rounds) if client not in experiment.attackers
        ]
        if len(honest) < self.options.targets:
            raise ConfigError(
                [
                    f"privacy.audit.targets: must not exceed the {len(honest)} honest clients of the last round, "
                    f"got {self.options.targets}; lower it"
                ]
            )
        draw = numpy_generator(experiment.config.seed, purpose="audit: targets")
        return sorted(int(client) for client in draw.choice(honest, size=self.options.targets, replace=False))

    def _compute(self, folder: Path, plan: Plan, attacks: dict[str, Attack]) -> None:
        experiment, options = self.experiment, self.options
        everybody = experiment.sampled(plan.jobs[-1].round)
        attacked = tuple(pool.client for pool in plan.pools)
        shadow_runs = list(all_shadow_runs(everybody, attacked, options.shadows))
        theirs = [shadow_run for shadow_run in shadow_runs if shadow_run.client in attacked]
        self._asker.keep_models(self._do, theirs)
        self._do(folder, SHADOW_RUN, shadow_runs, "clients and shadow models")
        self._asker.ask(self._do, theirs)
        membership = any(isinstance(attack, MembershipAttack) for attack in attacks.values())
        copied = [
            shadow_run
            for shadow_run in shadow_runs
            if shadow_run.shadow == ACTUAL and shadow_run.path(folder).is_file()
        ]
        if membership and "transcript" in options.observations:
            self._do(
                folder,
                SURROGATE,
                copied + [shadow_run for shadow_run in theirs if shadow_run.shadow != ACTUAL],
                "copies",
            )
        elif any(isinstance(attack, InferenceAttack) for attack in attacks.values()):
            self._do(folder, SURROGATE, copied, "surrogate models")
        server = server_before(plan, experiment, ACTUAL)
        if membership and "consensus" in options.observations:
            if server.rule.strategy is None:
                self._skipped.append("consensus: the student rule has no teacher, and there is none")
            else:
                self._do(folder, CONSENSUS, theirs, "consensus")
        if membership and "student" in options.observations:
            if server.rule.student is None:
                self._skipped.append("student: the student rule has no student")
            else:
                self._do(folder, STUDENT, theirs, "students")

    def _do(self, folder: Path, kind: str, shadow_runs: Sequence[ShadowRun], stage: str) -> None:
        """Compute what is not yet there, a batch of shadow models at a time."""
        clients = self.experiment.config.clients.count
        left = [shadow_run for shadow_run in shadow_runs if not shadow_run.path(folder, kind).is_file()]
        job = Job(kind, self.experiment.config.rounds, to_json(self.experiment.config), state_dir=str(folder.resolve()))
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            for done, reply in enumerate(self.run(job, [shadow_run.number(clients) for shadow_run in batch]), start=1):
                if reply.error is not None and ShadowRun.of(reply.client, clients).shadow != ACTUAL:
                    shadow_run = ShadowRun.of(reply.client, clients)
                    raise RunError(
                        f"audit: shadow {shadow_run.shadow} of client {shadow_run.client} failed: {reply.error}"
                    )
                self.progress(stage, start + done, len(left))

    def _verify(self, folder: Path, plan: Plan, expected: str | None) -> bool | None:
        path = ShadowRun(plan.pools[0].client, ACTUAL).path(folder, STUDENT)
        if expected is None or not path.is_file():
            return None
        found: bool = load_answers(folder, ShadowRun(plan.pools[0].client, ACTUAL), STUDENT)["digest"] == expected
        return found

    def _membership(
        self, folder: Path, plan: Plan, attacks: dict[str, Attack], adversary: str | None
    ) -> list[ScoredAttack]:
        """What the attacks on membership made of the candidates, from every observation point."""
        found, members = [], [pool.members for pool in plan.pools]
        chosen = {name: attack for name, attack in attacks.items() if isinstance(attack, MembershipAttack)}
        for observation in self.options.observations if chosen else ():
            if any(text.startswith(f"{observation}:") for text in self._skipped):
                continue
            evidence = [
                evidence_of(self.experiment, plan, folder, pool, observation, self.options.shadows)
                for pool in plan.pools
            ]
            covered = adversary == "local" or (adversary == "central" and observation in {"consensus", "student"})
            for name, attack in chosen.items():
                if observation not in attack.observations:
                    continue
                given = [Given.all_of(each) for each in evidence]
                if isinstance(attack, AskingAttack):
                    given = self._asker.given(name, attack, evidence)
                try:
                    found.append(scored(name, attack, given, members, observation=observation, covered=covered))
                except ValueError as error:
                    self._skipped.append(f"{observation}, {name}: {error}")
        return found

    def _inferences(self, folder: Path, plan: Plan, attacks: dict[str, Attack]) -> list[Inference]:
        chosen = {name: attack for name, attack in attacks.items() if isinstance(attack, InferenceAttack)}
        if not chosen:
            return []
        disclosures = []
        for client in self.experiment.sampled(plan.jobs[-1].round):
            path = ShadowRun(client, ACTUAL).path(folder)
            if client not in self.experiment.attackers and path.is_file():
                disclosures.append(disclosure_of(self.experiment, folder, client))
        found = []
        for name, attack in chosen.items():
            given = self._asker.disclosed(name, attack, disclosures)
            found.append(Inference(name, attack.observation, dict(attack.measure(given))))
        return found


def _plain(experiment: Experiment) -> Experiment:
    """The experiment with messages that are no differences to earlier ones, which rounds looked at singly lack."""
    config, ways = experiment.config, experiment.config.communication
    plain = replace(ways, uplink=without_differences(ways.uplink), downlink=without_differences(ways.downlink))
    return experiment if plain == ways else Experiment.of(to_json(replace(config, communication=plain)))


def _as_mapping(spec: Plugin) -> dict[str, Any]:
    return {"name": spec.name, **spec.options}
