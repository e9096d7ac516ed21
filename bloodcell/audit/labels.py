"""Label errors: labels that a classifier, fitted on other sources, contradicts with confidence.

The classifier is a logistic regression on the cell's colours, shape and texture after illumination normalisation. It is
right for most sources, not for all: an expert has to check what it contradicts.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from bloodcell.audit.finding import SIGNIFICANCE, Finding, Numbers, Picture, ReadImage
from bloodcell.audit.permutation import Array, p_value, shuffles
from bloodcell.audit.sources import SourceTable
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.plots.images import captioned
from bloodcell.wording import PHOTOGRAPH, counted

REGULARISATION = 0.1
CLIP = 2.0
"""Largest standardised feature, in standard deviations: cells at the border have extreme shapes."""

FOLDS, REPEATS = 5, 5
DOUBTFUL = (0.1, 0.75)
"""A label is doubtful if its probability is at most the first, and that of another class at least the second."""

SUSPICIOUS = (0.05, 0.8)
"""The same for a suspicious label."""

MIN_SOURCES = 5
"""Sources that a class needs to be checked."""

N_SHOWN = 12


def suspicious_labels(sources: SourceTable, *, read: ReadImage, n_permutations: int, seed: int) -> list[Finding]:
    """Find labels that out-of-fold predictions contradict, and test whether test has more of them than training."""
    names, counts = np.unique(sources.labels, return_counts=True)
    checked = sources.where(np.isin(sources.labels, names[counts >= MIN_SOURCES]))
    classes = np.unique(checked.labels)
    if len(classes) < 2 or np.unique(checked.groups).size < MIN_SOURCES:
        return [
            Finding(
                code="labels-not-judged",
                severity="note",
                what=f"Labels are not checked: fewer than two classes have {MIN_SOURCES} photographs.",
            )
        ]
    found = out_of_fold_probabilities(checked.cells, checked.labels, groups=checked.groups, seed=seed)
    probabilities = calibrated(found, checked.labels)
    agree = classes[probabilities.argmax(axis=1)] == checked.labels
    return [
        _suspicious(checked, probabilities, agree, read),
        *_test_labels(checked, agree, n_permutations=n_permutations, seed=seed),
    ]


def out_of_fold_probabilities(
    features: Array, labels: NDArray[np.str_], *, groups: NDArray[np.int64], seed: int
) -> Array:
    """Return each source's class probabilities by classifiers fitted without its group, shape (n, n_classes).

    Log-probabilities are averaged over repeats of the cross-validation.
    """
    model = make_pipeline(
        StandardScaler(), FunctionTransformer(_clip), LogisticRegression(C=REGULARISATION, max_iter=1000)
    )
    classes, counts = np.unique(labels, return_counts=True)
    logs = np.zeros((len(labels), len(classes)))
    n_groups = np.unique(groups).size
    n_folds = min(FOLDS, counts.min(), n_groups)
    grouped = n_groups < len(groups)
    splitter = StratifiedGroupKFold if grouped else StratifiedKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for repeat in range(REPEATS):
            folds = splitter(n_folds, shuffle=True, random_state=seed + repeat)
            for fitted, held_out in folds.split(features, labels, groups if grouped else None):
                logs[held_out] += model.fit(features[fitted], labels[fitted]).predict_log_proba(features[held_out])
    return _softmax(np.maximum(logs / REPEATS, -700.0))


def calibrated(probabilities: Array, labels: NDArray[np.str_]) -> Array:
    """Scale probabilities by the temperature that maximises the labels' likelihood (Guo et al. 2017).

    The temperature is at least 1: overconfidence must not find label errors.
    """
    logs = np.log(np.maximum(probabilities, 1e-300))
    index = np.searchsorted(np.unique(labels), labels)

    def loss(temperature: float) -> float:
        return -float(np.log(_softmax(logs / temperature)[np.arange(len(logs)), index] + 1e-300).mean())

    best = minimize_scalar(loss, bounds=(1.0, 5.0), method="bounded")
    return _softmax(logs / float(best.x))


def _clip(standard: Array) -> Array:
    return np.clip(standard, -CLIP, CLIP)


def _softmax(logs: Array) -> Array:
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _suspicious(sources: SourceTable, probabilities: Array, agree: NDArray[np.bool_], read: ReadImage) -> Finding:
    classes = np.unique(sources.labels)
    of_label = probabilities[np.arange(len(sources)), np.searchsorted(classes, sources.labels)]
    predicted, confidence = classes[probabilities.argmax(axis=1)], probabilities.max(axis=1)
    doubtful = np.flatnonzero((of_label <= DOUBTFUL[0]) & (confidence >= DOUBTFUL[1]))
    doubtful = doubtful[np.argsort(of_label[doubtful], kind="stable")]
    n_suspicious = int(((of_label <= SUSPICIOUS[0]) & (confidence >= SUSPICIOUS[1])).sum())
    n_doubtful = len(doubtful) - n_suspicious
    accuracy = float(agree.mean())
    n_confirmed = int((agree & (confidence >= DOUBTFUL[1])).sum())
    numbers: Numbers = {
        "photographs": len(sources),
        "out_of_fold_accuracy": round(accuracy, 4),
        "suspicious": n_suspicious,
        "doubtful": n_doubtful,
        "as_sure_and_right": n_confirmed,
    }
    classifier = f"a classifier of the cells (out-of-fold accuracy {100 * accuracy:.0f} %)"
    if not doubtful.size:
        return Finding(
            code="suspicious-labels",
            severity="clear",
            what=f"No label of {counted(len(sources), PHOTOGRAPH)} is suspicious: {classifier} predicts no other class "
            "with confidence.",
            numbers=numbers,
        )
    rows: list[dict[str, Any]] = [
        {
            "path": str(sources.examples[i]),
            "photograph": str(sources.sources[i]),
            "images": int(sources.n_images[i]),
            "split": _split_name(str(sources.splits[i])),
            "label": str(sources.labels[i]),
            "looks_like": str(predicted[i]),
            "probability_of_label": round(float(of_label[i]), 4),
            "probability_of_other": round(float(confidence[i]), 4),
        }
        for i in doubtful
    ]
    shown = rows[:N_SHOWN]
    return Finding(
        code="suspicious-labels",
        severity="warning" if n_suspicious else "note",
        what=f"{n_suspicious} of {len(sources):,} photographs {'has' if n_suspicious == 1 else 'have'} a suspicious "
        f"label and {n_doubtful} a doubtful one: {classifier} predicts another class with confidence. For "
        f"{n_confirmed} others it predicts the label with the same confidence.",
        numbers=numbers,
        advice="Ask an expert to check each label. Do not change labels because of the classifier alone.",
        rows=rows,
        pictures=[
            Picture(
                name="suspicious_labels",
                figure=captioned(
                    [read(row["path"]) for row in shown],
                    captions=[
                        f"label {row['label']}\npredicted {row['looks_like']} "
                        f"({100 * row['probability_of_other']:.0f} %)\n{row['split']}, {row['path']}"
                        for row in shown
                    ],
                    title="Suspicious and doubtful labels",
                ),
                caption="Suspicious and doubtful labels: one image of each photograph, the least probable label first",
            )
        ],
    )


def _test_labels(sources: SourceTable, agree: NDArray[np.bool_], *, n_permutations: int, seed: int) -> list[Finding]:
    """Compare how often the classifier agrees with the labels of training and of test."""
    both = np.isin(sources.splits, ["train", "test"])
    in_test = sources.splits[both] == "test"
    if not in_test.any() or in_test.all():
        return []
    labels, agree = sources.labels[both], agree[both]
    rows = [
        {
            "class": str(label),
            "train_agree": int(agree[inside & ~in_test].sum()),
            "train_photographs": int((inside & ~in_test).sum()),
            "test_agree": int(agree[inside & in_test].sum()),
            "test_photographs": int((inside & in_test).sum()),
        }
        for label in np.unique(labels)
        for inside in [labels == label]
    ]
    orders = shuffles(labels, groups=sources.groups[both], values=in_test, n=n_permutations, seed=seed)
    # Fewer agreements in test are more extreme.
    p = p_value(-float(agree[in_test].sum()), np.array([-float(agree[in_test[order]].sum()) for order in orders]))
    train, test = float(agree[~in_test].mean()), float(agree[in_test].mean())
    worse = p <= SIGNIFICANCE
    by_class = ", ".join(f"{row['class']} {row['test_agree']} of {row['test_photographs']}" for row in rows)
    return [
        Finding(
            code="test-labels",
            severity="warning" if worse else "clear",
            what=f"{'Test labels are worse' if worse else 'There is no evidence that test labels are worse'} than "
            f"training labels: the classifier agrees with {100 * test:.0f} % of {int(in_test.sum())} test photographs "
            f"and {100 * train:.0f} % of {int((~in_test).sum())} training photographs (one-sided p = {p:.3f} within "
            f"classes). By class in test: {by_class}.",
            numbers={"train_agree": round(train, 4), "test_agree": round(test, 4), "p_value": round(p, 4)},
            advice="Ask an expert to check the test labels." if worse else "",
            rows=rows,
        )
    ]


def several_cells(sources: SourceTable, *, read: ReadImage, n_permutations: int, seed: int) -> Finding:
    """Find photographs with more than one white cell: the label is that of one of them only."""
    several = sources.counts > 1
    n_several = int(several.sum())
    splits = [split for split in SPLIT_NAMES if split in set(sources.splits)]
    numbers: Numbers = {"photographs": n_several, "of": len(sources)}
    numbers |= {f"{split}_share": round(float(several[sources.splits == split].mean()), 4) for split in splits}
    if not n_several:
        return Finding(
            code="several-cells",
            severity="clear",
            what="No photograph shows more than one white cell.",
            numbers=numbers,
        )
    in_last_split = ""
    if len(splits) > 1:
        inside = sources.splits == splits[-1]
        orders = shuffles(sources.labels, groups=sources.groups, values=inside, n=n_permutations, seed=seed)
        p = p_value(float(several[inside].sum()), np.array([float(several[inside[order]].sum()) for order in orders]))
        numbers |= {"p_value": round(p, 4)}
        name = SPLIT_NAMES[splits[-1]]
        in_last_split = (
            f", {int(several[inside].sum())} of them among the {int(inside.sum())} of {name} "
            f"(one-sided p = {p:.3f} for more in {name})"
        )
    rows = [
        {
            "path": str(sources.examples[i]),
            "label": str(sources.labels[i]),
            "split": _split_name(str(sources.splits[i])),
        }
        for i in np.flatnonzero(several)
    ]
    title = "Photographs that may show more than one white cell"
    return Finding(
        code="several-cells",
        severity="note",
        what=f"{n_several} of {len(sources):,} photographs may show more than one white cell{in_last_split}.",
        numbers=numbers,
        advice="Check that the label is that of the largest cell.",
        rows=rows,
        pictures=[
            Picture(
                name="several_cells",
                figure=captioned(
                    [read(row["path"]) for row in rows[:N_SHOWN]],
                    captions=[f"{row['label']}\n{row['path']}" for row in rows[:N_SHOWN]],
                    title=title,
                ),
                caption=f"{title}: one image of each",
            )
        ],
    )


def _split_name(split: str) -> str:
    return SPLIT_NAMES.get(split, "several")
