"""What the folders in a folder of images are: classes, or also folds, patients or other groups."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bloodcell.data.folders import subfolders
from bloodcell.errors import UserError
from bloodcell.images.reading import SUFFIXES
from bloodcell.wording import abridged

NOUNS = {
    "fold": r"(folds?|cv|split|part)[-_ ]?\d+",
    "patient": r"(patient|pat|pt|subject|subj|case|donor|person|animal|mouse)s?[-_ ]?\w*\d\w*",
    "slide": r"(slide|smear|wsi)s?[-_ ]?\w*\d\w*",
    "site": r"(site|hospital|cent(er|re)|lab|laboratory|clinic|scanner|institution|microscope)s?([-_ ]\w+|\d\w*)",
    "day": r"(day|date|session|week)[-_ ]?\d+|\d{4}[-_.]\d\d[-_.]\d\d",
    "batch": r"(batch|plate|well|run)[-_ ]?\w*\d\w*",
}
"""Names of folders that are no classes, in lower case, by what such a folder is."""


@dataclass(frozen=True)
class Levels:
    """What the folders below a folder are, from the outside in.

    Attributes
    ----------
    levels
        A value of ``data.folders``.
    noun
        What a folder that is no class is, such as ``patient``; empty without one.
    """

    levels: str
    noun: str = ""


CLASSES = Levels("class")


def unit_of(levels: str | None) -> str:
    """Return what folders are besides classes, by a value of ``data.folders``: ``group``, ``fold`` or nothing."""
    return (levels or "").replace("class", "").strip("/")


def find_levels(folder: Path, *, setting: str, name: str = "data.folders") -> Levels:
    """Tell by the names of folders which of them are classes.

    Parameters
    ----------
    folder
        The folder of a split.
    setting, name
        The setting and its value, and the setting that says what folders are, for the message.

    Raises
    ------
    UserError
        If folders in folders have the same names, so that either may be the classes, and the names do not tell.
    """
    outer = subfolders(folder)
    inner = [subfolders(each) for each in outer]
    if not outer or not all(inner) or any(map(_has_images, outer)):
        return CLASSES
    counts = Counter(each.name for some in inner for each in some)
    outer_noun, inner_noun = _noun(each.name for each in outer), _noun(counts)
    if outer_noun and not inner_noun:
        return Levels(f"{_level(outer_noun)}/class", outer_noun)
    if inner_noun and not outer_noun:
        return Levels(f"class/{_level(inner_noun)}", inner_noun)
    repeated = [name for name in sorted(counts) if counts[name] > 1]
    if 2 * len(repeated) < len(counts):
        return CLASSES
    names = [each.name for each in outer]
    raise UserError(
        f"{setting}: its folders ({abridged(names)}) have folders of the same names ({abridged(repeated)}), so either "
        f"may be the classes; set {name}=group/class (or fold/class) if {repeated[0]} is a class, and "
        f"class/group (or class/fold, class) if {names[0]} is one"
    )


def _noun(names: Iterable[str]) -> str:
    """Return what folders of these names are; empty if they may be classes."""
    listed = [name.lower() for name in names]
    return next((noun for noun, pattern in NOUNS.items() if all(re.fullmatch(pattern, each) for each in listed)), "")


def _level(noun: str) -> str:
    return "fold" if noun == "fold" else "group"


def _has_images(folder: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES and entry.is_file() for entry in folder.iterdir())
