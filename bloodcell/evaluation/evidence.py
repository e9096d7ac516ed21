"""Evidence: what a run may be used for.

A run has limits, each with a name of `LIMITS`. They are found in one place when it is evaluated, kept in its tag
``evidence``, and shown wherever the run is. `LIMITS` says what follows from each.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_NAMES = 5
"""Most names of runs in a line."""

TAG = "evidence"
"""The tag of a run with the names of its limits."""
INTERVAL_TAG = "val_interval"
"""The tag with the interval of the validation accuracy: the MLflow UI shows metrics with all their digits."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A reason why a run shows less than it seems to.

    Attributes
    ----------
    why
        What is the matter with it, as a clause after the name of a run.
    can_win
        Whether it can be better than another run, or the first of a leaderboard.
    can_register
        Whether its model is registered, and promoted, without ``force=true``.
    mark
        Stands behind its name in tables; empty for limits that most runs have.
    """

    why: str
    can_win: bool = True
    can_register: bool = True
    mark: str = ""


DEBUG = "debug"
LEAKY = "leaky"
UNKNOWN_GROUPS = "groups unknown"
ONE_FOLD = "one fold"
CHOSEN = "chosen on these images"
BELOW_BASELINE = "below the baseline"
FEW_GROUPS = "too few groups"
"""Validation has effectively fewer than `bloodcell.evaluation.intervals.FEW_GROUPS` groups."""
SINGLE = "single training"
RENDERED = "only rendered cells"

LIMITS: Mapping[str, Limit] = {
    DEBUG: Limit(
        why="is a debug run: its images, epochs or steps were limited", can_win=False, can_register=False, mark="†"
    ),
    LEAKY: Limit(
        why="leaks: copies of a photograph, or a group, can be on both sides of its split, so its metrics may be "
        "inflated",
        can_win=False,
        can_register=False,
        mark="*",
    ),
    UNKNOWN_GROUPS: Limit(why="may leak: the groups of all or some of its images are unknown", mark="?"),
    ONE_FOLD: Limit(why="is one fold of a cross-validation: the other folds' images were not predicted"),
    CHOSEN: Limit(why="was chosen on its validation images (its epochs, or by a search): their metrics are optimistic"),
    BELOW_BASELINE: Limit(
        why="is not above the baseline: on validation the majority class is at least as accurate",
        can_register=False,
        mark="‡",
    ),
    FEW_GROUPS: Limit(why="has too few validation groups for reliable intervals"),
    SINGLE: Limit(why="was trained once: how much another seed changes is unknown"),
    RENDERED: Limit(why="has seen only rendered cells, no real photograph", can_register=False, mark="°"),
}
"""What limits a run, the most serious first."""


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return the known names among some, each once, the most serious first."""
    given = set(names)
    return tuple(name for name in LIMITS if name in given)


def as_text(names: Iterable[str]) -> str:
    """Return names of limits as text, as in the tag."""
    return ", ".join(ordered(names))


def from_text(text: str) -> tuple[str, ...]:
    """Return the names of limits in the text of a tag; others, of another version, are left out."""
    return ordered(text.split(", "))


def why_not_better(names: Iterable[str]) -> str:
    """Return why a run with these limits cannot be better than another, as a clause; empty if it can."""
    name = barring(as_text(names))
    return LIMITS[name].why if name else ""


def of_leakage(leaky: str | None) -> tuple[str, ...]:
    """Return the names of the limits of a split that leaks: ``true``, ``false``, ``unknown``, or None."""
    return {"true": (LEAKY,), "unknown": (UNKNOWN_GROUPS,)}.get(leaky or "", ())


def barring(text: str) -> str:
    """Return the first name in the text of a tag with which a run cannot win; empty without one."""
    return next((name for name in from_text(text) if not LIMITS[name].can_win), "")


def why_not_registered(names: Iterable[str]) -> list[str]:
    """Return why a run with these limits is not registered, a clause each; empty if it is."""
    return [LIMITS[name].why for name in ordered(names) if not LIMITS[name].can_register]


def marks_of(names: Iterable[str]) -> str:
    """Return the marks behind the name of a run with these limits."""
    return "".join(LIMITS[name].mark for name in ordered(names))


def explained(evidence: Mapping[str, Iterable[str]], *, noun: str = "runs") -> list[str]:
    """Return a line for each limit that runs have, by name of the run: its mark, what it means, and which runs.

    ``noun`` is the word for what has a name.
    """
    lines = []
    for name, limit in LIMITS.items():
        having = [run for run, names in evidence.items() if name in set(names)]
        if not having:
            continue
        which = f"all {noun}" if len(having) == len(evidence) > 1 else "; ".join(having[:MAX_NAMES])
        more = f" and {len(having) - MAX_NAMES} more" if which != f"all {noun}" and len(having) > MAX_NAMES else ""
        lines.append(f"{limit.mark or '–'} {name}: {which}{more}")
    return lines
