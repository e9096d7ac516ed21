"""The files of the explored images. An image is addressed by its row; no other file is ever read."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bloodcell.console.progress import track
from bloodcell.data.manifest import addressed
from bloodcell.explorer.thumbnails import Pixels
from bloodcell.images.address import Address, address_of
from bloodcell.images.reading import UnreadableImage, decode_image, read_file

SAMPLED = 40
"""Images that are looked for before the page opens."""


@dataclass(frozen=True, kw_only=True)
class Originals:
    """Reads the images of runs below some folders.

    Attributes
    ----------
    folders
        To which the paths of images may be relative; absolute.
    paths, sha256s
        The path and the recorded digest of each image; an empty digest: unknown.
    bits
        See `bloodcell.data.manifest.bits_by_path`.
    need_digest
        Whether an image without a recorded digest is refused: a run of a shared store may name any folder.
    """

    folders: Sequence[Path]
    paths: Sequence[str]
    sha256s: Sequence[str]
    bits: Mapping[str, int] = field(default_factory=dict)
    need_digest: bool = True

    def pixels(self, row: int) -> Pixels:
        """Return the image in a row.

        Raises
        ------
        UnreadableImage
            If it is not there, has another content than the run recorded, or cannot be read.
        """
        content, part, _ = self._found(row)
        return decode_image(content, page=part.page, bits=part.bits)

    def files(self) -> list[tuple[Path, str] | None]:
        """Return the file of each image (or see `bloodcell.images.address`) and its digest; None if it is not there."""
        return [self._file(row) for row in track(range(len(self.paths)), "looking for images", total=len(self.paths))]

    def missing(self) -> tuple[list[str], int]:
        """Return which of some equally spaced images are not there, and the number of those that were looked for."""
        rows = range(0, len(self.paths), max(len(self.paths) // SAMPLED, 1))
        return [self.paths[row] for row in rows if self._file(row) is None], len(rows)

    def _file(self, row: int) -> tuple[Path, str] | None:
        try:
            _, part, sha256 = self._found(row)
        except UnreadableImage:
            return None
        return Path(str(part)), sha256

    def _found(self, row: int) -> tuple[bytes, Address, str]:
        path, sha256 = self.paths[row], self.sha256s[row]
        if not sha256 and self.need_digest:
            raise UnreadableImage("not recorded by a run; give images=FOLDER")
        reason = "not there"
        for folder in self.folders:
            file = Path(os.path.normpath(folder / path))
            if not file.is_relative_to(folder):  # a table of predictions may name any file
                continue
            part = address_of(addressed(file, self.bits.get(path, 0)))
            if not sha256 and not _is_below(Path(part.file), folder):
                continue
            try:
                content = read_file(part.file)
            except UnreadableImage:
                continue
            digest = part.digest(hashlib.sha256(content).hexdigest())
            if sha256 in ("", digest):
                return content, part, digest
            reason = "has another content than the run recorded"
        raise UnreadableImage(reason)


def _is_below(file: Path, folder: Path) -> bool:
    """Return whether a file is below a folder, also if it is a link."""
    try:
        return file.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False
