"""The attacks of an audit that ask about inputs of their own: which can be made, their work, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedkd.audit.asking import means, queries, shares
from fedkd.audit.asking.queries import HALVES
from fedkd.audit.attack import AskingAttack, AskingInference, Attack, Disclosure, Evidence, InvertingAttack
from fedkd.audit.membership import Given
from fedkd.audit.plan import ACTUAL, Plan
from fedkd.audit.shadows import MODEL, ShadowRun
from fedkd.core.files import writing
from fedkd.experiment import Experiment

MODELS = 32
"""Most models of known class shares; no more than there are shadows."""

Do = Callable[[Path, str, Sequence[ShadowRun], str], None]
"""Computes what is not yet there: in a folder, of a kind, for these shadow runs; the text names the stage."""


@dataclass(frozen=True)
class Asker:
    """What a malicious server does, for the audit in ``folder``; ``shadows`` are its shadow models per client.

    ``queried`` says whether membership is looked at from where such a server stands.
    """

    experiment: Experiment
    plan: Plan
    folder: Path
    shadows: int
    models: int
    queried: bool
    members: dict[str, AskingAttack] = field(default_factory=dict)
    properties: dict[str, AskingInference] = field(default_factory=dict)
    inversions: dict[str, InvertingAttack] = field(default_factory=dict)

    def skipped(self, attacks: Mapping[str, Attack]) -> dict[str, str]:
        """Take those attacks that ask and can; the names of those that cannot, and why."""
        reasons = {}
        for name, attack in attacks.items():
            if isinstance(attack, AskingAttack) and self.queried:
                reason = queries.why_not(self.experiment, self.plan, attack, self.shadows)
                self.members.update({} if reason else {name: attack})
            elif isinstance(attack, AskingInference):
                reason = shares.why_not(self.experiment, self.plan, attack, self.models)
                self.properties.update({} if reason else {name: attack})
            elif isinstance(attack, InvertingAttack):
                reason = self._no_means()
                self.inversions.update({} if reason else {name: attack})
            else:
                continue
            reasons.update({name: reason} if reason else {})
        return reasons

    def keep_models(self, do: Do, attacked: Sequence[ShadowRun]) -> None:
        """Train, and keep the models, where that will be needed; else leave it to the audit."""
        clients = [ShadowRun(client, ACTUAL) for client in self._honest()] if self.properties else []
        wanted = [*clients, *(attacked if self.members else [])]
        do(self.folder, MODEL, list(dict.fromkeys(wanted)), "clients and shadow models")

    def ask(self, do: Do, attacked: Sequence[ShadowRun]) -> None:
        """Make the queries, and have them answered."""
        targets = sorted({each.client for each in attacked})
        for name, attack in self.members.items():
            own = self._own(name, attack)
            do(own, queries.QUERIES, [ShadowRun(client, half) for client in targets for half in HALVES], "queries")
            do(own, queries.ASKED, attacked, "answers to queries")
        maker = self.plan.pools[0].client
        models = [ShadowRun(maker, number) for number in range(self.models)]
        for name, inference in self.properties.items():
            own = self._own(name, inference)
            do(self.folder, shares.SHARED, models, "models of known class shares")
            do(own, queries.SHARE_QUERIES, [ShadowRun(maker, half) for half in HALVES], "queries")
            clients = [ShadowRun(client, ACTUAL) for client in self._honest()]
            do(own, queries.TOLD, [*models, *clients], "answers to queries")
        for name, inversion in self.inversions.items():
            clients = [ShadowRun(client, ACTUAL) for client in self._honest()]
            do(self._own(name, inversion), queries.INVERTED, clients, "class means")

    def given(self, name: str, attack: AskingAttack, evidence: Sequence[Evidence]) -> list[Given]:
        """What an attack on membership has to go by, client by client."""
        own = self._own(name, attack)
        return [
            queries.asked_of(self.experiment, self.plan, own, pool, each, attack.queries)
            for pool, each in zip(self.plan.pools, evidence, strict=True)
        ]

    def disclosed(self, name: str, attack: Attack, found: Sequence[Disclosure]) -> list[Disclosure]:
        """The disclosures, with what came of the attack's own work."""
        if isinstance(attack, AskingInference):
            own = self._own(name, attack)
            return [
                replace(each, asked=shares.asked_shares(self.plan, own, each.client, self.models)) for each in found
            ]
        if isinstance(attack, InvertingAttack):
            own = self._own(name, attack)
            return [replace(each, means=means.class_means(self.experiment, own, each.client)) for each in found]
        return list(found)

    def _no_means(self) -> str | None:
        """Why class means cannot be found; None where they can."""
        if self.experiment.data.spec.vocabulary is not None:
            return f"means are of numbers, and the samples are {self.experiment.data.spec}"
        if not self.experiment.data.public.shared_label_space:
            return "the public samples have no classes to compare with"
        return None

    def _honest(self) -> list[int]:
        everybody = self.experiment.sampled(self.plan.jobs[-1].round)
        return [client for client in everybody if client not in self.experiment.attackers]

    def _own(self, name: str, attack: Attack) -> Path:
        count = self.shadows if isinstance(attack, AskingAttack) else self.models
        with writing(self.folder):
            return queries.attack_folder(self.folder, name, attack, count)
