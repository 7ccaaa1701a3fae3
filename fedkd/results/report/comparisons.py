"""What a run's student is compared with."""

COMPARISONS = {
    "student": "the server's model, which sees no private sample",
    "teacher_only": "ensemble of the client models, on the test set",
    "fedavg": "weights averaged instead of predictions, for as many rounds",
    "local_only": "each client alone; the mean over clients",
    "public_only": "baseline: the server's labelled samples alone",
    "centralised": "all private samples in one place; upper bound",
}
"""The rows of the closing table, in its order, and what each one is."""


def versus_student(student: float | None, other: float | None) -> str:
    """Points of accuracy by which ``other`` exceeds the student, from the percentages as they are shown."""
    if student is None or other is None:
        return ""
    points = round(round(100 * other, 1) - round(100 * student, 1), 1)
    return f"{points:+.1f} points"
