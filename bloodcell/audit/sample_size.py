"""How much data there really is: independent groups, not files."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bloodcell.audit.finding import Finding, Picture, records
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.plots.audit import amounts as amounts_picture
from bloodcell.wording import PHOTOGRAPH, counted, plural

TYPICAL_ACCURACY = 0.8
"""At which accuracy the width of an interval is said."""

Z = 1.959964
IMBALANCE = 4.0
"""How many times as many groups the largest class may have as the smallest."""


def amounts(manifest: pd.DataFrame, *, group_name: str = PHOTOGRAPH) -> list[Finding]:
    """Count images and groups of each class and split, and say how sure an accuracy can be."""
    sides = [side for side in SPLIT_NAMES if (manifest["split"] == side).any()]
    table = pd.DataFrame([row for side in sides for row in _rows(manifest, side, plural(group_name))])
    evaluated = sides[-1]
    there = manifest[manifest["split"] == evaluated]
    real, seeming = half_width(there["group"].nunique()), half_width(len(there))
    smallest = table[table["split"] == SPLIT_NAMES[evaluated]].sort_values(plural(group_name)).iloc[0]
    n_groups, n_photographs = (int(manifest[column].nunique()) for column in ("group", "source"))
    made_from = counted(n_photographs, PHOTOGRAPH)
    if group_name != PHOTOGRAPH:
        made_from += f", of {counted(n_groups, group_name)}"
    numbers: dict[str, float | int | str] = {"images": len(manifest), "photographs": n_photographs}
    numbers[plural(group_name)] = n_groups
    for side in sides:
        n = int(manifest.loc[manifest["split"] == side, "group"].nunique())
        numbers |= {f"{side}_{plural(group_name)}": n, f"{side}_interval_half_width": round(half_width(n), 3)}
    found = [
        Finding(
            code="photographs",
            severity="note",
            what=f"{counted(len(manifest), 'image')} {'is' if len(manifest) == 1 else 'are'} made from "
            f"{made_from}. The {counted(there['group'].nunique(), group_name)} of {SPLIT_NAMES[evaluated]} "
            f"give an accuracy of {TYPICAL_ACCURACY:.0%} a 95 % interval of ±{100 * real:.1f} points, where its "
            f"{len(there):,} files seem to promise ±{100 * seeming:.1f}; the bottleneck is {smallest['class']}, "
            f"with {counted(smallest[plural(group_name)], group_name)} there.",
            numbers=numbers,
            advice=f"More {plural(group_name)}, of the rarest class first, narrow the interval; more images of the "
            "same ones do not.",
            rows=records(table),
            pictures=[
                Picture(
                    name="photographs",
                    figure=amounts_picture(table, groups=plural(group_name)),
                    shows=f"{plural(group_name).capitalize()} and images of every class and split",
                )
            ],
        )
    ]
    return [*found, _imbalance(manifest[manifest["split"] == "train"], plural(group_name))]


def half_width(n: int) -> float:
    """Return half the width of Wilson's (1927) 95 % interval of an accuracy of 80 % on n groups."""
    spread = TYPICAL_ACCURACY * (1 - TYPICAL_ACCURACY) / n + Z**2 / (4 * n**2)
    return float(Z * np.sqrt(spread) / (1 + Z**2 / n))


def _rows(manifest: pd.DataFrame, side: str, groups: str) -> Iterator[dict[str, float | int | str]]:
    for label, rows in manifest[manifest["split"] == side].groupby("label"):
        n = int(rows["group"].nunique())
        yield {
            "split": SPLIT_NAMES[side],
            "class": str(label),
            groups: n,
            "images": len(rows),
            "interval_half_width": round(half_width(n), 3),
        }


def _imbalance(training: pd.DataFrame, groups: str) -> Finding:
    train = training.groupby("label")["group"].nunique()
    ratio = float(train.max() / train.min())
    numbers: dict[str, float | int | str] = {"ratio": round(ratio, 2)}
    numbers |= {str(label): int(number) for label, number in train.items()}
    if ratio < IMBALANCE:
        return Finding(
            code="class-imbalance",
            severity="clear",
            what=f"The largest class of training has {ratio:.1f} times as many {groups} as the smallest.",
            numbers=numbers,
        )
    return Finding(
        code="class-imbalance",
        severity="warning",
        what=f"Training has {ratio:.1f} times as many {groups} of {train.idxmax()} ({train.max()}) as of "
        f"{train.idxmin()} ({train.min()}), whatever the numbers of files say.",
        numbers=numbers,
        advice=f"Read balanced accuracy and the figures of {train.idxmin()}, not accuracy alone; weigh classes by "
        f"{groups}, or collect more.",
    )
