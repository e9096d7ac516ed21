"""A training that is killed and resumed equals, to the last digit, one that is not."""

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from training import tiny

from bloodcell.data.augmentation import Augmentation
from bloodcell.models.precision import precision
from bloodcell.training import state as _state
from bloodcell.training import trainer as _trainer
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.learner import Learner
from bloodcell.training.trainer import Epoch, Trained, predict, train

VIEWS = Augmentation(horizontal_flip=True, rotation=90, brightness=0.1)


class Kill(BaseException):
    """The end of a process."""


class Plan(NamedTuple):
    """Epochs of the head and of the stages from blocks on, and how they are trained."""

    head: int = 2
    rate: float = 1e-2
    blocks: tuple[tuple[str, int], ...] = (("block_3", 2),)
    way: str = "stored"
    standardise: bool = False
    projection: int | None = None
    mixed: bool = False
    learner: Mapping[str, Any] = MappingProxyType({})
    settings: Mapping[str, Any] = MappingProxyType({})


def plan(name: str, *marks: pytest.MarkDecorator, **settings: Any) -> Any:
    return pytest.param(Plan(**settings), id=name, marks=marks)


AVERAGES = {"weight_averaging": 0.8}
SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "restore_best": False}
PHOTOGRAPHS = {"sampling": "photographs", "counts": "photographs"}
LBFGS = {"solver": "lbfgs", "l2": 1e-3}
PLANS = [
    plan("three stages", pytest.mark.slow, blocks=(("block_3", 2), ("block_2", 1)), learner={"n_views": 3}),
    plan(
        "averages",
        pytest.mark.slow,
        head=1,
        settings=AVERAGES | {"schedule": "cosine", "warmup": 0.2, "restore_best": False},
    ),
    plan(
        "on the fly",
        pytest.mark.slow,
        head=1,
        way="on the fly",
        settings=PHOTOGRAPHS | {"mixup": 0.4, "cutmix": 1.0, "optimizer": "adamw", "monitor": "val_accuracy"},
    ),
    plan("lbfgs", head=1, standardise=True, projection=5, learner=LBFGS),
    plan("lbfgs only", pytest.mark.slow, head=1, blocks=(), learner=LBFGS),
    plan("head only", pytest.mark.slow, head=3, blocks=(), settings={"schedule": "cosine"}),
    plan("dropout in frozen blocks", pytest.mark.slow, way="on the fly"),
    plan("best averages", pytest.mark.slow, settings=AVERAGES),
    plan("momentum, decay", pytest.mark.slow, settings=SGD),
    plan("mixup", pytest.mark.slow, standardise=True, settings=PHOTOGRAPHS | {"mixup": 0.4}),
    plan("mixed precision", pytest.mark.slow, mixed=True, settings={"class_weights": "balanced"}),
]
"""Together they have everything that an epoch depends on."""


class Result(NamedTuple):
    trained: Trained
    weights: list[np.ndarray]
    probabilities: np.ndarray


@pytest.fixture(scope="module")
def data(bccd) -> tiny.Data:
    return tiny.data(bccd)


@pytest.fixture(autouse=True)
def _every_state_is_written(monkeypatch):
    monkeypatch.setattr(_state, "MAX_SHARE", float("inf"))


def built(plan: Plan, folder: Path) -> Learner:
    make_deterministic(5)
    with precision(mixed=plan.mixed):
        linear = "solver" in plan.learner
        model = tiny.classifier(
            dropout=0.0 if linear else 0.3, standardise=plan.standardise, projection=plan.projection
        )
    stages = [tiny.tuning(model, block, epochs, train_statistics=True) for block, epochs in plan.blocks]
    return tiny.learner(
        model,
        tiny.head(plan.head, plan.rate),
        *stages,
        augmentation=VIEWS,
        settings=tiny.settings(**plan.settings),
        cache=tiny.cache(model, folder / "features") if plan.way == "stored" else None,
        **plan.learner,
    )


def trained(plan: Plan, data: tiny.Data, folder: Path, **arguments: Any) -> Result:
    learner = built(plan, folder)
    result = train(learner, train_samples=data.train, val_samples=data.val, folder=folder / "checkpoints", **arguments)
    weights = learner.classifier.core.get_weights()
    return Result(result, weights, predict(learner, data.val, description="predicting"))


def killed_in(n_epochs: int) -> tuple[list[int], Callable[[Epoch], None]]:
    """Return a listener that ends a training in its last of some epochs, and the epochs that it has heard of."""
    heard: list[int] = []

    def listener(epoch: Epoch) -> None:
        heard.append(epoch.epoch)
        if len(heard) == n_epochs:
            raise Kill

    return heard, listener


def assert_equal(one: Result, other: Result) -> None:
    pd.testing.assert_frame_equal(one.trained.history, other.trained.history, check_exact=True)
    assert one.trained.best_epoch == other.trained.best_epoch
    assert one.trained.inputs == other.trained.inputs
    for each, same in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(each, same)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


@pytest.mark.parametrize("plan", PLANS)
def test_a_training_killed_in_every_epoch_equals_one_that_is_not(plan, data, tmp_path):
    undisturbed = trained(plan, data, tmp_path / "undisturbed")
    n_epochs = len(undisturbed.trained.history)
    assert n_epochs == plan.head + sum(epochs for _, epochs in plan.blocks)
    for first in range(n_epochs - 1):
        heard, listener = killed_in(2)
        with pytest.raises(Kill):
            trained(plan, data, tmp_path / "killed", resume=True, listeners=[listener])
        assert heard == [first, first + 1]
    assert_equal(trained(plan, data, tmp_path / "killed", resume=True), undisturbed)


@pytest.mark.parametrize(("restore_best", "before_stop"), [pytest.param(True, 0, marks=pytest.mark.slow), (False, 1)])
def test_early_stopping_counts_the_epochs_before_an_interruption(data, tmp_path, restore_best, before_stop):
    plan = Plan(head=9, rate=0.5, settings={"patience": 2, "restore_best": restore_best})
    undisturbed = trained(plan, data, tmp_path / "undisturbed")
    in_head = (undisturbed.trained.history["stage"] == "head").sum()
    assert 3 <= in_head < 9
    kill = in_head - before_stop
    with pytest.raises(Kill):
        trained(plan, data, tmp_path / "killed", listeners=[killed_in(kill)[1]])
    heard, listener = killed_in(99)
    assert_equal(trained(plan, data, tmp_path / "killed", resume=True, listeners=[listener]), undisturbed)
    assert heard == list(range(kill - 1, len(undisturbed.trained.history)))


def test_a_best_checkpoint_of_a_later_epoch_than_the_state_is_not_used(data, tmp_path):
    plan = Plan(head=9, rate=0.5, blocks=(), settings={"patience": 2})
    undisturbed = trained(plan, data, tmp_path / "undisturbed")
    n_epochs = len(undisturbed.trained.history)
    assert undisturbed.trained.best_epoch == n_epochs - 3
    with pytest.raises(Kill):
        trained(plan, data, tmp_path / "killed", listeners=[killed_in(n_epochs)[1]])
    best = tmp_path / "killed" / "checkpoints" / "best.weights.h5"
    best.write_bytes(b"of an epoch that the state does not know")
    heard, listener = killed_in(99)
    assert_equal(trained(plan, data, tmp_path / "killed", resume=True, listeners=[listener]), undisturbed)
    assert heard == [n_epochs - 1]


def test_a_kill_while_the_state_is_written_leaves_the_state_before(data, tmp_path, monkeypatch):
    plan = Plan(head=4, blocks=())
    undisturbed = trained(plan, data, tmp_path / "undisturbed")
    write, files = np.savez, []

    def torn(path: Path, **arrays: Any) -> None:
        write(path, **arrays)
        files.append(path)
        if len(files) == 3:
            path.write_bytes(path.read_bytes()[:-100])
            raise Kill

    monkeypatch.setattr(np, "savez", torn)
    with pytest.raises(Kill):
        trained(plan, data, tmp_path / "killed")
    monkeypatch.setattr(np, "savez", write)
    files[-1].write_bytes(b"half")  # which a real kill leaves
    heard, listener = killed_in(99)
    assert_equal(trained(plan, data, tmp_path / "killed", resume=True, listeners=[listener]), undisturbed)
    assert heard == [2, 3]
    names = {file.name for file in (tmp_path / "killed" / "checkpoints").iterdir()}
    assert names == {"best.weights.h5", "last.weights.h5", "state.npz"}


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_finished_training_returns_its_result_at_once(data, tmp_path, restore_best):
    plan = Plan(settings={"weight_averaging": 0.5, "restore_best": restore_best})
    first = trained(plan, data, tmp_path)
    heard, listener = killed_in(1)
    again = trained(plan, data, tmp_path, resume=True, listeners=[listener])
    assert_equal(again, first)
    assert again.trained.seconds == first.trained.seconds
    assert heard == []
    with np.load(tmp_path / "checkpoints" / "state.npz") as file:
        assert not [name for name in file if name.startswith(("optimizer", "weights", "best_weights"))]


@pytest.mark.parametrize("damage", ["garbage", "other digest", "no checkpoint"])
def test_a_state_that_cannot_be_used_means_a_start_from_nothing(data, tmp_path, caplog, damage):
    plan = Plan(head=2, blocks=())
    first = trained(plan, data, tmp_path, digest="a")
    if damage == "garbage":
        (tmp_path / "checkpoints" / "state.npz").write_bytes(b"garbage")
    if damage == "no checkpoint":
        (tmp_path / "checkpoints" / "best.weights.h5").unlink()
    heard, listener = killed_in(9)
    digest = "b" if damage == "other digest" else "a"
    again = trained(plan, data, tmp_path, resume=True, digest=digest, listeners=[listener])
    assert heard == [0, 1]
    assert_equal(again, first)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "starts from nothing" in warning.getMessage()
    assert warning.exc_info is None


def test_a_resumed_stage_whose_features_are_not_those_of_before_is_reported(data, tmp_path, caplog):
    plan = Plan(head=3, blocks=())
    with pytest.raises(Kill):
        trained(plan, data, tmp_path, listeners=[killed_in(2)[1]])
    trained(plan._replace(way="on the fly"), data, tmp_path, resume=True)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "its input is on the fly, and was stored" in warning


def test_without_resume_a_training_starts_from_nothing(data, tmp_path):
    plan = Plan(head=3, blocks=())
    with pytest.raises(Kill):
        trained(plan, data, tmp_path, listeners=[killed_in(2)[1]])
    heard, listener = killed_in(1)
    with pytest.raises(Kill):
        trained(plan, data, tmp_path, listeners=[listener])
    assert heard == [0]
    assert not (tmp_path / "checkpoints" / "state.npz").exists()


def test_seconds_are_those_of_all_sessions(data, tmp_path, monkeypatch):
    plan = Plan(head=2, blocks=())
    clock = itertools.count()
    monkeypatch.setattr(
        _trainer, "time", SimpleNamespace(perf_counter=lambda: float(next(clock)), monotonic=time.monotonic)
    )
    with pytest.raises(Kill):
        trained(plan, data, tmp_path, listeners=[killed_in(2)[1]])
    assert trained(plan, data, tmp_path, resume=True).trained.seconds == 1 + 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_process_killed_at_random_moments_equals_one_that_is_not(bccd, tmp_path):
    def start(folder: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", "import bloodcell.training.state as s, runpy, sys; s.MAX_SHARE = float('inf'); "]
        words[-1] += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
        return subprocess.Popen(
            [*words, tiny.__file__, str(bccd), str(folder), "7", "12"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_epoch(process: subprocess.Popen[str]) -> float:
        assert process.stderr is not None
        assert any("epoch " in line for line in process.stderr)
        return time.monotonic()

    whole = start(tmp_path / "undisturbed")
    began = wait_for_epoch(whole)
    output, _ = whole.communicate()
    seconds = time.monotonic() - began
    moments = random.Random(3)
    resumed_at = []
    for _ in range(4):
        process = start(tmp_path / "killed")
        assert process.stderr is not None
        resumed_at.append(next((line for line in process.stderr if "epoch " in line), ""))
        time.sleep(moments.uniform(0, seconds / 3))
        process.kill()
        process.communicate()
    assert len(set(resumed_at)) > 1
    last = start(tmp_path / "killed")
    resumed, errors = last.communicate()
    assert last.returncode == 0, errors
    assert json.loads(resumed) == json.loads(output)
