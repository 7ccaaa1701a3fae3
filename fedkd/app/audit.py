"""The audit of a finished run, from its folder to its ``audit.json``."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fedkd.app.checks import check
from fedkd.config.schema import AuditConfig
from fedkd.core.errors import FolderError
from fedkd.core.faults import told_by_line
from fedkd.core.files import checked_path
from fedkd.experiment import Experiment
from fedkd.results.directory import AUDIT, RunDirectory
from fedkd.results.lock import locked
from fedkd.results.observer import Observer, Silent
from fedkd.results.report.figures import attempt_figure

if TYPE_CHECKING:
    from fedkd.audit.report import AuditReport


@told_by_line("the audit")
def audit_run(
    folder: str | PathLike[str],
    options: AuditConfig | None = None,
    observer: Observer | None = None,
    *,
    verbose: bool = False,
) -> "AuditReport":
    """Attack the finished run in ``folder`` and write its ``audit.json``.

    ``options`` are those of ``privacy.audit`` in the run's own configuration where not given; all attacks are run where
    none are named. Raises ``ConfigError`` for what cannot be audited, ``FolderError`` for a folder
    without a finished run, or with one whose files are not as it wrote them.
    """
    folder = checked_path("folder", Path(folder))
    if not RunDirectory.holds_run(folder):
        raise FolderError(f"{folder} holds no run, and there is nothing to audit; name the folder of a finished one")
    directory = RunDirectory(folder)
    chosen = directory.config.privacy.audit if options is None else options
    with locked(folder):
        return _audit(directory, check(directory.config), chosen, Silent() if observer is None else observer, verbose)


def _audit(
    directory: RunDirectory, experiment: Experiment, options: AuditConfig, observer: Observer, verbose: bool
) -> "AuditReport":
    # Statistics and figures, for which no run without an audit should wait.
    from fedkd.audit.audit import audit
    from fedkd.audit.engine import AuditEngine
    from fedkd.results.report.figures.roc import ROC_FIGURE, save_roc

    with AuditEngine(experiment, options, verbose) as engine:
        report = audit(directory, experiment, options, engine.run, observer.progress)
    roc = directory.path / "plots" / ROC_FIGURE
    attempt_figure(roc.stem, lambda: save_roc(report, roc), observer.noticed)
    where = directory.path / AUDIT
    if report.attacks:
        best = max(report.attacks, key=lambda each: each.auc)
        observer.noticed(f"audit: {best.attack} from {best.observation} does best, AUC {best.auc:.3f}; all in {where}")
    else:
        observer.noticed(f"audit: {where}")
    return report
