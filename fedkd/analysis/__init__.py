"""What the networks of a finished run have learned; see ``fedkd.app.analyse``."""

from fedkd.analysis.analysis import Analysis, Finding, NotKnown
from fedkd.analysis.subject import Samples, Subject

__all__ = ["Analysis", "Finding", "NotKnown", "Samples", "Subject"]
