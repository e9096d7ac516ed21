"""Words with numbers, as output says them."""

import re
from collections.abc import Iterable

PHOTOGRAPH = "photograph"
"""What a group is called where nobody gave groups."""


def plural(noun: str) -> str:
    """Return the plural of an English noun by its regular rule, the last word's: ``patient``, ``biopsy``, ``batch``."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if re.search(r"(s|x|z|ch|sh)$", noun) else f"{noun}s"


def intervals_note(group_name: str) -> str:
    """Return what the 95 % intervals of tables and pictures count."""
    return (
        f"95 % intervals count {plural(group_name)}, not images: images of one {group_name} are classified correctly "
        "or wrongly together."
    )


def counted(number: float, noun: str) -> str:
    """Return a number with its noun: ``1 patient``, ``1,200 patients``."""
    return f"{number:,.0f} {noun if number == 1 else plural(noun)}"


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence lists them: ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
