"""Texts that come from elsewhere, made fit to be shown and written down."""

import reprlib

TEXT_LENGTH = 500
"""Characters of a foreign text that are shown; what it has beyond them is counted, and left out."""


def shown(text: str, length: int = TEXT_LENGTH) -> str:
    """A foreign text that fits a line and is nothing but text: cut after ``length`` characters, and escaped.

    Escaped, as Python writes them, are all characters that print nothing by themselves: line breaks, control sequences
    of terminals, characters without width, those that turn the direction of writing, lone surrogates.
    """
    kept = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[:length]
    )
    return f"{kept} … ({len(text) - length} more characters)" if len(text) > length else kept


def shown_value(value: object) -> str:
    """A foreign value as a short text of that kind; its type's name where it cannot be written down."""
    try:
        return shown(reprlib.repr(value))
    except Exception:  # whatever a foreign object does when it is asked for its text
        return type(value).__name__
