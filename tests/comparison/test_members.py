"""Which runs can be combined, and the messages for those that cannot."""

import numpy as np
import pandas as pd
import pytest

from bloodcell.comparison.members import EnsembleMember, join
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import predictions_table

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "NEUTROPHIL")
BOTH = ("val", "test")


def table(*, seed: int = 0, classes=CLASSES, folds=(1, 2), n_test: int = 6) -> pd.DataFrame:
    """Predictions of 12 photographs of two images each, cross-validated, and of some of test."""
    rng = np.random.default_rng(seed)
    names = [f"{number}-{copy}" for number in range(12) for copy in "ab"]
    val = pd.DataFrame({"path": names, "label": [CLASSES[int(name.split("-")[0]) % 3] for name in names]})
    val = val.assign(group=val["path"].str.split("-").str[0], split="val")
    test = pd.DataFrame({"path": [f"t{number}" for number in range(n_test)], "label": CLASSES[0], "split": "test"})
    test["group"] = test["path"]
    parts = []
    for rows in (val, test):
        made = predictions_table(
            manifest=rows, probabilities=rng.dirichlet(np.ones(len(classes)), len(rows)), classes=classes
        )
        if folds and len(rows) and rows is val:
            made["fold"] = pd.array([folds[int(group) % len(folds)] for group in made["group"]], dtype="Int64")
        parts.append(made.sample(frac=1, random_state=seed))
    return pd.concat(parts, ignore_index=True)


def member(name: str, predictions: pd.DataFrame) -> EnsembleMember:
    return EnsembleMember(name=name, run_id=f"id-{name}", predictions=predictions)


def pair(other: pd.DataFrame) -> list[EnsembleMember]:
    return [member("one", table()), member("other", other)]


def refused(members: list[EnsembleMember], *, splits=BOTH, fits: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        join(members, splits=splits, fits=fits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_predictions_are_put_into_one_order_of_images_and_classes():
    turned = table(seed=1, classes=CLASSES[::-1])
    joint = join(pair(turned), splits=BOTH, fits=True)
    assert joint.classes == CLASSES
    for split, side in joint.splits.items():
        assert side.probabilities.shape == (2, len(side.images), 3)
        for number, predictions in enumerate((table(), turned)):
            own = predictions[predictions["split"] == split].set_index("path").loc[side.images["path"]]
            np.testing.assert_allclose(side.probabilities[number], own[[f"p_{name}" for name in CLASSES]].to_numpy())
        assert [CLASSES[label] for label in side.labels] == side.images["label"].tolist()
        assert side.groups.tolist() == side.images["group"].tolist()


def test_of_repeats_the_mean_counts():
    first, again = table(), table(seed=5, folds=(3, 4), n_test=0)
    repeated = pd.concat([first, again], ignore_index=True)
    joint = join([member("one", table(seed=1)), member("repeated", repeated)], splits=("val",), fits=True)
    columns = [f"p_{name}" for name in CLASSES]
    mean = repeated[repeated["split"] == "val"].groupby("path")[columns].mean()
    np.testing.assert_allclose(joint.splits["val"].probabilities[1], mean.to_numpy(), atol=1e-6)


def test_other_folds_of_the_same_photographs_can_be_combined():
    assert join(pair(table(seed=1, folds=(1, 2, 3))), splits=BOTH, fits=True)


def test_a_single_run_is_refused():
    assert "at least two runs" in refused([member("one", table())])
    assert "id-one" in refused([member("one", table())])
    assert "at least two runs" in refused([])


def test_a_run_that_is_given_twice_is_refused():
    assert "id-one (one)" in refused([member("one", table()), member("one", table())])


def changed(column: str, value: str) -> pd.DataFrame:
    other = table(seed=1)
    other.loc[other["path"] == "3-a", column] = value
    return other


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (table(classes=(*CLASSES, "BASOPHIL")), "different classes: 1 only in the second (such as BASOPHIL)"),
        (table().query("group != '3'"), "differ in validation: images 2 only in the first (such as 3-a)"),
        (table(n_test=7), "differ in test: images 1 only in the second (such as t6)"),
        (changed("label", "LYMPHOCYTE"), "the label of 3-a is EOSINOPHIL in one and LYMPHOCYTE in the other"),
        (changed("group", "77"), "the group of 3-a is 3 in one and 77 in the other"),
    ],
)
def test_runs_that_differ_are_named_with_the_difference(other, expected):
    message = refused(pair(other))
    assert expected in message
    assert "id-one (one)" in message
    assert "id-other (other)" in message


def test_a_split_without_predictions_is_refused():
    message = refused(pair(table(n_test=0).query("split == 'val'")))
    assert "id-other (other) has no predictions of test; use evaluate_test=false" in message


def test_nothing_is_fitted_to_a_holdout():
    holdout = pair(table(folds=()))
    assert "id-other (other)" in refused(holdout, fits=True)
    assert join(holdout, splits=BOTH, fits=False)
    one_fold = pair(table(folds=(2,)))
    assert "cross-validation" in refused(one_fold, fits=True)


def test_nothing_is_fitted_if_folds_separate_copies():
    torn = table()
    torn.loc[torn["path"] == "3-a", "fold"] = 1
    torn.loc[torn["path"] == "3-b", "fold"] = 2
    assert "id-other (other) leaks: images of photograph 3 are in several folds" in refused(pair(torn), fits=True)
