"""Records: what a run writes into its directory."""

from fedkd.results.records import ClientRecord, Failure, Overview, RoundRecord, SecureDropout, SecureRecord, Summary

__all__ = ["ClientRecord", "Failure", "Overview", "RoundRecord", "SecureDropout", "SecureRecord", "Summary"]
