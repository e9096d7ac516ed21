"""Shortcuts: whether something other than the cell predicts the class."""

import numpy as np
from numpy.typing import NDArray

from bloodcell.audit.finding import SIGNIFICANCE, Finding, Numbers, Picture, passed
from bloodcell.audit.permutation import Array, out_of_fold, p_value, shuffles
from bloodcell.audit.sources import MIN_SOURCES, SourceTable
from bloodcell.evaluation.ranks import auroc_by_column
from bloodcell.plots.audit import by_class

MIN_AUROC, LARGE_AUROC = 0.75, 0.9
FOLDS = 5
MIN_RANGE = 1e-3
COLOURS = ("red", "green", "blue")
"""The first columns of `SourceTable.background`: the means of these channels."""


def shortcuts(sources: SourceTable, *, n_permutations: int, seed: int) -> list[Finding]:
    """Try to predict each class from the background, and from the black border.

    The statistic is the largest out-of-fold AUROC of a class against the others; labels are shuffled within splits.
    """
    checked = sources.of_frequent_classes()
    if checked is None:
        what = f"Shortcuts are not checked: fewer than two classes have {MIN_SOURCES} photographs."
        return [Finding(code="shortcuts-not-looked-for", severity="note", what=what)]
    border = checked.border[:, None]
    return [
        _shortcut("background", "background", checked.background, checked, n_permutations, seed),
        _shortcut("border", "size of the black border", border, checked, n_permutations, seed),
    ]


def _shortcut(code: str, what: str, features: Array, sources: SourceTable, n_permutations: int, seed: int) -> Finding:
    labels, classes = sources.labels, np.unique(sources.labels)
    if np.ptp(features, axis=0).max() < MIN_RANGE:
        return passed(f"{code}-shortcut", f"The {what} is the same in all photographs.")
    # Squares, because a class may have the middle values.
    standard = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    matrix = out_of_fold(np.hstack([standard, standard**2]), groups=sources.groups, folds=FOLDS, seed=seed)

    def statistics(shuffled: NDArray[np.str_]) -> Array:
        targets = shuffled[:, None] == classes
        return auroc_by_column(matrix @ targets.astype(np.float64), targets)

    observed = statistics(labels)
    orders = shuffles(sources.splits, groups=sources.groups, values=labels, n=n_permutations, seed=seed)
    best = int(observed.argmax())
    p = p_value(float(observed[best]), np.array([statistics(labels[order]).max() for order in orders]))
    numbers: Numbers = {
        "p_value": round(p, 4),
        "photographs": len(sources),
        "n_permutations": n_permutations,
        "class": str(classes[best]),
    }
    numbers |= {f"auroc_{name}": round(float(value), 4) for name, value in zip(classes, observed, strict=True)}
    if p > SIGNIFICANCE or observed[best] < MIN_AUROC:
        measured = f"largest AUROC {observed[best]:.2f}, for {classes[best]}, p = {p:.3f}"
        limits = f"reported from AUROC {MIN_AUROC} with p at most {SIGNIFICANCE}"
        if p > SIGNIFICANCE:
            found = f"There is no evidence that the {what} alone predicts the class ({measured}; {limits})."
        else:
            found = f"The {what} alone predicts the class a little ({measured}; {limits})."
        return passed(f"{code}-shortcut", found, numbers)
    of_background = code == "background"
    return Finding(
        code=f"{code}-shortcut",
        severity="error" if observed[best] >= LARGE_AUROC else "warning",
        what=f"The {what} alone predicts {classes[best]} (AUROC {observed[best]:.2f} against the other classes, "
        f"p = {p:.3f}){_brightness(features, sources, str(classes[best])) if of_background else ''}.",
        numbers=numbers,
        advice="A model can learn this instead of the cell. Find out how these photographs were made, crop to the cell "
        "(crop=nucleus), or augment training to cover the difference.",
        pictures=[
            Picture(
                name=f"{code}_shortcut",
                figure=by_class(
                    features[:, : len(COLOURS)],
                    labels,
                    names=[f"background, mean {colour}" for colour in COLOURS] if of_background else [what],
                    title=f"{what.capitalize()} by class",
                ),
                caption=f"{what.capitalize()} by class: one dot for each photograph, a line at the median",
            )
        ],
    )


def _brightness(background: Array, sources: SourceTable, label: str) -> str:
    inside = sources.labels == label
    brightness = background[:, : len(COLOURS)].mean(axis=1)
    own, others = float(np.median(brightness[inside])), float(np.median(brightness[~inside]))
    if abs(own - others) < brightness.std():
        return ""
    return f"; {label} is {'darker' if own < others else 'brighter'}: {own:.0f} grey levels, the others {others:.0f}"
