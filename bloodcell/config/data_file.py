"""Writing a commented file of the group ``data`` for a folder of images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bloodcell.data.folder_layout import FolderLayout
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.wording import PHOTOGRAPH


@dataclass(frozen=True, kw_only=True)
class Groups:
    """How sources are found, and why.

    Attributes
    ----------
    source
        The value of ``data.groups``.
    pattern
        The value of ``data.groups_pattern``.
    reason
        A few words.
    noun
        What a group is.
    """

    source: Literal["recover", "pattern", "folder"]
    pattern: str | None
    reason: str
    noun: str = PHOTOGRAPH


def data_file(layout: FolderLayout, *, facts: Sequence[str], groups: Groups, n_unreadable: int, usage: str) -> str:
    """Return the YAML file, with a comment on each setting.

    Parameters
    ----------
    facts
        What was found in the folder, line by line.
    n_unreadable
        The number of unreadable images; if there are any, they are skipped instead of refused.
    usage
        A command that uses the file.
    """
    base = "bccd" if layout.kind == "bccd" else "folder"
    unreadable = (
        ("skip", f"{n_unreadable} images are unreadable: every run skips and lists them; error: refuse them")
        if n_unreadable
        else ("error", "an unreadable image is an error (now all are readable); skip: leave it out and list it")
    )
    settings = {
        **_places(layout),
        "on_bad_image": unreadable,
        "groups": (groups.source, f"what is independent: each {groups.noun}; {groups.reason}"),
        "groups_pattern": (
            _text(groups.pattern),
            "regular expression, searched in each path; the part in parentheses is the photograph",
        ),
        "group_name": (groups.noun, "what output calls a group"),
        "on_shared_groups": ("error", "a photograph in two splits: error, drop (from training), allow"),
        "rare_classes": (
            "error",
            "a class in too few groups for the split: error, train_only (all its groups stay in training)",
        ),
    }
    if groups.pattern is None:
        del settings["groups_pattern"]
    if groups.source == "recover":
        del settings["group_name"]
    lines = [
        "# Written by `bloodcell init`, which found:",
        *(f"#   {fact}" for fact in facts),
        f"# Use it with  {usage}",
        "defaults:",
        f"  - {base}    # all other settings are as in data={base}",
        "  - _self_",
        "",
        *(line for name, (value, meaning) in settings.items() for line in (f"# {meaning}", f"{name}: {value}")),
        "# Photographs of one patient or slide are not independent. If you know the patients or slides, set",
        "#   groups: column, groups_file: TABLE.csv (with columns path and patient), groups_column: patient,",
        "#   group_name: patient; or groups: pattern, groups_pattern: 'patient(\\d+)'",
    ]
    return "\n".join(lines) + "\n"


def _places(layout: FolderLayout) -> Mapping[str, tuple[str, str]]:
    if layout.kind == "bccd":
        return {"root": (_text(str(layout.top.resolve())), "the folder that holds TRAIN and TEST, Kaggle's layout")}
    places: dict[str, tuple[str, str]] = {}
    tests = layout.test_folders
    for split in ("train", "val", "test"):
        folder = layout.folders.get(split)
        text = _text(None if folder is None else str(folder.resolve()))
        match split, folder:
            case "test", None if tests:
                listed = ", ".join(f"{_text(name)}: {_text(str(place.resolve()))}" for name, place in tests.items())
                places["test_dir"] = f"{{{listed}}}", "test sets: each is evaluated, and all together"
            case "val", None:
                places["val_dir"] = text, "null: the split takes validation images from train_dir"
            case "test", None:
                places["test_dir"] = (
                    text,
                    "null: hold out test images of train_dir, by photograph, before the split",
                )
                places["test_fraction"] = "0.2", "the share of each class's photographs that is held out for the test"
                places["test_seed"] = "0", "seed of this choice; no other seed changes the test set"
            case _:
                places[f"{split}_dir"] = text, f"one folder of {SPLIT_NAMES[split]} images for each class"
    if noun := layout.levels.noun:
        places["folders"] = layout.levels.levels, f"what folders are, from the outside in; each {noun} has its own"
    return places


def _text(value: str | None) -> str:
    """Return a text as YAML that OmegaConf, for which ``${...}`` is a reference, reads unchanged."""
    return json.dumps(value if value is None else value.replace("${", "\\${"), ensure_ascii=False)
