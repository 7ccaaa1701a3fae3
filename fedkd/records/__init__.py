"""Records: what a run writes into its directory."""

from fedkd.records._types import Failure, Overview, RoundRecord, Summary

__all__ = ["Failure", "Overview", "RoundRecord", "Summary"]
