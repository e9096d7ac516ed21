"""Whether something that is not the cell gives the class away: a model would learn that instead."""

import numpy as np
from numpy.typing import NDArray

from bloodcell.audit.finding import Finding, Picture
from bloodcell.audit.permutation import Array, out_of_fold, p_value, shuffles
from bloodcell.audit.sources import Photographs
from bloodcell.evaluation.ranks import auroc_by_column
from bloodcell.plots.audit import by_class

SIGNIFICANT = 0.01
LEAST_AUROC, LARGE_AUROC = 0.75, 0.9
FEWEST = 5
"""Photographs that a class needs to be looked at."""

FOLDS = 5
LEAST_SPREAD = 1e-3
N_GROUND_COLOURS = 3
COLOURS = ("red", "green", "blue")


def shortcuts(photographs: Photographs, *, n_permutations: int, seed: int) -> list[Finding]:
    """Try to tell each class from the others by what surrounds the cell, and by the black border.

    The statistic is the largest AUROC of any class against the rest, out of fold; labels are shuffled among the
    photographs of a side.
    """
    names, counts = np.unique(photographs.labels, return_counts=True)
    enough = names[counts >= FEWEST]
    chosen = photographs.part(np.isin(photographs.labels, enough))
    if len(enough) < 2 or np.unique(chosen.groups).size < FEWEST:
        return [
            Finding(
                code="shortcuts-not-looked-for",
                severity="note",
                what=f"Fewer than two classes have {FEWEST} photographs: too few to look for shortcuts.",
            )
        ]
    return [
        _shortcut("background", "background", chosen.one_ground, chosen, n_permutations, seed),
        _shortcut("border", "size of the black border", chosen.one_border[:, None], chosen, n_permutations, seed),
    ]


def _shortcut(
    code: str, what: str, features: Array, photographs: Photographs, n_permutations: int, seed: int
) -> Finding:
    labels, classes = photographs.labels, np.unique(photographs.labels)
    if np.ptp(features, axis=0).max() < LEAST_SPREAD:
        return Finding(code=f"{code}-shortcut", severity="clear", what=f"The {what} is the same everywhere.")
    # Both ends of a property may give a class away.
    standard = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    matrix = out_of_fold(np.hstack([standard, standard**2]), groups=photographs.groups, folds=FOLDS, seed=seed)

    def measure(of: NDArray[np.str_]) -> Array:
        targets = of[:, None] == classes
        return auroc_by_column(matrix @ targets.astype(np.float64), targets)

    observed = measure(labels)
    orders = shuffles(photographs.splits, groups=photographs.groups, values=labels, n=n_permutations, seed=seed)
    shuffled = np.array([measure(labels[order]).max() for order in orders])
    best = int(observed.argmax())
    p = p_value(float(observed[best]), shuffled)
    significant = p <= SIGNIFICANT and observed[best] >= LEAST_AUROC
    numbers: dict[str, float | int | str] = {
        "p_value": round(p, 4),
        "photographs": len(photographs),
        "n_permutations": n_permutations,
        "class": str(classes[best]),
    }
    numbers |= {f"auroc_{name}": round(float(value), 4) for name, value in zip(classes, observed, strict=True)}
    said = f"AUROC {observed[best]:.2f} at the most, for {classes[best]}, p = {p:.3f}"
    if not significant:
        return Finding(
            code=f"{code}-shortcut",
            severity="clear",
            what=f"The {what} alone does not give the class away ({said}).",
            numbers=numbers,
        )
    return Finding(
        code=f"{code}-shortcut",
        severity="error" if observed[best] >= LARGE_AUROC else "warning",
        what=f"The {what} alone tells {classes[best]} from the other classes (AUROC {observed[best]:.2f}, "
        f"p = {p:.3f}){_seen(features, photographs, str(classes[best])) if code == 'background' else ''}.",
        numbers=numbers,
        advice="A model can learn this instead of the cell: find out how these photographs were made, crop to the "
        "cell, or augment over the difference.",
        pictures=[
            Picture(
                name=f"{code}_shortcut",
                figure=by_class(
                    features[:, :N_GROUND_COLOURS],
                    labels,
                    names=[f"background, mean {colour}" for colour in COLOURS] if code == "background" else [what],
                    title=f"By class: {what}",
                ),
                shows=f"The {what} of every photograph, by class",
            )
        ],
    )


def _seen(ground: Array, photographs: Photographs, label: str) -> str:
    inside = photographs.labels == label
    brightness = ground[:, :N_GROUND_COLOURS].mean(axis=1)
    here, there = float(np.median(brightness[inside])), float(np.median(brightness[~inside]))
    if abs(here - there) < brightness.std():
        return ""
    word = "darker" if here < there else "brighter"
    return f"; {label} is {word}, {here:.0f} grey levels against {there:.0f}"
