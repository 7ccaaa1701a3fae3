"""Checks of options that several codecs have."""


def check_range(value: float | None) -> None:
    """Raise ``ValueError`` unless the option ``range`` is None or a number that float32 steps can be taken of."""
    if value is not None and not 1e-3 <= value <= 1e6:
        raise ValueError(f"range must lie in [0.001, 1000000], got {value}; 8 to 16 suits most classifiers")
