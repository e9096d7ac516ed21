"""Refusing a place that cannot be written to before the work, not after it."""

from pathlib import Path

from bloodcell.errors import UserError
from bloodcell.files import require_writable


def require_output_folder(output: Path) -> None:
    """Refuse a folder that ``output`` names and that cannot be written to.

    Raises
    ------
    UserError
        If it cannot.
    """
    _require(output, output, what="folder")


def require_output_file(output: Path) -> None:
    """Refuse a file that ``output`` names and that cannot be written.

    Raises
    ------
    UserError
        If it cannot, or is a folder.
    """
    if output.is_dir():
        raise UserError(f"output={output}: is a folder; give the name of a file")
    _require(output, output.parent, what="file")


def _require(output: Path, folder: Path, *, what: str) -> None:
    try:
        require_writable(folder)
    except OSError as error:
        raise UserError(f"output={output}: cannot be written ({error.strerror}); give another {what}") from error
