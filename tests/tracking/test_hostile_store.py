"""The files of a run in a store may be anything: one line names the run, or what they say is unknown."""

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from stores import look_into

from bloodcell.errors import UserError
from bloodcell.tracking.runs import StoredRun, run_or_none

PREDICTIONS = pd.DataFrame({"path": ["a", "b"], "label": ["A", "B"], "source": ["a", "b"], "group": ["a", "b"]}).assign(
    split="val", fold=0, p_A=[0.9, 0.2], p_B=[0.1, 0.8]
)


@pytest.fixture
def stored(tmp_path):
    """Return a function from a file's name and content to a run of a store that has it."""
    (tmp_path / "mlruns").mkdir()
    look_into(tmp_path)
    client = MlflowClient()

    def store(name: str, content: bytes) -> StoredRun:
        (tmp_path / name).write_bytes(content)
        run_id = client.create_run("0").info.run_id
        client.log_artifact(run_id, str(tmp_path / name))
        found = run_or_none(run_id)
        assert found is not None
        return found

    return store


@pytest.mark.parametrize(
    "content",
    [b"caf\xe9", b"&a [*a]", b"[1, 2]", b"text", b"", b"head: 3", b"data: {source: !!python/object:os.system {}}"],
)
def test_a_configuration_that_is_none_is_unknown(stored, content):
    assert stored("config.yaml", content).config is None


@pytest.mark.parametrize(
    "changes",
    [
        {"p_A": np.nan},
        {"p_A": 1e300},
        {"p_A": [[0.5], [0.5]]},
        {"p_A": "text"},
        {"path": None},
        {"label": [np.inf, 1e300]},
        {"label": "C"},
        {"fold": [[1], [2]]},
    ],
)
def test_predictions_that_are_none_are_refused_with_the_run(stored, changes, tmp_path):
    PREDICTIONS.assign(**changes).to_parquet(tmp_path / "hostile")
    run = stored("predictions.parquet", (tmp_path / "hostile").read_bytes())
    if "fold" in changes:  # names of folds
        assert len(run.predictions) == 2
        return
    with pytest.raises(UserError, match=rf"^runs={run.id}: predictions.parquet cannot be read \([^\n]*$"):
        _ = run.predictions


@pytest.mark.parametrize("content", [b"", b"PAR1" + b"\xff" * 100 + b"PAR1", b"text"])
@pytest.mark.parametrize("name", ["predictions.parquet", "manifest.parquet"])
def test_a_file_that_is_no_table_is_refused_with_the_run(stored, name, content, tmp_path):
    run = stored(name, content)
    with pytest.raises(UserError, match=rf"^runs={run.id}: {name} cannot be read \([^\n]*$"):
        _ = run.predictions if name == "predictions.parquet" else run.manifest
