"""The predictions table: per-image predicted probabilities, the input of every comparison."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow

from bloodcell.errors import UserError
from bloodcell.evaluation.probabilities import checked_probabilities, predicted_classes
from bloodcell.files import atomic_write

MANIFEST_COLUMNS = ("path", "label", "source", "group", "split")
PROBABILITY_PREFIX = "p_"


def predictions_table(
    *,
    manifest: pd.DataFrame,
    probabilities: npt.NDArray[np.floating],
    classes: Sequence[str],
    fold: int | None = None,
) -> pd.DataFrame:
    """Make a predictions table of images and their class probabilities.

    Parameters
    ----------
    manifest
        One row per image with the columns ``path, label, group, split`` and optionally ``source``, see
        `with_sources`; further columns are dropped.
    probabilities
        Shape (n, k), in the order of the manifest, each row a distribution over the classes.
    classes
        The k class names in the order of the model's outputs.
    fold
        The held-out fold of a cross-validation; None without one.

    Returns
    -------
    pandas.DataFrame
        ``path, label, source, group, split`` (str), ``fold`` (Int64, missing outside a cross-validation) and one
        ``p_<class>`` (float32) per class, in the order of `classes`.

    Raises
    ------
    ValueError
        When the manifest lacks a column or a value, a class is named twice, or the probabilities do not have the shape
        (n, k), are not finite, are negative, or do not sum to 1 within 0.001 in a row.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from bloodcell.evaluation.predictions import predictions_table
    >>> images = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"], "group": ["a", "b"], "split": "val"})
    >>> table = predictions_table(manifest=images, probabilities=np.array([[0.9, 0.1], [0.3, 0.7]]), classes=["x", "y"])
    >>> list(table)
    ['path', 'label', 'source', 'group', 'split', 'fold', 'p_x', 'p_y']
    """
    manifest = with_sources(manifest)
    absent = [column for column in MANIFEST_COLUMNS if column not in manifest.columns]
    if absent:
        raise ValueError(f"the manifest has no column {', '.join(absent)}")
    known = manifest[list(MANIFEST_COLUMNS)].reset_index(drop=True)
    empty = [column for column in MANIFEST_COLUMNS if known[column].isna().any()]
    if empty:
        raise ValueError(f"the manifest has missing values in {', '.join(empty)}")
    if len(set(classes)) != len(classes):
        raise ValueError(f"each class may be named once, got {list(classes)}")
    values = checked_probabilities(probabilities, n_images=len(known), n_classes=len(classes)).astype(np.float32)
    table = known.astype(str)
    table["fold"] = pd.array([fold] * len(table), dtype="Int64")
    columns = pd.DataFrame(values, columns=[PROBABILITY_PREFIX + name for name in classes])
    return pd.concat([table, columns], axis="columns")


def with_sources(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a column ``source``; by default groups are sources."""
    if "source" in table.columns or "group" not in table.columns:
        return table
    position = list(table.columns).index("group")
    copy = table.copy()
    copy.insert(position, "source", table["group"])
    return copy


def classes_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names of a predictions table, in the order of columns."""
    return tuple(
        str(column).removeprefix(PROBABILITY_PREFIX)
        for column in table.columns
        if str(column).startswith(PROBABILITY_PREFIX)
    )


def probabilities_of(table: pd.DataFrame, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the probabilities of a predictions table in a given order of classes.

    Shape (n, k), float64.

    Raises
    ------
    ValueError
        When the table has no probabilities for one of the classes.
    """
    absent = sorted(set(classes) - set(classes_of(table)))
    if absent:
        raise ValueError(f"the predictions have no class {', '.join(absent)}; they have {', '.join(classes_of(table))}")
    return table[[PROBABILITY_PREFIX + name for name in classes]].to_numpy(dtype=np.float64)


def label_indices(table: pd.DataFrame, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the label of each row of a table as an index into the k classes.

    Shape (n,), int64 in 0..k-1.

    Raises
    ------
    ValueError
        When an image has a label that is none of the classes.
    """
    indices = pd.Index(list(classes)).get_indexer(pd.Index(table["label"]))
    if (indices < 0).any():
        unknown = sorted(set(table["label"]) - set(classes))
        raise ValueError(f"unknown labels: {', '.join(unknown)}; the classes are {', '.join(classes)}")
    return indices.astype(np.int64)


def arrays_of(table: pd.DataFrame, classes: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the `label_indices` and the `probabilities_of` a predictions table."""
    return label_indices(table, classes), probabilities_of(table, classes)


def most_confident_errors(table: pd.DataFrame, classes: Sequence[str], n: int) -> pd.DataFrame:
    """Return at most n misclassified images of a predictions table, the most confident first.

    Returns
    -------
    pandas.DataFrame
        Equally confident images by path: ``path, label, source, group, split, fold``, ``predicted`` (str),
        ``probability`` (float64, of the predicted class) and ``label_probability`` (float64, of the true class).

    Raises
    ------
    ValueError
        When the table lacks a class or an image has a label that is none of the classes.
    """
    labels, probabilities = arrays_of(table, classes)
    predicted = predicted_classes(probabilities)
    rows = np.arange(len(table))
    errors = table[[*MANIFEST_COLUMNS, "fold"]].assign(
        predicted=[classes[index] for index in predicted],
        probability=probabilities[rows, predicted],
        label_probability=probabilities[rows, labels],
    )[predicted != labels]
    ranked: pd.DataFrame = errors.sort_values(["probability", "path"], ascending=[False, True], kind="stable")
    return ranked.head(n).reset_index(drop=True)


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write a predictions table as Parquet, atomically; the file's folder is created."""
    with atomic_write(path) as partial:
        table.to_parquet(partial, engine="pyarrow", index=False)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a predictions table that `write_predictions` wrote.

    In old tables, which have no column ``source``, groups are sources.

    Raises
    ------
    UserError
        When the file does not exist, is not Parquet, or is not a predictions table.
    """
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError as error:
        raise UserError(f"{path}: does not exist; give the predictions.parquet of a finished run") from error
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: is not a Parquet file; give the predictions.parquet of a finished run") from error
    table = with_sources(table)
    absent = [column for column in (*MANIFEST_COLUMNS, "fold") if column not in table.columns]
    if absent or not classes_of(table):
        lacks = ", ".join(absent) or f"{PROBABILITY_PREFIX}<class>"
        raise UserError(
            f"{path}: is not a predictions table, as it lacks {lacks}; give the predictions of a finished run"
        )
    return table
