"""Recognising predictions tables of other tools: their columns, class ids, logits and roundings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX
from bloodcell.evaluation.probabilities import ROW_SUM_TOLERANCE
from bloodcell.wording import listed

NAMES = {
    "path": "path filename file_name file filepath file_path image image_path image_name img img_path image_id id name",
    "label": "label target y_true true_label true_class truth ground_truth gt actual true class y labels targets",
    "predicted": "predicted prediction pred y_pred pred_label predicted_label predicted_class label_pred preds",
    "group": "group",
    "source": "source photograph",
    "split": "split subset",
    "fold": "fold kfold cv_fold",
}
"""Names of columns of other tools, in lower case, by what they have; the first that a table has is used."""
PREFIXES = ("p_", "prob_", "proba_", "probs_", "probability_", "score_", "logit_", "logits_", "pred_", "class_", "")
"""Before the class in the names of the columns of probabilities."""
NO_CLASSES = frozenset({"max", "min", "mean", "std", "sum", "value", "pred", "predicted", "top1", "margin", "entropy"})
"""Names of what else tools write beside probabilities."""
DECIMALS = 4
"""Probabilities with so many decimals, or fewer, need not sum to 1."""


@dataclass(frozen=True)
class Recognised:
    """A predictions table in bloodcell's own columns.

    Attributes
    ----------
    table
        ``path, label``, what it has of ``source, group, split, fold``, and ``p_<class>``.
    notes
        What was changed or left out, a sentence each.
    certain
        Whether the tool gave classes without probabilities: then these are 0 and 1.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    certain: bool = False


def recognise(
    name: str, table: Any, *, columns: Mapping[str, str] | None = None, classes: Sequence[str] = ()
) -> Recognised:
    """Return a predictions table of any tool in bloodcell's own columns.

    Parameters
    ----------
    name
        Its name, for messages.
    table
        A table with a row for each image. One in bloodcell's own columns is returned as it is.
    columns
        The names of columns by what they have: ``path``, ``label``, ``predicted``, ``group``, ``source``, ``split``,
        ``fold``, and ``probabilities``, which is the start of the names of its columns of probabilities.
    classes
        The class names in the order of the tool's ids; needed if it has ids and other tables have names.

    Raises
    ------
    UserError
        If a column that is needed is not recognised: one line with the columns that were found.
    """
    if not isinstance(table, pd.DataFrame) or table.empty or table.columns.has_duplicates or _is_own(table, columns):
        return Recognised(table)  # what is wrong with it is said later
    given = dict(columns or {})
    if unknown := sorted(set(given) - {*NAMES, "probabilities"}):
        raise UserError(f"columns: {unknown[0]} is unknown; give {', '.join([*NAMES, 'probabilities'])}")
    own = {what: _column(name, table, what, given) for what in NAMES}
    if own["path"] is None or own["label"] is None:
        raise _unrecognised(name, table, "path" if own["path"] is None else "label")
    notes = []
    labels = _as_texts(table[own["label"]])
    used = {each for each in own.values() if each is not None}
    found, left_out = _class_columns(table.drop(columns=list(used)), set(labels), given, classes)
    certain = not found
    if found:
        matrix = table[list(found.values())].to_numpy(dtype=np.float64)
        names = list(found)
        prefix = given.get("probabilities") or next(iter(found.values()))
        matrix, note = _probabilities(matrix, logits=prefix.lower().startswith("logit"))
        notes += [note] * bool(note)
    elif any(str(each).startswith(PROBABILITY_PREFIX) for each in table.columns) and not given:
        return Recognised(table)
    elif own["predicted"] is not None:
        predicted = _as_texts(table[own["predicted"]])
        names = list(classes) or sorted({*labels, *predicted}, key=_by_number)
        matrix = (np.asarray(predicted)[:, None] == np.asarray(names)[None, :]).astype(np.float64)
        notes.append(f"has no probabilities: the class in {own['predicted']} gets 1")
    else:
        raise _unrecognised(name, table, "probabilities")
    if classes and set(names) != set(classes) and _are_ids(names, len(classes)):
        labels = [classes[int(label)] if label not in classes else label for label in labels]
        names = [classes[int(each)] for each in names]
    elif classes and not set(labels) <= set(classes) and _are_ids(labels, len(classes)):
        labels = [classes[int(label)] for label in labels]
    if left_out:
        notes.append(f"the columns {listed(left_out)} are no class, and left out")
    renamed = {what: each for what, each in own.items() if each is not None and what != "predicted"}
    if changed := [f"{each} is the {what}" for what, each in renamed.items() if each != what]:
        notes.insert(0, f"{listed(changed)}")
    kept = {what: table[each] for what, each in renamed.items()} | {"label": labels}
    probabilities = dict(zip((PROBABILITY_PREFIX + each for each in names), matrix.T, strict=True))
    return Recognised(pd.DataFrame({**kept, **probabilities}), tuple(f"{name}: {note}." for note in notes), certain)


def _is_own(table: pd.DataFrame, columns: Mapping[str, str] | None) -> bool:
    """Return whether a table has bloodcell's own columns, and its probabilities sum to 1."""
    if columns or not {"path", "label"} <= set(table.columns):
        return False
    found = [each for each in table.columns if str(each).startswith(PROBABILITY_PREFIX)]
    numeric = len(found) > 1 and all(map(pd.api.types.is_numeric_dtype, table[found].dtypes))
    return numeric and _sum_to_one(table[found], within=ROW_SUM_TOLERANCE)


def _column(name: str, table: pd.DataFrame, what: str, given: Mapping[str, str]) -> str | None:
    """Return the column that has something; None if no name is known."""
    if what in given:
        if given[what] not in table.columns:
            raise UserError(f"{name}: columns.{what}={given[what]}: there is no such column; it has {_columns(table)}")
        return given[what]
    by_name = {str(column).lower().replace(" ", "_"): column for column in reversed(table.columns)}
    return next((by_name[each] for each in NAMES[what].split() if each in by_name), None)


def _unrecognised(name: str, table: pd.DataFrame, what: str) -> UserError:
    needed = {"path": "path: COLUMN", "label": "label: COLUMN", "probabilities": "probabilities: START_OF_NAMES"}[what]
    return UserError(
        f"{name}: has no column that is known as its {what}; it has {_columns(table)}; name it by columns={{{needed}}}"
    )


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns[:12])) + (", ..." if len(table.columns) > 12 else "")


def _as_texts(column: "pd.Series[Any]") -> list[str]:
    """Return names as texts; floats that are whole numbers as integers; missing ones as the empty text."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() == column.dropna().round()).all():
        column = column.astype("Int64")
    return ["" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]


def _class_columns(
    rest: pd.DataFrame, labels: set[str], given: Mapping[str, str], classes: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the columns of probabilities by class, and those that look alike but are no class."""
    numeric = {str(each): each for each in rest.columns if pd.api.types.is_numeric_dtype(rest[each])}
    for prefix in [given["probabilities"]] if "probabilities" in given else PREFIXES:
        found = {each[len(prefix) :]: column for each, column in numeric.items() if each.startswith(prefix)}
        found.pop("", None)
        expected = set(classes) or labels
        ids = _are_ids(found, len(classes)) and len(found) == len(classes)
        if len(found) < 2 or not (expected <= set(found) or (classes and ids)):
            continue
        if ids and not expected <= set(found):
            return found, []
        chosen = {each: column for each, column in found.items() if each in expected}
        more = {each: column for each, column in found.items() if each not in expected}
        if not classes and prefix and not _sum_to_one(rest[list(chosen.values())], within=0.05):
            # A class without images, unless its name says that it is none.
            chosen |= {each: column for each, column in more.items() if each.lower() not in NO_CLASSES}
        return chosen, [str(column) for each, column in more.items() if each not in chosen and prefix]
    return {}, []


def _sum_to_one(table: pd.DataFrame, *, within: float) -> bool:
    values = table.to_numpy(dtype=np.float64)
    return bool((np.abs(values.sum(axis=1) - 1) <= within).all() and (values >= 0).all())


def _are_ids(names: Iterable[str], n_classes: int) -> bool:
    return all(re.fullmatch(r"\d+", each) and int(each) < n_classes for each in names)


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (0, name)


def _probabilities(values: NDArray[np.float64], *, logits: bool) -> tuple[NDArray[np.float64], str]:
    """Return probabilities of what a tool wrote, and what was done; unchanged if it is unknown."""
    if not np.isfinite(values).all():
        return values, ""
    sums = values.sum(axis=1)
    low, high, n_classes = values.min(), values.max(), values.shape[1]
    if not logits and low >= 0 and high <= 1 and (np.abs(sums - 1) <= ROW_SUM_TOLERANCE).all():
        return values, ""
    if logits or low < 0 or (high > 1 and not _percent(values)):
        if not logits and high <= 0 and np.allclose(np.exp(values).sum(axis=1), 1, atol=1e-2):
            return np.exp(values), "has log probabilities, whose exponential is used"
        return softmax(values, axis=1), "has logits, whose softmax is used"
    scaled, what = (values / 100, "has percentages, which are divided by 100") if high > 1 else (values, "")
    decimals = next((each for each in range(1, DECIMALS + 3) if np.allclose(scaled, scaled.round(each), atol=1e-9)), 99)
    within = n_classes * 0.5 * 10.0**-decimals + 1e-9
    sums = scaled.sum(axis=1, keepdims=True)
    if decimals <= DECIMALS and (np.abs(sums - 1) <= within).all() and (sums > 0).all():
        rounded = f"has probabilities of {decimals} decimals, which are divided by their sum"
        return scaled / sums, f"{what}; {rounded}" if what else rounded
    return scaled, what


def _percent(values: NDArray[np.float64]) -> bool:
    return bool((np.abs(values.sum(axis=1) - 100) <= 0.5 * values.shape[1]).all())
