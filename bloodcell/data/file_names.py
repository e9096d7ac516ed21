"""Sources from file names: ``slide12_cell3_aug4.jpg`` is a copy of ``slide12_cell3``."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

MARKS = (
    *("aug", "augmented", "copy", "orig", "original", "flip", "flipped", "hflip", "vflip", "mirror", "rot", "rotated"),
    *("crop", "cropped", "shift", "shifted", "zoom", "shear", "blur", "noise", "bright", "brightness", "contrast"),
)
"""Suffixes that tools and people add to the name of a copy."""

PATTERN = rf"(?i)([^/]+?)(?:[ _-](?:{'|'.join(MARKS)})[ _-]?\d*|\.rf\.[0-9a-f]+)*\.[^./]+$"
"""For ``data.groups_pattern``: captures a file's name without suffixes in `MARKS` and without Roboflow's digest."""


def sources_from_names(paths: Sequence[str]) -> list[str] | None:
    """Return each image's source by its file name; None if names do not give sources.

    They do if some names differ only in such a suffix. Paths have forward slashes.
    """
    names = [match[1] if (match := re.search(PATTERN, path)) else path for path in paths]
    marked = any(PurePosixPath(path).stem != name for name, path in zip(names, paths, strict=True))
    return names if marked and max(Counter(names).values()) > 1 else None


def agrees_with_pixels(names: Sequence[str], recovered: Sequence[str]) -> bool:
    """Return whether sources by file name agree with those recovered from the pixels.

    Images of one recovered source must have one name. Copies of one name may be recovered as two sources, because they
    can show different parts of the photograph.
    """
    one_name = len(set(zip(recovered, names, strict=True))) == len(set(recovered))
    return one_name and len(set(recovered)) <= 2 * len(set(names))
