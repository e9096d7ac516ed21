"""The address of an image: its file, the page in it, and the bits of its channels.

``a.tif`` is the first page, ``a.tif/2`` the second, and ``a.tif/1@12`` the first with 12 of its 16 bits.
"""

import hashlib
import os
import re
from dataclasses import dataclass

_PART = re.compile(r"(?P<file>.+\.\w+)/(?P<page>[1-9]\d*)(?:@(?P<bits>\d+))?")


@dataclass(frozen=True)
class Address:
    """Where an image is.

    Attributes
    ----------
    file
        The path of the file.
    page
        The page or frame, from 1.
    bits
        The bits a channel that are used, if the file has more than 8; None: those that this image uses.
    """

    file: str
    page: int = 1
    bits: int | None = None

    def __str__(self) -> str:
        """Return the address as a path."""
        if self.bits is not None:
            return f"{self.file}/{self.page}@{self.bits}"
        return self.file if self.page == 1 else f"{self.file}/{self.page}"

    def digest(self, sha256: str) -> str:
        """Return a digest of the image, 64 hexadecimal digits: that of the file, unless it is only a part of it."""
        part = str(self).removeprefix(self.file)
        return hashlib.sha256(f"{sha256}{part}".encode()).hexdigest() if part else sha256


def address_of(path: str | bytes | os.PathLike[str]) -> Address:
    """Return the address that a path is; a path of a file that exists is that of the file."""
    text = os.fsdecode(path)
    found = _PART.fullmatch(text)
    if found is None or os.path.exists(text):  # noqa: PTH110 - the path may be bytes
        return Address(text)
    bits = found["bits"]
    return Address(found["file"], int(found["page"]), None if bits is None else int(bits))
