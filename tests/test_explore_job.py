"""``bloodcell explore``: its page is served to this machine only, FiftyOne's folder is written, errors are one line."""

import contextlib
import json
import re
import signal
import socket
import urllib.request

import numpy as np
import pytest
from commands import run, small, start
from explorers import predictions
from stores import runs_in

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.explorer.items import make_items
from bloodcell.tracking.explored import Explainers, originals_of, read_explored


@pytest.fixture(scope="module")
def folder(bccd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    assert run(["train", *small(bccd)], cwd=folder).returncode == 0
    predictions(bccd).to_csv(folder / "other.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run_id(folder):
    return runs_in(folder)[0].info.run_id


def test_the_page_is_served_until_it_is_interrupted(folder, run_id):
    words = ["explore", f"runs=[{run_id},other.csv]", "port=0", "open=false"]
    server = start(words, cwd=folder)
    try:
        address = next(found.group() for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1\S+", line)))
        with urllib.request.urlopen(f"{address}items.json", timeout=60) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{address}thumbnail/0", timeout=60) as answer:
            assert answer.read(3) == b"\xff\xd8\xff"
    finally:
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=60)
    assert (server.returncode, output.splitlines()[-1]) == (0, "Ended."), errors
    assert not (folder / "outputs" / "explore").exists()


def test_the_folder_for_fiftyone_has_every_image_with_its_predictions(folder, run_id, bccd):
    words = ["explore", f"runs=[{run_id},other.csv]", "export=fiftyone", "output=exported", "--json"]
    completed = run(words, cwd=folder)
    assert completed.returncode == 0, completed.stderr
    exported = folder / "exported" / "fiftyone"
    samples = json.loads((exported / "samples.json").read_text())["samples"]
    metadata = json.loads((exported / "metadata.json").read_text())
    assert "version" not in metadata  # else FiftyOne reads documents of its database
    assert json.loads(completed.stdout)["images"] == len(samples) == len(list(bccd.glob("T*/*/*.jpeg")))
    first = next(each for each in samples if each["predictions_1"] is not None)
    assert first["ground_truth"]["_cls"] == first["predictions_1"]["_cls"] == "Classification"
    assert (exported / first["filepath"]).read_bytes() == (bccd / first["original_path"]).read_bytes()
    assert {each["ground_truth"]["label"] for each in samples} <= set(metadata["info"]["classes"])
    trained = [each for each in samples if each["predictions_1_evidence"] == "trained on"]
    assert trained
    assert all(each["predictions_1"] is None for each in trained)
    again = run(words, cwd=folder)
    assert again.returncode == 2
    assert "exported" in json.loads(again.stdout)["error"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "runs"),
        (["runs=[other.csv]", "study=abc"], "study"),
        (["runs=[missing.csv]"], "missing.csv"),
        (["runs=[other.csv]", "images=missing"], "images=missing"),
        (["runs=[other.csv]", "export=other"], "export"),
        (["runs=[other.csv]", "export=fiftyone", "output=elsewhere"], "export=fiftyone"),
        (["runs=[other.csv]", "output=other.csv/x"], "output"),
    ],
)
def test_what_cannot_be_explored_is_one_line(folder, words, named):
    completed = run(["explore", *words], cwd=folder)
    assert completed.returncode == 2
    assert completed.stderr.count("\n") == 1
    assert named in completed.stderr


def test_a_port_that_is_taken_is_named(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        completed = run(["explore", "runs=[other.csv]", f"port={port}"], cwd=folder)
    assert completed.returncode == 2
    assert f"port={port}" in completed.stderr


@pytest.mark.slow
def test_a_heat_map_is_of_the_fold_that_held_the_image_out(bccd, tmp_path):
    words = ["train", *small(bccd), "log_model=true", "split=group_kfold", "split.folds=2"]
    assert run(words, cwd=tmp_path).returncode == 0
    predictions(bccd).to_csv(tmp_path / "other.csv", index=False)
    with contextlib.chdir(tmp_path):
        parent = next(each for each in runs_in(tmp_path) if "fold" not in each.data.tags)
        tracking = TrackingConfig()
        runs, stored = read_explored(tracking=tracking, runs=[parent.info.run_id, "other.csv"], study=None)
        items = make_items(runs)
        originals = originals_of(items, stored, images=None)
        explainers = Explainers(items, stored, originals)
        row = int(np.flatnonzero(items.runs[0].fold == 2)[0])
        heat = explainers.heat(0, row, 1)
        assert heat.shape == originals.pixels(row).shape
        assert list(explainers._models) == [stored[0].folds[1].models[-1]]
        with pytest.raises(UserError, match="no heat map"):
            explainers.heat(1, row, 1)
