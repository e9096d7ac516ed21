"""Predictions tables of any program, checked."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX, classes_of
from bloodcell.evaluation.probabilities import ROW_SUM_TOLERANCE, checked_probabilities

ROUNDING = 5e-3
"""The largest error of a sum of probabilities that few digits explain."""
OPTIONAL = ("source", "group", "split")
"""Columns with names that a table need not have; the other is ``fold``."""
MAX_WHOLE = 2.0**53
"""Beyond it, a float is no longer one integer."""


def checked_table(name: str, table: Any) -> pd.DataFrame:
    """Return a predictions table with all columns and the right types; missing groups, sources and folds are None.

    Raises
    ------
    UserError
        If it is invalid: one line with its name.
    """
    if not isinstance(table, pd.DataFrame):
        raise UserError(f"{name}: is a {type(table).__name__}, not a table; give a pandas.DataFrame of predictions")
    if absent := [column for column in ("path", "label") if column not in table.columns]:
        raise UserError(
            f"{name}: has no column {absent[0]}; give a table of predictions, with path, label and p_<class>"
        )
    classes = classes_of(table)
    if len(classes) < 2:
        raise UserError(f"{name}: has {len(classes)} columns {PROBABILITY_PREFIX}<class>; give one for each class")
    if table.columns.has_duplicates:
        raise UserError(f"{name}: has the column {table.columns[table.columns.duplicated()][0]} twice; leave one out")
    if table.empty:
        raise UserError(f"{name}: has no rows; give the predictions of at least one image")
    for column in ("path", "label", *(name for name in ("source", "group") if name in table.columns)):
        if (missing := table[column].isna()).any():
            raise UserError(
                f"{name}: has no {column} in {missing.sum()} rows, the first is row {missing.argmax()}; add it"
            )
    names = {column: _texts(table[column]) for column in ("path", "label")}
    others = {column: _texts(table[column]) if column in table.columns else None for column in OPTIONAL}
    if strange := sorted(set(names["label"].unique()) - set(classes)):
        raise UserError(f"{name}: has the label {strange[0]}, but no column {PROBABILITY_PREFIX}{strange[0]}; add it")
    columns = [PROBABILITY_PREFIX + each for each in classes]
    try:
        values = checked_probabilities(
            _rounded(table[columns].to_numpy(dtype=np.float64)), n_images=len(table), n_classes=len(classes)
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}; correct the table") from error
    fold = _folds(table["fold"]) if "fold" in table.columns else None
    return pd.DataFrame({**names, **others, "fold": fold, **dict(zip(columns, values.T, strict=True))})


def _folds(column: "pd.Series[Any]") -> NDArray[Any]:
    """Return folds as numbers, which names get in the order of the rows."""
    numbers = pd.to_numeric(column, errors="coerce")
    return pd.factorize(column.astype(str))[0] if (numbers.isna() & column.notna()).any() else numbers.to_numpy()


def _texts(column: "pd.Series[Any]") -> "pd.api.extensions.ExtensionArray":
    """Return names as strings; floats that are whole numbers as integers."""
    if pd.api.types.is_float_dtype(column) and (column == column.round()).all() and column.abs().max() < MAX_WHOLE:
        column = column.astype("int64")
    return column.astype(str).array


def _rounded(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct rounding: rows that sum to nearly 1, and slightly negative zeros.

    Rows that sum to 1 within the precision of their type stay unchanged: division would break ties.
    """
    clipped = np.where((probabilities < 0) & (probabilities > -ROUNDING), 0.0, probabilities)
    sums = clipped.sum(axis=1, keepdims=True)
    off = np.abs(sums - 1)
    return np.where((off > ROW_SUM_TOLERANCE) & (off <= ROUNDING), clipped / np.where(sums > 0, sums, 1.0), clipped)
