"""Images that people have excluded, such as those without a cell."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from bloodcell.data.csv_files import read_csv
from bloodcell.errors import UserError
from bloodcell.wording import abridged


def excluded_paths(file: str | Path, *, known: Collection[str], root: Path) -> dict[str, str]:
    """Return the reason of each image that a CSV file excludes.

    Parameters
    ----------
    file
        A CSV file with the column ``path``, relative to the images' root, and perhaps ``reason``.
    known
        The paths of all images.
    root
        The images' root, for messages.

    Raises
    ------
    UserError
        If the file cannot be read, or has an image that the set does not have.
    """
    table = read_csv(file, setting="data.exclude_file", needs=("path",))
    paths = [PurePosixPath(path).as_posix() for path in table["path"]]
    if unknown := sorted(set(paths) - set(known)):
        raise UserError(
            f"data.exclude_file={file}: {abridged(unknown)}: no image of the set; give paths relative to {root}"
        )
    reasons = table["reason"].str.strip() if "reason" in table else [""] * len(table)
    return {path: reason or f"listed in {Path(file).name}" for path, reason in zip(paths, reasons, strict=True)}
