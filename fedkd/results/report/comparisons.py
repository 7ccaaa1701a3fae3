"""What a run's student is compared with."""

from collections.abc import Mapping

COMPARISONS = {
    "student": "the server's model, which sees no private sample",
    "teacher_only": "ensemble of the client models, on the test set",
    "fedavg": "weights averaged instead of predictions, for as many rounds",
    "local_only": "each client alone; the mean over clients",
    "public_only": "baseline: the server's labelled samples alone",
    "centralised": "all private samples in one place; upper bound",
}
"""The rows of the closing table, in its order, and what each one is."""


def not_beaten(student: float | None, controls: Mapping[str, float]) -> str | None:
    """What to say of a student that is no better than ``public_only``; None of one that is, or that cannot be told."""
    baseline = controls.get("public_only")
    if student is None or baseline is None or student > baseline:
        return None
    return (
        f"The student does not beat the baseline public_only ({100 * student:.1f}% vs. {100 * baseline:.1f}%): the "
        "clients added nothing to what the server's own labelled samples give."
    )


def versus_student(student: float | None, other: float | None) -> str:
    """Points of accuracy by which ``other`` exceeds the student, from the percentages as they are shown."""
    if student is None or other is None:
        return ""
    points = round(round(100 * other, 1) - round(100 * student, 1), 1)
    return f"{points:+.1f} points"
