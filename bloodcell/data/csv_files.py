"""Tables of text that a user gives as a file."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bloodcell.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", ";", "\t")


def columns_of(file: str | Path) -> list[str]:
    """Return the names of a CSV file's columns; none if it cannot be read."""
    try:
        return _header(Path(file).expanduser())[0]
    except (OSError, ValueError):
        return []


def read_csv(file: str | Path, *, setting: str, needs: Sequence[str] = ()) -> "pd.DataFrame":
    """Return a CSV file's columns as text; what is missing is the empty text.

    Columns are separated by commas, semicolons or tabs, whichever its first line has most of.

    Raises
    ------
    UserError
        If it cannot be read, is no CSV file in UTF-8, has two columns of one name, a row that is too long, or lacks a
        column that it needs.
    """
    import pandas as pd

    path = Path(file).expanduser()
    try:
        names, separator = _header(path)
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{setting}={file}: has the column {twice[0]} twice; rename one")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more fields than there are columns
            table = pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
            )
    except OSError as error:
        raise UserError(f"{setting}={file}: cannot be read ({error.strerror}); give a CSV file") from error
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{setting}={file}: is not a CSV file ({' '.join(str(error).split())})") from error
    if absent := [name for name in needs if name not in names]:
        raise UserError(f"{setting}={file}: has no column {absent[0]}; its columns are {', '.join(names)}")
    return table.fillna("").set_axis(names, axis="columns")


def groups_by_path(file: str | Path, *, setting: str) -> dict[str, str]:
    """Return the group of each path in a CSV file with the columns ``path`` and ``group``.

    Raises
    ------
    UserError
        If it cannot be read, or has two groups for a path.
    """
    table = read_csv(file, setting=setting, needs=("path", "group")).drop_duplicates(["path", "group"])
    if (twice := table["path"].duplicated()).any():
        raise UserError(f"{setting}={file}: has several groups for {table.loc[twice, 'path'].iloc[0]}; keep one")
    return dict(zip(table["path"], table["group"], strict=True))


def _header(path: Path) -> tuple[list[str], str]:
    """Return the names of the columns, and what separates them."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        first = lines.readline()
    separator = max(SEPARATORS, key=first.count)
    return [name.strip() for name in next(csv.reader([first], delimiter=separator), [])], separator
