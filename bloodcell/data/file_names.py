"""Whether names say which photograph an image was made from: ``slide12_cell3_aug4.jpg`` is of ``slide12_cell3``."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

MARKS = (
    *("aug", "augmented", "copy", "orig", "original", "flip", "flipped", "hflip", "vflip", "mirror", "rot", "rotated"),
    *("crop", "cropped", "shift", "shifted", "zoom", "shear", "blur", "noise", "bright", "brightness", "contrast"),
)
"""What tools and people put behind a photograph's name when they make images of it."""

PATTERN = rf"(?i)([^/]+?)(?:[ _-](?:{'|'.join(MARKS)})[ _-]?\d*|\.rf\.[0-9a-f]+)*\.[^./]+$"
"""For ``data.groups_pattern``: captures a file's name without what stands in `MARKS`, or Roboflow's digest, there."""


def sources_from_names(paths: Sequence[str]) -> list[str] | None:
    """Return the photograph that each image's name names, if names do so.

    They do if some names differ in nothing but a mark of how the image was made.

    Parameters
    ----------
    paths
        Paths of images, with forward slashes.
    """
    matches = [re.search(PATTERN, path) for path in paths]
    names = [match[1] if match else path for match, path in zip(matches, paths, strict=True)]
    marked = any(PurePosixPath(path).stem != name for name, path in zip(names, paths, strict=True))
    return names if marked and max(Counter(names).values()) > 1 else None


def agrees_with_pixels(names: Sequence[str], seen: Sequence[str]) -> bool:
    """Say whether images are seen to be of one photograph where their names say so, and nowhere else.

    Of a photograph's copies one may show another part of it, so that names may put together a few that nobody sees
    to be of one: as many as there are photographs.
    """
    together = sorted(zip(seen, names, strict=True))
    if any(name != other for (one, name), (two, other) in pairwise(together) if one == two):
        return False
    return len(set(seen)) <= 2 * len(set(names))
