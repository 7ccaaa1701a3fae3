"""What the teacher and the students say of samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from fedkd.analysis.subject import ALONE, STUDENT, TEACHER, NotKnown, Subject
from fedkd.models import predict

NAMES = {TEACHER: "the teacher", STUDENT: "the student", ALONE: "the student without a teacher"}
"""The models that analyses compare, and what they are called."""


@dataclass(frozen=True)
class Answers:
    """Log-probabilities ``[samples, classes]``, float64, by model; sentences on those that cannot be asked."""

    of: Mapping[str, Float[Tensor, "samples classes"]]
    missing: tuple[str, ...] = ()


def answers(subject: Subject, inputs: Shaped[Tensor, "samples ..."]) -> Answers:
    """What every model of ``NAMES`` says; raises ``NotKnown`` where none can be asked."""
    asks: dict[str, Callable[[], Tensor]] = {
        TEACHER: lambda: subject.teacher(inputs),
        STUDENT: lambda: predict(subject.network(STUDENT), inputs),
        ALONE: lambda: predict(subject.network(ALONE), inputs),
    }
    found, missing = {}, []
    for name, ask in asks.items():
        try:
            found[name] = ask().double().log_softmax(dim=-1)
        except NotKnown as reason:
            missing.append(f"Nothing is said of {NAMES[name]}: {reason}.")
    if not found:
        raise NotKnown("the run has neither a student nor a teacher to ask")
    return Answers(found, tuple(missing))


def key(name: str) -> str:
    """The name of a model among figures."""
    return name.replace(" ", "_")


def called(key: str) -> str:
    """What the model of that name among figures is called in a sentence."""
    name = key.replace("_", " ")
    return NAMES.get(name, name)


def rounded(value: float | None) -> str:
    """A figure in a sentence."""
    return "unknown" if value is None else f"{value:.2f}"
