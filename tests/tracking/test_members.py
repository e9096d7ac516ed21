"""What the members of an ensemble were trained on: the same files, and whether any of it leaks."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from bloodcell.comparison.members import join
from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.composition import compose_config
from bloodcell.data.manifest import digest
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.tracking.members import digest_of, groups_of, member_of, prepared_of, stopped_by_validation
from bloodcell.tracking.runs import StoredRun

CLASSES = ("EOSINOPHIL", "NEUTROPHIL")
N_TRAIN, N_TEST = 16, 4


def images(*, val: bool = False) -> pd.DataFrame:
    """Return a manifest of photographs of one image each; with ``val`` every fourth of training is validated on."""
    rows = [("TRAIN", number, "val" if val and number % 4 == 0 else "train") for number in range(N_TRAIN)]
    rows += [("TEST", number, "test") for number in range(N_TEST)]
    table = pd.DataFrame(
        [(f"{side}/{number}", CLASSES[number % 2], f"{side} {number}", split) for side, number, split in rows],
        columns=["path", "label", "group", "split"],
    )
    return table.assign(
        source=table["group"], sha256=[hashlib.sha256(path.encode()).hexdigest() for path in table["path"]]
    )


def trained(name: str, manifest: pd.DataFrame, *, folds: int = 2, tags: dict[str, str] | None = None) -> StoredRun:
    """Return a run on these images: a cross-validation, or without folds one on the manifest's own split."""
    val = manifest[manifest["split"] == ("train" if folds else "val")].assign(split="val")
    tables = []
    for rows in (val, manifest[manifest["split"] == "test"]):
        made = predictions_table(
            manifest=rows, probabilities=np.full((len(rows), 2), 0.5, dtype=np.float32), classes=CLASSES
        )
        if folds and rows is val:
            made["fold"] = pd.array([1 + number % folds for number in range(len(made))], dtype="Int64")
        tables.append(made)
    return stored(
        name,
        tags={"leaky": "false", "groups": "recover", "data_digest": "0123"} | (tags or {}),
        predictions=pd.concat(tables, ignore_index=True),
        manifest=manifest.sample(frac=1, random_state=len(name)),
    )


def stored(name: str, *, tags: dict[str, str], **files: object) -> StoredRun:
    """Return a run with files that need not be downloaded."""
    run = StoredRun(
        id=f"id-{name}",
        experiment_id="0",
        name=name,
        status="FINISHED",
        started=0,
        parent=None,
        tags=RunTags.read(tags),
        parameters={},
        metrics={},
    )
    vars(run).update({"config": None} | files)
    return run


def prepare(*runs: StoredRun, fits: bool = False):
    joint = join([member_of(run) for run in runs], splits=("val", "test"), fits=fits)
    return prepared_of(runs, joint, fits=fits)


def test_the_images_are_those_of_the_runs():
    runs = trained("one", images()), trained("two", images(), folds=4)
    prepared = prepare(*runs, fits=True)
    assert digest(prepared.images.manifest) == digest(images())
    assert prepared.images.classes == CLASSES
    assert prepared.leakage.leaky == "false"
    assert prepared.leakage.sentence == ""
    assert digest_of(runs, prepared) == "0123"


def test_of_runs_with_different_folds_the_digest_is_that_of_the_images():
    runs = trained("one", images()), trained("two", images(), tags={"data_digest": "4567"})
    assert digest_of(runs, prepare(*runs)) == digest(images())


def test_files_that_changed_between_runs_are_refused():
    changed = images()
    changed.loc[3, "sha256"] = "0" * 64
    with pytest.raises(
        UserError, match=r"id-one \(one\) and id-two \(two\) .* the content of TRAIN/3 is .* in one and 0{12} "
    ):
        prepare(trained("one", images()), trained("two", changed))


def test_holdouts_that_were_trained_on_different_images_are_refused():
    fewer = images(val=True).drop(index=1)
    with pytest.raises(UserError, match=r"images 1 only in the first \(such as TRAIN/1\)"):
        prepare(trained("one", images(val=True), folds=0), trained("two", fewer, folds=0))


def test_a_cross_validation_that_left_images_out_is_refused():
    run = trained("one", images())
    short = run.predictions.query("path != 'TRAIN/5'")
    parts = [stored(name, tags={}, predictions=short, manifest=run.manifest) for name in ("a", "b")]
    with pytest.raises(UserError, match="no validation prediction of 1 training images, such as TRAIN/5"):
        prepare(*parts)


def test_a_leak_of_the_members_is_one_of_the_ensemble():
    shared = images(val=True)
    shared["group"] = shared["label"] + (shared.index // 8).astype(str)
    leaky = {"leaky": "true"}
    prepared = prepare(*(trained(name, shared, folds=0, tags=leaky) for name in ("one", "two")))
    assert prepared.leakage.leaky == "true"
    assert prepared.leakage.mark("val") == " *"
    assert "validation images have a copy in training" in prepared.leakage.sentence


def test_a_split_by_file_leaks_also_where_it_shares_nothing():
    runs = [trained(name, images(val=True), folds=0, tags={"leaky": "true"}) for name in ("one", "two")]
    leakage = prepare(*runs).leakage
    assert leakage.split_by_file
    assert leakage.mark("val") == " *"


def test_nothing_is_fitted_where_folds_have_the_same_file():
    copied = images()
    copied.loc[1, "sha256"] = copied.loc[0, "sha256"]  # of another group, so that folds take them apart
    runs = [trained(name, copied, tags={"leaky": "true"}) for name in ("one", "two")]
    assert prepare(*runs).leakage.mark("val") == " *"
    with pytest.raises(UserError, match=r"id-one \(one\) leaks.* method=soft"):
        prepare(*runs, fits=True)


def test_a_leak_into_test_is_reported_and_does_not_prevent_fitting():
    shared = images()
    shared.loc[shared["path"] == "TEST/0", "group"] = "TRAIN 0"
    runs = [trained(name, shared, tags={"leaky": "true"}) for name in ("one", "two")]
    leakage = prepare(*runs, fits=True).leakage
    assert (leakage.mark("val"), leakage.mark("test")) == ("", " *")


def test_groups_are_unknown_if_those_of_one_run_are():
    runs = trained("one", images()), trained("two", images(), tags={"groups": "none", "leaky": "unknown"})
    assert groups_of(runs) == "none"
    assert prepare(*runs).leakage.leaky == "unknown"


@pytest.mark.parametrize(
    ("overrides", "stopped"),
    [
        (["head=probe"], False),
        (["head=linear"], True),
        (["head=probe", "finetune=staged"], True),
        (
            [
                "head=linear",
                *(f"hyperparameters.early_stopping.{off}" for off in ("restore_best=false", "patience=null")),
            ],
            False,
        ),
    ],
)
def test_runs_whose_epochs_validation_chose_are_identified(overrides, stopped):
    config = compose_config("train", ["data=bccd", "data.root=/cells", "split=group_kfold", *overrides])
    run = stored("one", tags={}, config=config)
    assert stopped_by_validation([run]) == [run] * stopped
