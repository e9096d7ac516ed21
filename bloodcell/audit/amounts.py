"""How much data there really is: photographs, not files."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bloodcell.audit.finding import Finding, Picture, count, records
from bloodcell.audit.pictures import amounts as amounts_picture
from bloodcell.data.leaks import NAMES

TYPICAL_ACCURACY = 0.8
"""At which accuracy the width of an interval is said."""

Z = 1.959964
IMBALANCE = 4.0
"""How many times as many photographs the largest class may have as the smallest."""


def amounts(manifest: pd.DataFrame) -> list[Finding]:
    """Count images and photographs of each class and split, and say how sure an accuracy can be."""
    sides = [side for side in NAMES if (manifest["split"] == side).any()]
    table = pd.DataFrame([row for side in sides for row in _rows(manifest, side)])
    evaluated = sides[-1]
    there = manifest[manifest["split"] == evaluated]
    real, seeming = half_width(there["group"].nunique()), half_width(len(there))
    smallest = table[table["split"] == NAMES[evaluated]].sort_values("photographs").iloc[0]
    n_photographs = int(manifest["group"].nunique())
    numbers: dict[str, float | int | str] = {"images": len(manifest), "photographs": n_photographs}
    for side in sides:
        n = int(manifest.loc[manifest["split"] == side, "group"].nunique())
        numbers |= {f"{side}_photographs": n, f"{side}_interval_half_width": round(half_width(n), 3)}
    found = [
        Finding(
            code="photographs",
            severity="note",
            what=f"{count(len(manifest), 'image')} {'is' if len(manifest) == 1 else 'are'} made from "
            f"{count(n_photographs, 'photograph')}. The {there['group'].nunique():,} of {NAMES[evaluated]} "
            f"give an accuracy of {TYPICAL_ACCURACY:.0%} a 95 % interval of ±{100 * real:.1f} points, where its "
            f"{len(there):,} files seem to promise ±{100 * seeming:.1f}; the bottleneck is {smallest['class']}, "
            f"with {count(int(smallest['photographs']), 'photograph')} there.",
            numbers=numbers,
            advice="More photographs, of the rarest class first, narrow the interval; more copies do not.",
            rows=records(table),
            pictures=[
                Picture(
                    name="photographs",
                    figure=amounts_picture(table),
                    shows="Photographs and images of every class and split",
                )
            ],
        )
    ]
    return [*found, _imbalance(manifest[manifest["split"] == "train"])]


def half_width(n: int) -> float:
    """Return half the width of Wilson's (1927) 95 % interval of an accuracy of 80 % on n photographs."""
    spread = TYPICAL_ACCURACY * (1 - TYPICAL_ACCURACY) / n + Z**2 / (4 * n**2)
    return float(Z * np.sqrt(spread) / (1 + Z**2 / n))


def _rows(manifest: pd.DataFrame, side: str) -> Iterator[dict[str, float | int | str]]:
    for label, rows in manifest[manifest["split"] == side].groupby("label"):
        n = int(rows["group"].nunique())
        yield {
            "split": NAMES[side],
            "class": str(label),
            "photographs": n,
            "images": len(rows),
            "interval_half_width": round(half_width(n), 3),
        }


def _imbalance(training: pd.DataFrame) -> Finding:
    train = training.groupby("label")["group"].nunique()
    ratio = float(train.max() / train.min())
    numbers: dict[str, float | int | str] = {"ratio": round(ratio, 2)}
    numbers |= {str(label): int(number) for label, number in train.items()}
    if ratio < IMBALANCE:
        return Finding(
            code="class-imbalance",
            severity="clear",
            what=f"The largest class of training has {ratio:.1f} times as many photographs as the smallest.",
            numbers=numbers,
        )
    return Finding(
        code="class-imbalance",
        severity="warning",
        what=f"Training has {ratio:.1f} times as many photographs of {train.idxmax()} ({train.max()}) as of "
        f"{train.idxmin()} ({train.min()}), whatever the numbers of files say.",
        numbers=numbers,
        advice=f"Read balanced accuracy and the figures of {train.idxmin()}, not accuracy alone; weigh classes by "
        "photographs, or collect more.",
    )
