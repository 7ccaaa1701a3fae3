"""The families of cases by name."""

from fuzzing import configurations, directories, replies, texts, wire
from fuzzing.outcome import Family

FAMILIES: dict[str, Family] = {
    "configurations": configurations.case,
    "texts": texts.case,
    "replies": replies.case,
    "wire": wire.case,
    "directories": directories.case,
}

TURNS = (
    *("configurations", "texts", "replies", "configurations", "texts", "wire"),
    *("configurations", "texts", "replies", "directories"),
)
"""Whose case is tried next, over and over: more of those that take little time."""
