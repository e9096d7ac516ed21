"""Properties of files that tell the class: size, format, camera and name.

A model that is given images of one class in another size or format, or from another camera, can learn this instead of
the cell.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.audit.finding import SIGNIFICANCE, Finding, Numbers, passed
from bloodcell.audit.permutation import Array, p_value, shuffles
from bloodcell.audit.sources import MIN_SOURCES, SourceTable
from bloodcell.wording import listed

MIN_ASSOCIATION = 0.3
"""Smallest Cramér's V that is reported: medium after Cohen (1988)."""

FREQUENT = 0.05
"""Share of the photographs from which a value is a category of its own."""

PROPERTIES = {"size": "sizes", "format": "formats", "camera": "cameras", "name": "names"}
"""The properties, and their plurals."""

UNKNOWN = "not recorded"


def file_shortcuts(sources: SourceTable, headers: pd.DataFrame, *, n_permutations: int, seed: int) -> list[Finding]:
    """Test whether size, format, camera and name of a photograph's file depend on its class.

    The statistic is Cramér's V of class and value, corrected for its bias (Bergsma 2013, Journal of the Korean
    Statistical Society 42); labels are shuffled within splits.

    Parameters
    ----------
    sources
        The photographs.
    headers
        Of every image, see `bloodcell.audit.files.headers_of`.
    n_permutations, seed
        Of the test.
    """
    checked = sources.of_frequent_classes()
    if checked is None:
        return []
    files = headers.set_index("path").loc[checked.examples.tolist()]
    values = {
        "size": _sizes(files["size"]),
        "format": files["format"].replace("MPO", "JPEG").to_numpy(str),
        "camera": files["camera"].replace("", UNKNOWN).to_numpy(str),
        "name": name_patterns(checked.examples.tolist()),
    }
    return [_tested(name, each, checked, n_permutations, seed) for name, each in values.items()]


def name_patterns(paths: Sequence[str]) -> NDArray[np.str_]:
    """Return the names of files without their endings, with # for every number, shape (n,)."""
    return np.array([re.sub(r"\d+", "#", PurePosixPath(path).stem.lower()) for path in paths], dtype=np.str_)


def cramers_v(counts: Array) -> float:
    """Return the bias-corrected Cramér's V of a table of counts, shape (values, classes), in 0..1."""
    n, (rows, columns) = counts.sum(), counts.shape
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / n
    squared = max(0.0, float(((counts - expected) ** 2 / expected).sum()) / n - (rows - 1) * (columns - 1) / (n - 1))
    least = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return min((squared / least) ** 0.5, 1.0) if least > 0 else 0.0


def _sizes(sizes: "pd.Series[str]") -> NDArray[np.str_]:
    """Return frequent sizes as they are, and others as smaller or larger than the median."""
    areas = sizes.map(lambda size: float(np.prod([int(edge) for edge in size.split(" x ")])))
    rare = sizes.map(sizes.value_counts(normalize=True)) < FREQUENT
    side = np.where(areas < areas.median(), "other, small", "other, large")
    return np.where(rare, side, sizes).astype(str)


def _tested(name: str, values: NDArray[np.str_], sources: SourceTable, n_permutations: int, seed: int) -> Finding:
    code, plural = f"{name}-shortcut", PROPERTIES[name]
    frequent = pd.Series(values).map(pd.Series(values).value_counts()) >= MIN_SOURCES
    names, value_of = np.unique(np.where(frequent, values, "other"), return_inverse=True)
    classes, class_of = np.unique(sources.labels, return_inverse=True)
    if len(names) < 2:
        return passed(code, f"The {plural} of all files are alike{f' ({names[0]})' if name != 'name' else ''}.")

    def counted_by(class_of: NDArray[np.intp]) -> Array:
        pairs = np.bincount(value_of * len(classes) + class_of, minlength=len(names) * len(classes))
        return pairs.reshape(len(names), len(classes)).astype(np.float64)

    counts = counted_by(class_of)
    observed = cramers_v(counts)
    orders = shuffles(sources.splits, groups=sources.groups, values=sources.labels, n=n_permutations, seed=seed)
    p = p_value(observed, np.array([cramers_v(counted_by(class_of[order])) for order in orders]))
    numbers: Numbers = {"cramers_v": round(observed, 4), "p_value": round(p, 4), "n_permutations": n_permutations}
    measured = f"Cramér's V {observed:.2f}, p = {p:.3f}"
    if p > SIGNIFICANCE or observed < MIN_ASSOCIATION:
        limits = f"reported from V = {MIN_ASSOCIATION} with p at most {SIGNIFICANCE}"
        what = f"The {plural} of files tell little or nothing of the class ({measured}; {limits})."
        return passed(code, what, numbers)
    shares = counts / counts.sum(axis=0)
    value, label = np.unravel_index((shares - shares.mean(axis=1, keepdims=True)).argmax(), shares.shape)
    of_classes = [f"{counts[value, k]:.0f} of {counts[:, k].sum():.0f} {each}" for k, each in enumerate(classes)]
    others = listed([each for k, each in enumerate(of_classes) if k != label])
    if name == "name":
        advice = "A model does not see names, but other names may mean another collection: find out how each was made."
    else:
        advice = (
            "A model can learn this instead of the cell. Find out how these photographs were made, and bring all to "
            f"one {name}, or train on one {name} only."
        )
    return Finding(
        code=code,
        severity="note" if name == "name" else "warning",
        what=f"The {plural} of files tell the class: {of_classes[label]} have the {name} {names[value]}, but {others} "
        f"({measured}).",
        numbers=numbers,
        advice=advice,
        rows=[
            {name: str(each), **{str(one): int(count) for one, count in zip(classes, row, strict=True)}}
            for each, row in zip(names, counts, strict=True)
        ],
    )
