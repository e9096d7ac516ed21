import random
from pathlib import Path

import numpy as np
import pytest

from bloodcell.training import state as _state
from bloodcell.training.state import StateFile, TrainingState

STATE = TrainingState(
    stage=1,
    stage_epochs=2,
    epochs=[{"epoch": 0, "stage": "head", "val_loss": 0.1 + 0.2, "best": True}],
    inputs={"head": "stored"},
    seconds=1 / 3,
    weights=[np.float32([0.1, np.nan]), np.zeros((0, 3), np.float32)],
    best_weights=[np.float32([[1e-45]])],
    seeds=[np.uint32([2**32 - 1, 0])],
    optimizer=[np.array(2**40), *np.arange(11, dtype=np.float32)],
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "check points" / "state.npz"


@pytest.fixture
def file(path) -> StateFile:
    file = StateFile(path, digest="a")
    file.write(STATE)
    return file


def test_a_state_is_read_as_it_was_written(file):
    read = file.read()
    for name in ("stage", "stage_epochs", "epochs", "inputs", "seconds"):
        assert getattr(read, name) == getattr(STATE, name)
    for name in _state.ARRAYS:
        for one, other in zip(getattr(read, name), getattr(STATE, name), strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_a_state_without_a_file_is_none_without_a_warning(tmp_path, caplog):
    assert StateFile(tmp_path / "state.npz", digest="a").read() is None
    assert not caplog.records


def test_a_state_with_another_digest_is_not_read(file, path, caplog):
    assert StateFile(path, digest="b").read() is None
    assert "another configuration" in caplog.text


@pytest.mark.parametrize("damage", ["garbage", "empty", "torn", "one bit", "array", "pickle", "foreign"])
def test_a_damaged_file_is_not_read(file, path, caplog, damage):
    content = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(random.Random(0).randbytes(4096))
        case "empty":
            path.write_bytes(b"")
        case "torn":
            path.write_bytes(content[:-50])
        case "one bit":
            place = content.index(np.float32(10).tobytes())
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        case "array":
            with path.open("wb") as stream:
                np.save(stream, np.arange(9))
        case "pickle":
            np.savez(path, facts=np.array([{}], dtype=object))
        case "foreign":
            np.savez(path, x=np.arange(9))
    assert file.read() is None
    assert "cannot be read" in caplog.text


def test_what_a_killed_process_left_is_removed(file, path):
    for name in (".1f.npz", ".1f.weights.h5", ".keep", "best.weights.h5"):
        (path.parent / name).touch()
    file.clean(keep=True)
    assert {each.name for each in path.parent.iterdir()} == {".keep", "best.weights.h5", "state.npz"}
    file.clean(keep=False)
    assert not path.exists()


def test_states_are_written_at_most_as_often_as_their_share_of_the_time_allows(path, monkeypatch):
    now = iter([0.0, 2.0, 41.9, 42.0])
    monkeypatch.setattr(_state.time, "monotonic", lambda: next(now))
    file = StateFile(path, digest="a")
    file.write(STATE)
    assert [file.is_due(), file.is_due()] == [False, True]
