"""Records: what a run writes into its directory."""

from fedkd.records._types import (
    ClientRecord,
    Failure,
    Overview,
    RoundRecord,
    SecureDropout,
    SecureRecord,
    Summary,
)

__all__ = ["ClientRecord", "Failure", "Overview", "RoundRecord", "SecureDropout", "SecureRecord", "Summary"]
