"""What a run's student is compared with."""

COMPARISONS = {
    "student": "the server's model; sees no private sample",
    "teacher_only": "the clients' models asked together at test time",
    "fedavg": "weights averaged instead of answers, for as many rounds",
    "local_only": "each client alone; the mean over clients",
    "public_only": "the server's labelled samples alone; the bar to clear",
    "centralised": "all private samples in one place; what privacy forbids",
}
"""The rows of the closing table, in its order, and what each one is."""
