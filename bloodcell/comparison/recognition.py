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
    "path": "path filename file_name file filepath file_path fname image image_path image_name image_file img img_path "
    "img_name image_id sample sample_id id key name",
    "label": "label target y_true true_label true_class truth ground_truth gt actual true class y labels targets",
    "predicted": "predicted prediction pred y_pred pred_label predicted_label predicted_class label_pred preds",
    "group": "group",
    "source": "source photograph",
    "split": "split subset",
    "fold": "fold kfold cv_fold",
}
"""Names of columns of other tools, in lower case, by what they have; the first that a table has is used."""
NO_CLASSES = frozenset({"max", "min", "mean", "std", "sum", "value", "pred", "predicted", "top1", "margin", "entropy"})
"""Names of what else tools write beside probabilities."""
SCORES = ["score", "prob", "probability", "proba", "p", "y_score", "y_prob", "y_proba"]
"""Names of the only column of probabilities, that of the second of two classes."""
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
    rest = _as_numbers(table.drop(columns=list(used)))
    found, left_out = _class_columns(rest, set(labels), given, classes)
    binary = None if found else _binary(rest, set(labels), classes)
    certain = False
    if found:
        names = list(found)
        logits = any("logit" in str(column).lower() for column in found.values())
        matrix, note = _probabilities(rest[list(found.values())].to_numpy(dtype=np.float64), logits=logits)
        notes += [note] * bool(note)
    elif binary is not None:
        column, names = binary
        positive = rest[column].to_numpy(dtype=np.float64)
        matrix = np.column_stack([1 - positive, positive])
        notes.append(f"{column} is the probability of {names[1]}")
    elif any(str(each).startswith(PROBABILITY_PREFIX) for each in table.columns) and not given:
        return Recognised(table)
    elif own["predicted"] is not None:
        certain, predicted = True, _as_texts(table[own["predicted"]])
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
    ids = ", or give classes=[NAME,NAME] in the order of its ids" if what == "probabilities" else ""
    return UserError(
        f"{name}: has no column that is known as its {what}; it has {_columns(table)}; name it by "
        f"columns={{{needed}}}{ids}"
    )


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns[:12])) + (", ..." if len(table.columns) > 12 else "")


def _as_texts(column: "pd.Series[Any]") -> list[str]:
    """Return names as texts; floats that are whole numbers as integers; missing ones as the empty text."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() == column.dropna().round()).all():
        column = column.astype("Int64")
    return ["" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]


def _as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of numbers, also in texts such as 12.5 %; a column of lists becomes one for each item."""
    numbers: dict[str, Any] = {}
    for name in table.columns:
        column, first = table[name], table[name].iloc[0]
        if pd.api.types.is_bool_dtype(column):
            continue
        if pd.api.types.is_numeric_dtype(column):
            numbers[str(name)] = column
        elif isinstance(first, str) and column.astype(str).str.fullmatch(r"\s*[\d.]+\s*%\s*").all():
            numbers[str(name)] = column.str.strip(" %").astype(np.float64)
        elif isinstance(first, (list, tuple, np.ndarray)) or (
            isinstance(first, str) and first.lstrip().startswith("[")
        ):
            lists = [_list_of(value) for value in column]
            if len({len(each) for each in lists}) == 1:
                numbers |= {f"{name}{number}": items for number, items in enumerate(zip(*lists, strict=True))}
    return pd.DataFrame(numbers, index=table.index)


def _list_of(value: Any) -> list[float]:
    """Return a list of numbers, perhaps written as text by Python or NumPy; empty if it is none."""
    if not isinstance(value, str):
        return [float(each) for each in value]
    items = re.split(r"[,\s]+", value.strip().removeprefix("[").removesuffix("]").strip())
    try:
        return [float(each) for each in items]
    except ValueError:
        return []


def _class_columns(
    rest: pd.DataFrame, labels: set[str], given: Mapping[str, str], classes: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the columns of probabilities by class, and those that look alike but are no class.

    The names of the columns have the class between the same texts, such as ``prob_`` and nothing.
    """
    columns = {str(each).casefold(): str(each) for each in rest.columns}
    expected = {each.casefold(): each for each in (classes or labels)}
    ids = {str(number): str(number) for number in range(len(classes))}
    for wanted in (expected, ids):
        for before, after in _frames(wanted, columns, given.get("probabilities")):
            chosen = {each: columns[f"{before}{key}{after}"] for key, each in wanted.items()}
            alike = [each for each in columns if each.startswith(before) and each.endswith(after)]
            more = {columns[each][len(before) : len(each) - len(after)]: columns[each] for each in alike}
            more = {name: column for name, column in more.items() if name and column not in chosen.values()}
            if not classes and not _sum_to_one(rest[list(chosen.values())], within=0.05):
                # Classes without images: all alike, unless a name says that it is none; or what makes the sum 1.
                others = {name: column for name, column in more.items() if name.casefold() not in NO_CLASSES}
                whole = _sum_to_one(rest[[*chosen.values(), *others.values()]], within=0.05)
                chosen |= others if whole or before or after else {}
            framed = bool(before or after)
            return chosen, [column for column in more.values() if framed and column not in chosen.values()]
    return {}, []


def _frames(wanted: Mapping[str, str], columns: Mapping[str, str], given: str | None) -> list[tuple[str, str]]:
    """Return the texts before and after the classes' names in columns that are there for every class."""
    if len(wanted) < 2:
        return []
    first = next(iter(wanted))
    pairs = {(each[: -len(first)], "") for each in columns if each.endswith(first)}
    pairs |= {("", each[len(first) :]) for each in columns if each.startswith(first)}
    if given is not None:
        pairs = {(given.casefold(), "")}
    found = [(before, after) for before, after in pairs if all(f"{before}{each}{after}" in columns for each in wanted)]
    return sorted(found, key=lambda pair: (pair != (PROBABILITY_PREFIX, ""), sum(map(len, pair)), pair))


def _binary(rest: pd.DataFrame, labels: set[str], classes: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the only column of probabilities, and both classes; None unless it is clear which class it is of."""
    names = list(classes) if len(classes) == 2 else ["0", "1"] if labels <= {"0", "1"} else []
    found = [column for column in rest.columns if column.lower() in SCORES and rest[column].between(0, 1).all()]
    return (found[0], names) if names and len(found) == 1 else None


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
