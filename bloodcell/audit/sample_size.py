"""The sample size of each class and split: independent groups, not files."""

import numpy as np
import pandas as pd

from bloodcell.audit.finding import Finding, Numbers, Picture, records
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.plots.audit import sample_sizes
from bloodcell.wording import PHOTOGRAPH, counted, plural

TYPICAL_ACCURACY = 0.8
"""The accuracy whose interval is reported."""

Z = 1.959964
MAX_IMBALANCE = 4.0
"""Largest ratio between the numbers of groups of two training classes without a warning."""


def sample_size(manifest: pd.DataFrame, *, group_name: str = PHOTOGRAPH) -> list[Finding]:
    """Count images and groups of each class and split, and report the interval of an accuracy."""
    groups = plural(group_name)
    splits = [split for split in SPLIT_NAMES if (manifest["split"] == split).any()]
    table = pd.DataFrame([row for split in splits for row in _rows(manifest, split, groups)])
    evaluated = manifest[manifest["split"] == splits[-1]]
    name = SPLIT_NAMES[splits[-1]]
    n_evaluated = int(evaluated["group"].nunique())
    smallest = table[table["split"] == name].sort_values(groups).iloc[0]
    n_groups, n_sources = (int(manifest[column].nunique()) for column in ("group", "source"))
    numbers: Numbers = {"images": len(manifest), "photographs": n_sources, groups: n_groups}
    for split in splits:
        n = int(manifest.loc[manifest["split"] == split, "group"].nunique())
        numbers |= {f"{split}_{groups}": n, f"{split}_interval_half_width": round(half_width(n), 3)}
    of_groups = "" if group_name == PHOTOGRAPH else f" of {counted(n_groups, group_name)}"
    size = Finding(
        code="photographs",
        severity="note",
        what=f"{counted(len(manifest), 'image')} {'comes' if len(manifest) == 1 else 'come'} from "
        f"{counted(n_sources, PHOTOGRAPH)}{of_groups}. {name.capitalize()} has {counted(n_evaluated, group_name)}: "
        f"the 95 % interval of an accuracy of {100 * TYPICAL_ACCURACY:.0f} % is ±{100 * half_width(n_evaluated):.1f} "
        f"points, not ±{100 * half_width(len(evaluated)):.1f} as its {len(evaluated):,} files suggest. The smallest "
        f"class is {smallest['class']}, with {counted(smallest[groups], group_name)} in {name}.",
        numbers=numbers,
        advice=f"To narrow the interval, add {groups}, first of the rarest class. More images of the same {groups} do "
        "not help.",
        rows=records(table),
        pictures=[
            Picture(
                name="photographs",
                figure=sample_sizes(table, groups=groups),
                caption=f"{groups.capitalize()} and images of each class and split",
            )
        ],
    )
    return [size, _imbalance(manifest[manifest["split"] == "train"], groups)]


def half_width(n: int) -> float:
    """Return half the width of Wilson's (1927) 95 % interval of an accuracy of 80 % on n groups."""
    spread = TYPICAL_ACCURACY * (1 - TYPICAL_ACCURACY) / n + Z**2 / (4 * n**2)
    return float(Z * np.sqrt(spread) / (1 + Z**2 / n))


def _rows(manifest: pd.DataFrame, split: str, groups: str) -> list[Numbers]:
    return [
        {
            "split": SPLIT_NAMES[split],
            "class": str(label),
            groups: int(rows["group"].nunique()),
            "images": len(rows),
            "interval_half_width": round(half_width(rows["group"].nunique()), 3),
        }
        for label, rows in manifest[manifest["split"] == split].groupby("label")
    ]


def _imbalance(training: pd.DataFrame, groups: str) -> Finding:
    counts = training.groupby("label")["group"].nunique()
    ratio = float(counts.max() / counts.min())
    balanced = ratio < MAX_IMBALANCE
    numbers: Numbers = {"ratio": round(ratio, 2)}
    numbers |= {str(label): int(number) for label, number in counts.items()}
    return Finding(
        code="class-imbalance",
        severity="clear" if balanced else "warning",
        what=f"The largest training class has {ratio:.1f} times as many {groups} as the smallest."
        if balanced
        else f"Training has {ratio:.1f} times as many {groups} of {counts.idxmax()} ({counts.max()}) as of "
        f"{counts.idxmin()} ({counts.min()}).",
        numbers=numbers,
        advice=""
        if balanced
        else f"Use balanced accuracy and the metrics of {counts.idxmin()}, not accuracy alone. Weight classes by "
        f"{groups}, or add {groups} of {counts.idxmin()}.",
    )
