"""Unreadable files, files that are not images, wrong endings, and images of an unusual size or mode."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from bloodcell.audit.finding import Finding, Numbers, passed, records
from bloodcell.data.manifest import ImageSet
from bloodcell.images.address import address_of
from bloodcell.images.reading import read_header
from bloodcell.wording import counted

MAX_ODD_SHARE = 0.1
"""Above this share, images of another size or mode than most are a mixed set, not a warning."""


def odd_files(images: ImageSet, table: pd.DataFrame) -> list[Finding]:
    """Check the files that were left out, and the ending, size and mode of every image, see `headers_of`."""
    return [
        _unreadable(images.unreadable),
        _contents(images.notes),
        _others(images.other_files),
        _misnamed(table),
        _odd(table, "size", "sizes"),
        _odd(table, "mode", "modes"),
    ]


def headers_of(images: ImageSet) -> pd.DataFrame:
    """Return a row for each image: ``path``, ``size``, ``mode``, ``format``, ``camera`` and ``ends_well``."""
    paths = images.manifest["path"].tolist()
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(lambda path: read_header(Path(address_of(images.root / path).file)), paths))
    return pd.DataFrame(
        {
            "path": paths,
            "size": [f"{each.width} x {each.height}" for each in headers],
            "mode": [each.mode for each in headers],
            "format": [each.format for each in headers],
            "camera": [each.camera for each in headers],
            "ends_well": [
                Path(address_of(path).file).suffix.lower() in each.suffixes
                for path, each in zip(paths, headers, strict=True)
            ],
        }
    )


def _misnamed(table: pd.DataFrame) -> Finding:
    wrong = table[~table["ends_well"]]
    if wrong.empty:
        return passed("wrong-endings", "Every image has the format that its name ends in.")
    first = wrong.iloc[0]
    them = "has another format than its name ends" if len(wrong) == 1 else "have other formats than their names end"
    return Finding(
        code="wrong-endings",
        severity="warning",
        what=f"{counted(len(wrong), 'image')} {them} in, for example {first['path']}, which is {first['format']}.",
        numbers={"files": len(wrong)},
        advice="They are read by their content. Other programs may go by the name: rename them.",
        rows=records(wrong[["path", "format"]]),
    )


def _contents(notes: Sequence[str]) -> Finding:
    if not notes:
        return passed("image-contents", "No image has several pages, or fewer bits than its file.")
    what = " ".join(f"{note[0].upper()}{note[1:]}." for note in notes)
    return Finding(code="image-contents", severity="warning", what=what, numbers={"notes": len(notes)})


def _unreadable(unreadable: pd.DataFrame) -> Finding:
    if unreadable.empty:
        return passed("unreadable-images", "All images can be read.")
    first = unreadable.iloc[0]
    return Finding(
        code="unreadable-images",
        severity="error",
        what=f"{counted(len(unreadable), 'image')} cannot be read, for example {first['path']} ({first['reason']}).",
        numbers={"files": len(unreadable)},
        advice="Fix or remove them, or set data.on_bad_image=skip to train without them.",
        rows=records(unreadable[["path", "reason"]]),
    )


def _others(others: Sequence[str]) -> Finding:
    if not others:
        return passed("other-files", "The folders contain only images.")
    return Finding(
        code="other-files",
        severity="warning",
        what=f"{counted(len(others), 'file')} in the image folders {'has' if len(others) == 1 else 'have'} no image "
        f"suffix and {'is' if len(others) == 1 else 'are'} ignored, for example {others[0]}.",
        numbers={"files": len(others)},
        advice="Move them out of the folders, or rename them if they are images.",
        rows=[{"path": path} for path in others],
    )


def _odd(table: pd.DataFrame, column: str, plural: str) -> Finding:
    counts = table[column].value_counts()
    usual = counts.index[0]
    odd = table[table[column] != usual]
    numbers: Numbers = {"usual": str(usual), "images": int(counts.iloc[0]), "others": len(odd)}
    if odd.empty:
        return passed(f"odd-{plural}", f"All images have the same {column}: {usual}.", numbers)
    others = f"{', '.join(counts.index[1:4])}{' and others' if len(counts) > 4 else ''}"
    return Finding(
        code=f"odd-{plural}",
        severity="note" if len(odd) > MAX_ODD_SHARE * len(table) else "warning",
        what=f"{counted(len(odd), 'image')} of {len(table):,} {'has' if len(odd) == 1 else 'have'} another {column} "
        f"({others}) than the usual {usual}.",
        numbers=numbers,
        advice="Training converts all images to 8-bit RGB of one size. Check that the unusual ones are not all of one "
        "class or split.",
        rows=records(odd[["path", column]]),
    )
