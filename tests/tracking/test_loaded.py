"""`bloodcell.load`: a run of the store as an object."""

import numpy as np
import pandas as pd
import pytest
from commands import run
from stores import artifacts_of, runs_in

import bloodcell
from bloodcell.errors import UserError

OWN = [
    *("data.groups=pattern", "data.groups_pattern='(.+)'", "data.group_name=photograph"),
    *("backbone=colour_histogram", "head=dense", "finetune=none", "hyperparameters.epochs=2", "baselines=[]"),
    *("explain=none", "tracking.run_name='<b>mine'"),
]


@pytest.fixture(scope="module")
def trained(bccd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loaded")
    completed = run(["train", "data=bccd", f"data.root={bccd}", *OWN], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    return folder


@pytest.fixture
def loaded(trained):
    (only,) = runs_in(trained)
    return bloodcell.load(only.info.run_id, tracking={"dir": str(trained / "mlruns")})


def test_a_loaded_run_has_what_its_training_recorded(trained, loaded):
    (only,) = runs_in(trained)
    artifacts = artifacts_of(only)
    row = loaded.metrics.loc[("test", "accuracy")]
    values = only.data.metrics
    assert row["value"] == values["test/accuracy"]
    assert row["baseline"] == values["test/majority_class/accuracy"]
    assert row["low"] == values["test/accuracy_low"]
    assert loaded.predictions["split"].unique().tolist() == ["val", "test"]
    pd.testing.assert_frame_equal(loaded.history, pd.read_csv(artifacts / "history.csv"))
    assert set(loaded.figures) == {path.stem for path in (artifacts / "plots").glob("*.png")}
    assert all(path.is_file() for path in loaded.figures.values())
    assert ", ".join(loaded.evidence) == only.data.tags["evidence"]
    assert loaded.address.startswith("bloodcell ui tracking.dir=")


def test_its_model_gives_its_predictions(loaded, bccd):
    from bloodcell.images.reading import read_image

    table = loaded.predictions.query("split == 'test'").head(3)
    images = np.stack([read_image(bccd / path) for path in table["path"]])
    given = table[[name for name in table if name.startswith("p_")]].to_numpy()
    np.testing.assert_allclose(loaded.model.predict(images, verbose=0), given, atol=1e-4)


def test_a_notebook_shows_metrics_evidence_and_the_confusion_matrices(loaded):
    page = loaded._repr_html_()
    assert f"{loaded.metrics.loc[('val', 'accuracy'), 'value']:.3f}" in page
    assert "&lt;b&gt;mine" in page
    assert "<b>mine" not in page
    assert page.count("data:image/png;base64,") == 2
    assert f"Evidence: {', '.join(loaded.evidence)}" in page
    assert loaded.id in repr(loaded)


def test_what_is_not_in_the_store_is_refused(trained, tmp_path):
    for folder in (trained / "mlruns", tmp_path / "none"):
        with pytest.raises(UserError, match="give the"):
            bloodcell.load("no-such-run", tracking={"dir": str(folder)})
