"""Labels that the cell contradicts: photographs that a classifier, fitted on others, is sure are of another class.

The classifier is a plain one on the cell's colours, shape and texture, as under one light. It is right of most
photographs, not of all: what it names is to be looked at, not to be believed.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from bloodcell.audit.finding import Finding, Picture
from bloodcell.audit.leakage import Read
from bloodcell.audit.permutation import Array, p_value, shuffles
from bloodcell.audit.sources import Photographs
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.plots.audit import gallery
from bloodcell.wording import counted

REGULARISATION = 0.1
CLIP = 2.0
"""Standard deviations beyond which a number says no more: cells that are cut off have odd shapes."""

FOLDS, REPEATS = 5, 5
LISTED = (0.1, 0.75)
"""How probable a label may be at the most, and another class must be, for the label to be looked at."""

SUSPECTED = (0.05, 0.8)
"""The same for a label to be called suspicious."""

SIGNIFICANT = 0.01
FEWEST = 5
"""Photographs that a class needs to be judged."""

N_SHOWN = 12


def suspicious_labels(photographs: Photographs, *, read: Read, n_permutations: int, seed: int) -> list[Finding]:
    """Name labels that out-of-fold predictions contradict confidently, and say if one side has more of them."""
    names, counts = np.unique(photographs.labels, return_counts=True)
    chosen = photographs.part(np.isin(photographs.labels, names[counts >= FEWEST]))
    classes = np.unique(chosen.labels)
    if len(classes) < 2 or np.unique(chosen.groups).size < FEWEST:
        return [
            Finding(
                code="labels-not-judged",
                severity="note",
                what=f"Fewer than two classes have {FEWEST} photographs: too few to judge labels by.",
            )
        ]
    found = out_of_fold_probabilities(chosen.cells, chosen.labels, groups=chosen.groups, seed=seed)
    probabilities = calibrated(found, chosen.labels)
    right = classes[probabilities.argmax(axis=1)] == chosen.labels
    return [
        _suspicious(chosen, probabilities, right, read),
        *_agreement(chosen, right, n_permutations=n_permutations, seed=seed),
    ]


def out_of_fold_probabilities(
    features: Array, labels: NDArray[np.str_], *, groups: NDArray[np.int64], seed: int
) -> Array:
    """Return each photograph's class probabilities by classifiers fitted without its group, shape (n, classes).

    Logarithms are averaged over repeats of the cross-validation.
    """
    model = make_pipeline(
        StandardScaler(), FunctionTransformer(_clip), LogisticRegression(C=REGULARISATION, max_iter=1000)
    )
    classes, counts = np.unique(labels, return_counts=True)
    logs = np.zeros((len(labels), len(classes)))
    n_groups = np.unique(groups).size
    n_folds = min(FOLDS, counts.min(), n_groups)
    grouped = n_groups < len(groups)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for repeat in range(REPEATS):
            folds = kind(n_folds, shuffle=True, random_state=seed + repeat)
            for fitted, left_out in folds.split(features, labels, groups if grouped else None):
                logs[left_out] += model.fit(features[fitted], labels[fitted]).predict_log_proba(features[left_out])
    return _normalised(np.maximum(logs / REPEATS, -700.0))


def calibrated(probabilities: Array, labels: NDArray[np.str_]) -> Array:
    """Scale the logarithms by one temperature that makes the labels the most probable (Guo et al. 2017).

    Never sharper than they were: wrong labels must not be found by overconfidence.
    """
    logs = np.log(np.maximum(probabilities, 1e-300))
    index = np.searchsorted(np.unique(labels), labels)

    def loss(temperature: float) -> float:
        return -float(np.log(_normalised(logs / temperature)[np.arange(len(logs)), index] + 1e-300).mean())

    best = minimize_scalar(loss, bounds=(1.0, 5.0), method="bounded")
    return _normalised(logs / float(best.x))


def _clip(standard: Array) -> Array:
    return np.clip(standard, -CLIP, CLIP)


def _normalised(logs: Array) -> Array:
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _suspicious(photographs: Photographs, probabilities: Array, right: NDArray[np.bool_], read: Read) -> Finding:
    classes = np.unique(photographs.labels)
    of_label = probabilities[np.arange(len(photographs)), np.searchsorted(classes, photographs.labels)]
    best = probabilities.argmax(axis=1)
    surest = probabilities.max(axis=1)
    doubtful = np.flatnonzero((of_label <= LISTED[0]) & (surest >= LISTED[1]))
    doubtful = doubtful[np.argsort(of_label[doubtful], kind="stable")]
    suspicious = int(((of_label <= SUSPECTED[0]) & (surest >= SUSPECTED[1])).sum())
    accuracy = float(right.mean())
    numbers: dict[str, float | int | str] = {
        "photographs": len(photographs),
        "out_of_fold_accuracy": round(accuracy, 4),
        "suspicious": suspicious,
        "doubtful": len(doubtful) - suspicious,
        "as_sure_and_right": int((right & (surest >= LISTED[1])).sum()),
    }
    if not doubtful.size:
        return Finding(
            code="suspicious-labels",
            severity="clear",
            what=f"No label is contradicted confidently by a classifier of cells that is right of {accuracy:.0%} of "
            f"{len(photographs):,} photographs.",
            numbers=numbers,
        )
    rows = [
        {
            "path": str(photographs.examples[i]),
            "photograph": str(photographs.sources[i]),
            "images": int(photographs.n_images[i]),
            "split": SPLIT_NAMES.get(str(photographs.splits[i]), "several"),
            "label": str(photographs.labels[i]),
            "looks_like": str(classes[best[i]]),
            "probability_of_label": round(float(of_label[i]), 4),
            "probability_of_other": round(float(surest[i]), 4),
        }
        for i in doubtful
    ]
    return Finding(
        code="suspicious-labels",
        severity="warning" if suspicious else "note",
        what=f"{counted(suspicious, 'label')} of {len(photographs):,} photographs {'is' if suspicious == 1 else 'are'} "
        f"suspicious and {len(doubtful) - suspicious} doubtful: a classifier of cells, right of {accuracy:.0%}, is "
        f"sure of another class. It is as sure of {numbers['as_sure_and_right']} others, and agrees with their labels.",
        numbers=numbers,
        advice="Look at each with someone who knows blood cells; do not relabel by the classifier's word.",
        rows=rows,
        pictures=[
            Picture(
                name="suspicious_labels",
                figure=gallery(
                    [read(str(row["path"])) for row in rows[:N_SHOWN]],
                    captions=[
                        f"{row['label']}, looks like {row['looks_like']}\n{row['probability_of_other']:.0%} sure, "
                        f"{row['split']}\n{row['path']}"
                        for row in rows[:N_SHOWN]
                    ],
                    title="Labels to look at again",
                    columns=4,
                ),
                shows="One image of each photograph whose label is contradicted, the most doubtful first",
            )
        ],
    )


def _agreement(photographs: Photographs, right: NDArray[np.bool_], *, n_permutations: int, seed: int) -> list[Finding]:
    """Compare how often labels of training and test agree with classifiers that were fitted on other photographs."""
    both = np.isin(photographs.splits, ["train", "test"])
    there = photographs.splits[both] == "test"
    if not there.any() or there.all():
        return []
    labels, right = photographs.labels[both], right[both]
    rows = []
    for label in np.unique(labels):
        inside = labels == label
        rows.append(
            {
                "class": str(label),
                "train_agree": int(right[inside & ~there].sum()),
                "train_photographs": int((inside & ~there).sum()),
                "test_agree": int(right[inside & there].sum()),
                "test_photographs": int((inside & there).sum()),
            }
        )

    def less(sides: NDArray[np.bool_]) -> float:
        """How many fewer of the test side's labels agree than its classes would have by training and test together."""
        return -float(right[sides].sum())

    orders = shuffles(labels, groups=photographs.groups[both], values=there, n=n_permutations, seed=seed)
    shuffled = np.array([less(there[order]) for order in orders])
    p = p_value(less(there), shuffled)
    train, test = float(right[~there].mean()), float(right[there].mean())
    worse = p <= SIGNIFICANT
    by_class = ", ".join(f"{row['class']} {row['test_agree']} of {row['test_photographs']}" for row in rows)
    return [
        Finding(
            code="test-labels",
            severity="warning" if worse else "clear",
            what=f"{'Test labels are worse' if worse else 'Nothing says that test labels are worse'} than training "
            f"labels: cells agree with {test:.0%} of {int(there.sum())} photographs of test and {train:.0%} of "
            f"{int((~there).sum())} of training (p = {p:.3f} for a worse test, within classes). By class, test: "
            f"{by_class}.",
            numbers={"train_agree": round(train, 4), "test_agree": round(test, 4), "p_value": round(p, 4)},
            advice="Have the test labels checked by someone who knows blood cells." if worse else "",
            rows=rows,
        )
    ]


def several_cells(photographs: Photographs, *, read: Read, n_permutations: int, seed: int) -> Finding:
    """Count photographs with more than one white cell: their label is that of one of them only."""
    several = photographs.counts > 1
    numbers: dict[str, float | int | str] = {"photographs": int(several.sum()), "of": len(photographs)}
    sides = [side for side in SPLIT_NAMES if side in set(photographs.splits)]
    numbers |= {f"{side}_share": round(float(several[photographs.splits == side].mean()), 4) for side in sides}
    if not several.any():
        return Finding(
            code="several-cells",
            severity="clear",
            what="No photograph shows more than one white cell.",
            numbers=numbers,
        )
    apart = ""
    if len(sides) > 1:
        there = photographs.splits == sides[-1]

        def more(of: NDArray[np.bool_]) -> float:
            return float(several[of].sum())

        orders = shuffles(photographs.labels, groups=photographs.groups, values=there, n=n_permutations, seed=seed)
        shuffled = np.array([more(there[order]) for order in orders])
        p = p_value(more(there), shuffled)
        numbers |= {"p_value": round(p, 4)}
        apart = (
            f", {int(several[there].sum())} of {int(there.sum())} in {SPLIT_NAMES[sides[-1]]} "
            f"(p = {p:.3f} for more of them there)"
        )
    shown = np.flatnonzero(several)[:N_SHOWN]
    rows = [
        {
            "path": str(photographs.examples[i]),
            "label": str(photographs.labels[i]),
            "split": SPLIT_NAMES.get(str(photographs.splits[i]), "several"),
        }
        for i in np.flatnonzero(several)
    ]
    return Finding(
        code="several-cells",
        severity="note",
        what=f"{counted(int(several.sum()), 'photograph')} of {len(photographs):,} may show more than one white "
        f"cell{apart}.",
        numbers=numbers,
        advice="Look whether the label is that of the larger cell.",
        rows=rows,
        pictures=[
            Picture(
                name="several_cells",
                figure=gallery(
                    [read(str(photographs.examples[i])) for i in shown],
                    captions=[f"{photographs.labels[i]}\n{photographs.examples[i]}" for i in shown],
                    title="More than one white cell?",
                    columns=4,
                ),
                shows="One image of each photograph that may show more than one white cell",
            )
        ],
    )
