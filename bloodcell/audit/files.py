"""Files that are not like the others: unreadable, of another size, of another kind of pixels, or no images at all."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image

from bloodcell.audit.finding import Finding
from bloodcell.data.manifest import ImageSet
from bloodcell.wording import counted

ODD_SHARE = 0.1
"""Files of another size or mode than most are odd if they are fewer than this share; else the set is simply mixed."""


def odd_files(images: ImageSet) -> list[Finding]:
    """Look at what was left out, and at every image's size and mode as its file says."""
    files = images.files(images.manifest)
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, files))
    table = pd.DataFrame(headers, columns=["size", "mode"]).assign(path=images.manifest["path"].tolist())
    return [
        _unreadable(images.unreadable),
        _others(images.other_files),
        _odd(table, "size", "sizes"),
        _odd(table, "mode", "modes"),
    ]


def _header(file: Path) -> tuple[str, str]:
    with Image.open(file) as image:
        return f"{image.width} x {image.height}", image.mode


def _unreadable(unreadable: pd.DataFrame) -> Finding:
    if unreadable.empty:
        return Finding(code="unreadable-images", severity="clear", what="Every image can be read.")
    return Finding(
        code="unreadable-images",
        severity="error",
        what=f"{counted(len(unreadable), 'file')} named like an image cannot be read, "
        f"{unreadable['path'].iloc[0]} ({unreadable['reason'].iloc[0]}) for one.",
        numbers={"files": len(unreadable)},
        advice="Mend or remove them, or leave them out of training with data.on_bad_image=skip.",
        rows=[{"path": row.path, "reason": row.reason} for row in unreadable.itertuples()],
    )


def _others(others: Sequence[str]) -> Finding:
    if not others:
        return Finding(code="other-files", severity="clear", what="There is nothing but images among the images.")
    return Finding(
        code="other-files",
        severity="warning",
        what=f"{counted(len(others), 'file')} among the images {'is' if len(others) == 1 else 'are'} none by the name, "
        f"{others[0]} for one; nothing reads {'it' if len(others) == 1 else 'them'}.",
        numbers={"files": len(others)},
        advice="Move them away, or name them as the images that they are.",
        rows=[{"path": path} for path in others],
    )


def _odd(table: pd.DataFrame, column: str, plural: str) -> Finding:
    counts = table[column].value_counts()
    usual = counts.index[0]
    odd = table[table[column] != usual]
    numbers: dict[str, float | int | str] = {"usual": str(usual), "images": int(counts.iloc[0]), "others": len(odd)}
    if odd.empty:
        return Finding(
            code=f"odd-{plural}", severity="clear", what=f"All images have one {column}: {usual}.", numbers=numbers
        )
    mixed = len(odd) > ODD_SHARE * len(table)
    return Finding(
        code=f"odd-{plural}",
        severity="note" if mixed else "warning",
        what=f"{counted(len(odd), 'image')} of {len(table):,} {'has' if len(odd) == 1 else 'have'} another {column} "
        f"than the usual {usual}: {', '.join(counts.index[1:4])}{' and others' if len(counts) > 4 else ''}.",
        numbers=numbers,
        advice="All are brought to one size of 8-bit RGB; see that what differs is not one class or one source.",
        rows=[{"path": row.path, column: getattr(row, column)} for row in odd.itertuples()],
    )
