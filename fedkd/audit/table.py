"""An audit as a person reads it."""

from rich.console import Console
from rich.table import Table

from fedkd.audit.report import AttackResult, AuditReport

COLUMNS = ("attack", "observation", "AUC", "TPR at 1 % FPR", "ε at least")


def row_of(result: AttackResult) -> tuple[str, str, str, str, str]:
    """One attack's figures with their intervals."""
    bound = result.epsilon_lower_bound
    return (
        result.attack,
        result.observation,
        f"{result.auc:.3f} [{result.auc_interval[0]:.3f}, {result.auc_interval[1]:.3f}]",
        f"{result.tpr_at_1pct_fpr:.1%} [{result.tpr_interval[0]:.1%}, {result.tpr_interval[1]:.1%}]",
        "–" if bound is None else f"{bound:.2f}",
    )


def verdict(report: AuditReport) -> list[str]:
    """What the figures mean, in sentences."""
    lines = []
    if report.epsilon is None:
        lines.append("This run has no formal privacy guarantee (no DP).")
    else:
        claim = f"ε = {report.epsilon:.3g} at δ = {report.delta:g} for each {report.unit}"
        covered = sum(each.covered for each in report.attacks)
        if report.ceiling:
            names = ", ".join(f"{each.attack} from {each.observation}" for each in report.ceiling)
            lines.append(f"The claim of {claim} is refuted by: {names}.")
        else:
            lines.append(f"None of the {covered} attacks that the claim of {claim} is about refutes it.")
    if report.verified is False:
        lines.append(
            "Repeating the last round did not give the run's own student: other versions, another machine, or a client "
            "that failed. The audit is of the repetition."
        )
    lines += [f"Left out: {text}." for text in report.skipped]
    return lines


def print_audit(report: AuditReport, console: Console | None = None) -> None:
    """Print the table, comparisons, the other inferences, and the verdict."""
    screen = console or Console(highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0))
    for title in COLUMNS:
        table.add_column(title, no_wrap=True)
    for result in report.attacks:
        table.add_row(*row_of(result))
    if report.attacks:
        screen.print(table)
    for each in report.comparisons:
        low, high = each.interval
        screen.print(
            f"{each.attack} over {each.other} ({each.observation}, {each.candidates} candidates): "
            f"AUC {each.auc_difference:+.3f} [{low:+.3f}, {high:+.3f}]",
            markup=False,
        )
    for inference in report.inferences:
        values = ", ".join(f"{name} {value:.3f}" for name, value in inference.values.items())
        screen.print(f"{inference.attack} ({inference.observation}): {values}", markup=False)
    for line in verdict(report):
        screen.print(line, markup=False, soft_wrap=True)
