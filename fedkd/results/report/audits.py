"""What ``fedkd audit`` found of a run, read back."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from fedkd.config.identity import run_digest
from fedkd.core.documents import first_fault, read_document
from fedkd.core.errors import FolderError
from fedkd.results.directory import AUDIT
from fedkd.results.report.run_log import RunLog


@dataclass(frozen=True)
class Attack:
    """How well an attack told members from non-members, from one observation point.

    Every interval has the audit's confidence level. ``tpr_at_1pct_fpr`` is the share of members found by the loosest
    threshold that takes at most 1 % of non-members for members. ``epsilon_lower_bound`` is an ε that is too small for
    what was seen, at the run's δ; None where there are too few candidates for one. ``roc`` holds (FPR, TPR, lower and
    upper limit of TPR). ``covered`` says whether the run's ε is about this observation.
    """

    attack: str
    observation: str
    auc: float
    auc_interval: tuple[float, float]
    tpr_at_1pct_fpr: float
    tpr_interval: tuple[float, float]
    epsilon_lower_bound: float | None
    members: int
    non_members: int
    shadows: int
    roc: tuple[tuple[float, float, float, float], ...]
    covered: bool


@dataclass(frozen=True)
class Audit:
    """The attacks, the run's claim, and how many of its figures refute that."""

    attacks: Sequence[Attack]
    epsilon: float | None
    delta: float
    ceiling: Sequence[object]


_AUDIT = TypeAdapter(Audit)


def read_audit(log: RunLog) -> Audit | None:
    """The audit of a run; None where there was none. Raises ``FolderError`` for one that is damaged."""
    path, remedy = log.path / AUDIT, f"repeat fedkd audit {log.path}"
    if not path.exists():
        return None
    content = read_document(path, run_digest(log.config), remedy)
    try:
        return _AUDIT.validate_python(content)
    except ValueError as error:
        raise FolderError(f"{path} is damaged ({first_fault(error)}); {remedy}") from error
