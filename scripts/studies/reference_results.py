"""Reference results: configurations that name the published result to compare with.

Such a configuration has a ``reference`` block, which is no part of the experiment and is not inherited by ``extends``:

    reference:
      title: FedAvg on Fashion-MNIST
      source: Zhang et al. 2025, JMLR 26(50), arXiv 2312.04992, leaderboard
      published: 85.85
      measure: student
      band: [84.0, 87.0]
      why: how the band was chosen, before anything was measured
      differs: [what differs from the published setting]
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from fedkd.app.checks import composition_faults
from fedkd.config.load import load_config, read_yaml
from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin, Seed
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, RunError
from fedkd.data.source import DataSource, resolve_root
from fedkd.experiment import Experiment

Accuracy = Literal["student", "clients_own", "clients_own_pooled", "clients_test", "clients_digested"]
"""An accuracy in per cent, after each round or after the last; see ``ReferenceResult`` and ``studies.run_figures``."""
Measure = Literal[Accuracy, "student_lead_over_fedavg", "megabytes_up_ratio_to_fedavg", "megabytes_up_ratio_to_float32"]
Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Found = Mapping[str, Any]
"""What a run came to, as ``studies.run_figures.figures_of`` has it."""

ACCURACIES: tuple[str, ...] = get_args(Accuracy)

_FEDAVG = (
    "clients.rule={name: parameters}",
    "student.rule={name: average}",
    "privacy.mechanism={name: none}",
)
LEADS: dict[str, tuple[str, ...]] = {"student_lead_over_fedavg": _FEDAVG}
"""The measures that are a student's accuracy less that of a second run, in points, and what is different there."""

RATIOS: dict[str, tuple[str, ...]] = {
    "megabytes_up_ratio_to_fedavg": _FEDAVG,
    "megabytes_up_ratio_to_float32": ("communication.uplink={name: float32}",),
}
"""The measures that compare all bytes that clients send with those of a second run, and what is different there."""


@dataclass(frozen=True)
class ReferenceResult:
    """A published result, and when a measurement is taken to agree with it.

    ``measure`` is an accuracy in per cent after the last round: ``student`` (the server's model) and ``clients_test``
    (the mean of the clients' models, as they have trained) on the test set; ``clients_digested``, the same when the
    clients have then digested what the server last said, and not yet trained again; ``clients_own`` and
    ``clients_own_pooled`` on the clients' own validation samples, where clients count alike or by their samples. Or it
    is ``student_lead_over_fedavg``, the student's accuracy less that in the same setting under FedAvg, in points. Both
    are means over the ``last_rounds`` rounds, where they are measured after each. Or it is
    ``megabytes_up_ratio_to_fedavg`` or ``_to_float32``: the bytes that all clients send in all rounds, as a share of
    what they send in the same setting under FedAvg, or with their logits written as float32.

    ``band`` are the ends, included, between which the mean over ``seeds`` must lie; ``why`` says how it was chosen.
    ``also`` names accuracies that are told beside it, and ``remark`` says what to make of the figure that came out.
    """

    title: Text
    source: Text
    published: Number
    measure: Measure
    band: tuple[Number, Number]
    why: Text
    differs: tuple[Text, ...] = ()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    last_rounds: Annotated[int, Field(ge=1)] = 1
    also: tuple[Accuracy, ...] = ()
    remark: Text | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def baseline(self) -> tuple[str, ...] | None:
        """The overrides that make the run to compare with; None where the figure needs no other run."""
        return (LEADS | RATIOS).get(self.measure)

    @property
    def digests(self) -> bool:
        """Whether clients are to be measured when they have digested what the server last said."""
        return "clients_digested" in (self.measure, *self.also)

    def measured(self, found: Found, baseline: Found | None = None) -> float:
        """The figure that a run came to, and the run to compare it with.

        Raises ``RunError`` when the runs have no such figure.
        """
        if self.measure not in RATIOS:
            return self.recent(by_round(self.measure, found, baseline))
        if failures := found["failures"] + (0 if baseline is None else baseline["failures"]):
            raise RunError(
                f"{failures} failed reports sent nothing, so the bytes do not compare; see failures in rounds.jsonl"
            )
        if baseline is None or baseline["bytes_up"] == 0:
            raise RunError(
                f"reference.measure: {self.measure} needs a second run whose clients send something; name another"
            )
        return float(found["bytes_up"] / baseline["bytes_up"])

    def recent(self, values: Sequence[float]) -> float:
        """The mean over the last rounds that count."""
        return math.fsum(values[-self.last_rounds :]) / len(values[-self.last_rounds :])

    def met(self, mean: float) -> bool:
        """Whether a mean lies in the band."""
        return self.band[0] <= mean <= self.band[1]


def by_round(measure: str, found: Found, baseline: Found | None = None) -> list[float]:
    """An accuracy in per cent, or a lead in points, after every round in which it was measured.

    Raises ``RunError`` when the runs have no such figure.
    """
    if measure in LEADS:
        if baseline is None:
            raise RunError(f"reference.measure: {measure} needs a second run; name another")
        pairs = zip(by_round("student", found), by_round("student", baseline), strict=True)
        return [ours - theirs for ours, theirs in pairs]
    if not (shares := found["accuracy"].get(measure)):
        raise RunError(f"reference.measure: this experiment has no accuracy of the kind {measure!r}; name another")
    return [100.0 * share for share in shares]


def read_reference_result(path: Path) -> tuple[ReferenceResult, ExperimentConfig]:
    """The reference result in a YAML file and its experiment; a run to compare with is checked as well.

    Raises ``ConfigError`` with every fault of the reference result and of the experiment, including parts that do not
    fit together.
    """
    raw = read_yaml(path).content.get("reference")
    problems: list[str] = []
    reference: ReferenceResult | None = None
    try:
        reference = _parse(raw)
    except ConfigError as error:
        problems.extend(error.problems)
    config: ExperimentConfig | None = None
    try:
        config = load_config(path)
        problems.extend(composition_faults(Experiment.of(config)))
        if reference is not None and reference.baseline is not None and not problems:
            problems.extend(composition_faults(Experiment.of(load_config(path, reference.baseline))))
    except ConfigError as error:
        problems.extend(error.problems)
    if problems or reference is None or config is None:
        raise ConfigError([f"{path.name}: {problem}" for problem in problems])
    return reference, config


def absent_data(config: ExperimentConfig) -> list[str]:
    """The data sets of an experiment that are not on this machine."""
    root = resolve_root(config.data.root)
    wanted = [spec for spec in (config.data.dataset, config.data.public.dataset) if spec is not None]
    return [spec.name for spec in wanted if not _source(spec).available(root)]


def _source(spec: Plugin) -> DataSource:
    source: DataSource = plugins.build(plugins.DATASET, spec.name, spec.options)
    return source


def _parse(raw: Any) -> ReferenceResult:
    if not isinstance(raw, Mapping):
        keys = ", ".join(field.name for field in fields(ReferenceResult))
        raise ConfigError([f"reference: must be a mapping with the keys {keys}, got {raw!r}; add it to the file"])
    try:
        reference = TypeAdapter(ReferenceResult).validate_python(dict(raw))
    except ValidationError as error:
        # A band that makes no sense is told beside the faults of other keys.
        broken = _broken_band(raw["band"], raw["published"]) if _are_numbers(raw) else ()
        raise ConfigError([*(_explain(fault) for fault in error.errors()), *broken]) from None
    problems = list(_broken_band(reference.band, reference.published))
    if len(set(reference.seeds)) != len(reference.seeds):
        problems.append(f"reference.seeds: each may be listed once, got {list(reference.seeds)}; remove the repetition")
    if problems:
        raise ConfigError(problems)
    return reference


def _are_numbers(raw: Mapping[str, Any]) -> bool:
    band = raw.get("band")
    values = [*band, raw.get("published")] if isinstance(band, list) and len(band) == 2 else [None]
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _broken_band(band: tuple[float, float], published: float) -> Iterator[str]:
    low, high = band
    if not low < high:
        yield f"reference.band: its first end must be below its second, got [{low:g}, {high:g}]; exchange or widen them"
    elif not low <= published <= high:
        yield (
            f"reference.band: must hold the published figure {published:g}, got [{low:g}, {high:g}]; "
            "choose the band around that figure"
        )


def _explain(fault: Any) -> str:
    path = ".".join(str(part) for part in ("reference", *fault["loc"]))
    if fault["type"] == "unexpected_keyword_argument":
        names = [field.name for field in fields(ReferenceResult)]
        close = difflib.get_close_matches(str(fault["loc"][-1]), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(names)}"
        return f"{path}: unknown key, got {fault['input']!r}; {hint}"
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    if fault["type"] in ("missing", "missing_argument"):
        return f"{path}: every reference result needs it; add it"
    return f"{path}: {message}, got {fault['input']!r}; see studies.reference_results for what it takes"
