"""What is stored, as a user sees it, removes it, and shares it between commands that run at the same time."""

import json
import os
import time
from pathlib import Path

import pytest
from commands import run, small_network, start

from bloodcell.explorer.cached import maps_dir, thumbnails_dir
from bloodcell.training.feature_store import FeatureStore

N_IMAGES = 60
DAY = 86400


@pytest.fixture(scope="module")
def trained(bccd, tmp_path_factory) -> Path:
    """The folder of the features of one training."""
    workplace = tmp_path_factory.mktemp("trained")
    features = workplace / "features"
    completed = run(["train", *small_network(bccd), "augmentation=none", f"features.dir={features}"], cwd=workplace)
    assert completed.returncode == 0, completed.stderr
    return features


@pytest.fixture
def stored(trained, tmp_path) -> Path:
    """The features of a training twice, of which one was last used forty days ago."""
    (use,) = FeatureStore(trained).usage()
    new, old = tmp_path / "features" / use.name, tmp_path / "features" / "0123456789abcdef"
    for folder in (new, old):
        folder.mkdir(parents=True)
        for part in ("recipe.json", "rows", "index"):
            (folder / part).write_bytes((trained / use.name / part).read_bytes())
    long_ago = time.time() - 40 * DAY
    os.utime(old / "recipe.json", (long_ago, long_ago))
    return new.parent


def names(folder: Path) -> set[str]:
    return {use.name for use in FeatureStore(folder).usage()}


def test_the_cache_job_shows_the_origin_and_size_of_features(trained, tmp_path):
    completed = run(["cache", f"dir={trained}"], cwd=tmp_path)
    (name,) = names(trained)
    assert completed.returncode == 0
    for text in (name, "VGG16", f" {N_IMAGES} ", "32 pixels", "Stored features: 0.00 GB"):
        assert text in " ".join(completed.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_features_are_removed_by_name(stored, tmp_path):
    completed = run(["cache", f"dir={stored}", "remove=['0123456789abcdef']"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "Removed 1" in completed.stdout
    assert "0123456789abcdef" not in names(stored)
    assert len(names(stored)) == 1


def test_features_that_nothing_used_for_long_are_removed(stored, tmp_path):
    for days, left in ((60, 2), (30, 1), (30, 1)):
        completed = run(["cache", f"dir={stored}", f"unused_days={days}"], cwd=tmp_path)
        assert completed.returncode == 0, completed.stderr
        assert len(names(stored)) == left
    assert "0123456789abcdef" not in names(stored)


def test_all_features_are_removed_and_nothing_else(stored, tmp_path):
    (stored / "notes.txt").write_text("mine")
    completed = run(["cache", f"dir={stored}", "remove=[all]"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert names(stored) == set()
    assert (stored / "notes.txt").exists()


def test_what_the_explorer_has_stored_is_shown_and_removed_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [thumbnails_dir() / "0a" / "1b.jpg", maps_dir() / "2c.npy"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"12345")
    shown = json.loads(run(["cache", "--json"], cwd=tmp_path).stdout)
    assert (shown["thumbnails"]["bytes"], shown["maps"]["bytes"]) == (5, 5)
    completed = run(["cache", "remove=[thumbnails]"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert [file.exists() for file in files] == [False, True]
    assert run(["cache", "remove=[all]"], cwd=tmp_path).returncode == 0
    assert not maps_dir().exists()


def test_a_name_that_there_is_not_is_refused_and_removes_nothing(stored, tmp_path):
    completed = run(["cache", f"dir={stored}", "remove=['0123456789abcdef',nonsense]"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: remove=nonsense: there are no features of this name")
    assert completed.stderr.count("\n") == 1
    assert len(names(stored)) == 2


@pytest.mark.slow
def test_two_sweeps_at_once_compute_each_image_once(bccd, tmp_path):
    sweep = ["train", "-m", *small_network(bccd), "augmentation=none", "hyperparameters.learning_rate=1e-3,1e-2"]
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    processes = [start(sweep, cwd=folder, XDG_CACHE_HOME=str(tmp_path / "cache")) for folder in folders]
    for process in processes:
        _, completed = process.communicate(timeout=280)
        assert process.returncode == 0, completed
    (use,) = FeatureStore(tmp_path / "cache" / "bloodcell" / "features").usage()
    assert use.rows == N_IMAGES
