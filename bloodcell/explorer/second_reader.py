"""The second reader: a person labels photographs without seeing their labels, and label errors are counted.

A perfect classifier is wrong wherever the label is wrong, so label errors limit the accuracy that can be measured
(Northcutt, Athalye and Mueller, "Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks", 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import beta

from bloodcell.errors import UserError
from bloodcell.explorer.items import COPY, HELD_OUT, UNKNOWN, Items
from bloodcell.wording import counted, plural

SECONDS = 300
"""Time of a reading."""
N_PHOTOGRAPHS = 30
"""Photographs of a reading: ten seconds each."""
SHARES = {"suspect": 0.6, "disputed": 0.15}
"""Shares of the photographs that are most worth a look, and of a sample of the others whose label is disputed."""
LEVEL = 0.95
UNSURE, NOT_A_CELL = "unsure", "not a cell"
"""Answers besides the classes."""

Stratum = Literal["suspect", "disputed", "control"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A photograph of a reading.

    Attributes
    ----------
    row
        The row of the image that is shown.
    source
        The name of the photograph.
    label, predicted
        Its recorded class and that of held-out predictions, as indices.
    stratum
        ``suspect``: one of the least probable labels; ``disputed``: drawn from the other photographs for which a class
        other than the label is predicted; ``control``: drawn from all others.
    """

    row: int
    source: str
    label: int
    predicted: int
    stratum: Stratum


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The photographs of a reading in the order in which they are shown, and the number of photographs by stratum."""

    shown: tuple[Shown, ...]
    totals: Mapping[Stratum, int]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The accuracy that a perfect classifier has on the recorded labels, by photograph.

    Attributes
    ----------
    photographs, answered, unsure
        Numbers: of all, of those that got an answer, and of those that got no class.
    rejected
        Indices of shown photographs whose label the reader rejects.
    controls, controls_kept
        Numbers of controls with an answer, and of those whose label the reader gave.
    at_most
        The accuracy if no other label is wrong: no classifier can have more.
    estimate, low, high
        The accuracy if the photographs that were not shown are like those that were drawn, and its 95 % interval; NaN
        if too few were drawn.
    """

    photographs: int
    answered: int
    unsure: int
    rejected: tuple[int, ...]
    controls: int
    controls_kept: int
    at_most: float
    estimate: float
    low: float
    high: float

    def sentences(self, noun: str) -> list[str]:
        """Return what a person reads; ``noun`` is the word for a photograph."""
        all_, rejected = counted(self.photographs, noun), len(self.rejected)
        lines = [
            f"The second reader rejects the label of {rejected} of {counted(self.answered, noun)} shown.",
            f"On these labels accuracy can be at most {100 * self.at_most:.1f} %, even of a perfect classifier: "
            f"{rejected} of {all_} have a rejected label.",
        ]
        if np.isfinite(self.estimate):
            lines.append(
                f"With the labels of {plural(noun)} that were not shown, the limit is about "
                f"{100 * self.estimate:.1f} % (95 % CI {100 * self.low:.1f} to {100 * self.high:.1f} %, by {noun})."
            )
        if self.controls:
            lines.append(
                f"On {counted(self.controls, 'control')}, whose label nothing disputes, the reader gave the label "
                f"{self.controls_kept} times: where reader and label differ, the reader can be wrong, too."
            )
        if self.unsure:
            lines.append(f"Not judged: {counted(self.unsure, noun)}; their labels count as right.")
        return lines


def choose_photographs(items: Items, *, n: int = N_PHOTOGRAPHS, seed: int) -> Reading:
    """Choose the photographs of a reading, in random order.

    The label of a photograph is disputed if the mean of all held-out predictions of its images is another class. Of the
    photographs that are drawn, each is of another group.

    Parameters
    ----------
    items
        The images.
    n
        Number of photographs, at most.
    seed
        Of the drawing and the order.

    Raises
    ------
    UserError
        If no image has a held-out prediction.
    """
    table = _photographs(items)
    if table.empty:
        raise UserError("runs: no image has a held-out prediction, so no label is disputed; give a run of validation")
    generator = np.random.default_rng(seed)
    disputed = table[table["predicted"] != table["label"]].sort_values(["of_label", "source"], kind="stable")
    agreed = table[table["predicted"] == table["label"]]
    suspects = disputed.head(round(SHARES["suspect"] * n))
    others = disputed.iloc[len(suspects) :]
    drawn = _draw(others, round(SHARES["disputed"] * n), generator)
    controls = _draw(agreed, n - len(suspects) - len(drawn), generator)
    parts: list[tuple[Stratum, pd.DataFrame]] = [("suspect", suspects), ("disputed", drawn), ("control", controls)]
    shown = [
        Shown(
            row=int(row["row"]),
            source=str(row["source"]),
            label=int(row["label"]),
            predicted=int(row["predicted"]),
            stratum=stratum,
        )
        for stratum, part in parts
        for row in part.to_dict("records")
    ]
    order = generator.permutation(len(shown))
    totals: dict[Stratum, int] = {"suspect": len(suspects), "disputed": len(others), "control": len(agreed)}
    return Reading(shown=tuple(shown[place] for place in order), totals=totals)


def accuracy_bound(reading: Reading, answers: Mapping[int, int | str]) -> Bound:
    """Return how accurate a perfect classifier can be on the recorded labels.

    Errors among the suspects are counted. Those of the two other strata are estimated from their samples, with
    Clopper-Pearson intervals whose joint level is 95 % (Bonferroni).

    Parameters
    ----------
    reading
        What was shown.
    answers
        By the index of a shown photograph, the index of a class, `UNSURE` or `NOT_A_CELL`.
    """
    total = sum(reading.totals.values())
    wrong: dict[Stratum, int] = dict.fromkeys(reading.totals, 0)
    read: dict[Stratum, int] = dict.fromkeys(reading.totals, 0)
    rejected = []
    unsure = 0
    for index, answer in sorted(answers.items()):
        each = reading.shown[index]
        unsure += answer == UNSURE
        read[each.stratum] += 1
        if answer not in (UNSURE, each.label):
            wrong[each.stratum] += 1
            rejected.append(index)
    sampled: list[Stratum] = [each for each in ("disputed", "control") if reading.totals[each] > read[each]]
    estimate = low = high = float(wrong["suspect"])
    for stratum in ("disputed", "control"):
        n, k, size = read[stratum], wrong[stratum], reading.totals[stratum]
        if stratum not in sampled:
            estimate, low, high = estimate + k, low + k, high + k
            continue
        lower, upper = _clopper_pearson(k, n, alpha=(1 - LEVEL) / len(sampled))
        estimate += size * k / n if n else np.nan
        low, high = low + max(size * lower, k), high + size * upper
    # Suspects that time did not allow: any of them may be wrong.
    high += reading.totals["suspect"] - read["suspect"]
    controls = [index for index in answers if reading.shown[index].stratum == "control"]
    return Bound(
        photographs=total,
        answered=len(answers),
        unsure=unsure,
        rejected=tuple(rejected),
        controls=len(controls),
        controls_kept=sum(answers[index] == reading.shown[index].label for index in controls),
        at_most=1 - len(rejected) / total,
        estimate=1 - estimate / total,
        low=max(1 - high / total, 0.0),
        high=1 - low / total,
    )


def _photographs(items: Items) -> pd.DataFrame:
    """Return the photographs with held-out predictions: label, predicted class, and mean probability of the label."""
    held_out = np.stack([np.isin(run.evidence, (HELD_OUT, COPY, UNKNOWN)) for run in items.runs])
    probabilities = np.stack([np.nan_to_num(run.probabilities) for run in items.runs])
    weights = held_out.sum(axis=0)
    rows = np.flatnonzero(weights)
    means = (probabilities * held_out[..., np.newaxis]).sum(axis=0)[rows] / weights[rows, np.newaxis]
    columns = [f"p{index}" for index in range(len(items.classes))]
    table = pd.DataFrame(means, columns=columns).assign(
        row=rows, label=items.labels[rows], **{name: items.table[name].to_numpy()[rows] for name in ("source", "group")}
    )
    # Of the copies, the one with the most confident prediction is shown: of others the cell may be cut by the border.
    table = table.iloc[np.argsort(-means.max(axis=1), kind="stable")]
    # A photograph with copies under two labels is one for each label.
    by_photograph = table.groupby(["source", "label"], sort=True)
    joined = by_photograph.agg({**dict.fromkeys(columns, "mean"), "row": "first", "group": "first"}).reset_index()
    values = joined[columns].to_numpy()
    return joined.assign(
        predicted=values.argmax(axis=1), of_label=values[np.arange(len(joined)), joined["label"].to_numpy(np.int64)]
    )


def _draw(table: pd.DataFrame, n: int, generator: np.random.Generator) -> pd.DataFrame:
    """Draw at most n photographs of different groups."""
    mixed = table.iloc[generator.permutation(len(table))]
    return mixed.drop_duplicates("group").head(max(n, 0))


def _clopper_pearson(k: int, n: int, *, alpha: float) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper and Pearson 1934)."""
    if not n:
        return 0.0, 1.0
    lower = float(beta.ppf(alpha / 2, k, n - k + 1)) if k else 0.0
    upper = float(beta.ppf(1 - alpha / 2, k + 1, n - k)) if k < n else 1.0
    return lower, upper


def as_answer(value: object, classes: Sequence[str]) -> int | str:
    """Return an answer from JSON; a ValueError if it is none."""
    if value in (UNSURE, NOT_A_CELL):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return value
    raise ValueError(f"an answer is {UNSURE}, {NOT_A_CELL}, or the number of a class")
