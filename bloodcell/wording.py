"""Nouns, plurals and numbers in output."""

import re
from collections.abc import Iterable, Sequence

PHOTOGRAPH = "photograph"
"""The default word for a group."""


def plural(noun: str) -> str:
    """Return the regular plural of a noun: ``patients``, ``biopsies``, ``batches``."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search(r"(s|x|z|ch|sh)$", noun) else f"{noun}s"


def intervals_note(group_name: str) -> str:
    """Return the note on 95 % intervals in tables and plots."""
    return f"95 % intervals count {plural(group_name)}, not images, because images of one {group_name} are correlated."


def counted(number: float, noun: str) -> str:
    """Return a number with its noun: ``1 patient``, ``1,200 patients``."""
    return f"{number:,.0f} {noun if number == 1 else plural(noun)}"


def listed(words: Iterable[str]) -> str:
    """Join words into a list: ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def abridged(words: Sequence[str], *, most: int = 3) -> str:
    """Join the first words, and count the others: ``a, b, c and 4 more``."""
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
