"""The errors that fedkd raises on purpose, all of them with a message for the user."""

from collections.abc import Sequence

MOST_SHOWN = 30
"""Problems of one configuration that somebody may still read at once."""


def first_of(problems: Sequence[str]) -> list[str]:
    """As many problems as somebody reads at once, and how many more there are."""
    more = len(problems) - MOST_SHOWN
    return [*problems[:MOST_SHOWN], *([f"and {more} more; correct these first"] if more > 0 else [])]


class FedkdError(Exception):
    """Base of every error that is the user's to mend; the command line prints its message without a traceback."""


class ConfigError(FedkdError):
    """One or more faults in a configuration, reported together.

    ``problems`` holds one message each: the dotted path, the rule, the value and the remedy.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        title = "1 problem" if count == 1 else f"{count} problems"
        lines = "\n".join(f"  - {problem}" for problem in first_of(self.problems))
        super().__init__(f"{title} in the configuration:\n{lines}")

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[Sequence[str]]]:
        """As another process makes it again."""
        return type(self), (self.problems,)


class PluginError(FedkdError):
    """A plug-in name that stands for no single class, options that do not fit it, or code that fails before a run."""


class DataError(FedkdError):
    """Data that is missing, unreadable, or too small for the roles asked of it."""


class TooFewClassesError(DataError):
    """Samples that are all of one class."""


class HomeError(DataError):
    """Private data with which a node cannot take part, in words that give nothing else of them away."""


class RunError(FedkdError):
    """An experiment that cannot go on; its finished rounds are on disk."""


class FolderError(RunError):
    """A folder that holds no run, or a file in it that is not what was written there."""


class DivergedError(RunError, ValueError):
    """Training that has led to numbers which are not finite."""
