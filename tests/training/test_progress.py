import io
import re
import sys

import keras
import numpy as np
import pytest
from rich.console import Console
from training import tiny

import bloodcell.training.progress
from bloodcell.console.progress import Reporting
from bloodcell.training.progress import EpochProgress
from bloodcell.training.trainer import train

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def model() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(loss="categorical_crossentropy", metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")])
    return model


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=160, highlight=False, soft_wrap=True)
    monkeypatch.setattr(bloodcell.training.progress, "stderr_console", lambda: console)
    return written


@pytest.fixture
def plain(monkeypatch) -> None:
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)


def fit(model: keras.Model, progress: EpochProgress, *others: keras.callbacks.Callback) -> None:
    inputs, targets = np.ones((8, 3)), np.eye(2)[[0, 1] * 4]
    model.fit(inputs, targets, batch_size=2, epochs=3, validation_split=0.25, callbacks=[progress, *others], verbose=0)


def test_without_a_terminal_every_epoch_is_one_plain_line(model, plain, capsys):
    progress = EpochProgress(stage="2: head")
    fit(model, progress)
    progress.close()
    output = capsys.readouterr()
    assert output.out == ""
    number = r"\d+\.\d{4}"
    values = f"loss {number} accuracy {number}"
    for epoch, line in enumerate(output.err.splitlines(), start=1):
        assert re.fullmatch(rf"2: head: epoch {epoch}/3  training {values}  validation {values}  \d+ s", line), line
    assert len(output.err.splitlines()) == 3


def test_without_a_terminal_a_long_epoch_says_where_it_is(model, plain, capsys, monkeypatch):
    monkeypatch.setattr(bloodcell.training.progress, "INTERVAL", -1)
    fit(model, EpochProgress(stage="head"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("head: epoch 1/3  batch 1/3  loss ")
    assert len(lines) == 3 * (3 + 1)


def test_a_terminal_shows_batches_metrics_and_epochs_and_is_restored(model, terminal):
    before = sys.stdout, sys.stderr
    progress = EpochProgress(stage="head")
    fit(model, progress)
    progress.close()
    written = terminal.getvalue()
    assert "head: epoch 1/3" in written
    assert "batch 3/3" in written
    assert "head: epoch 3/3  training loss" in written
    assert written.count(HIDE_CURSOR) == written.count(SHOW_CURSOR) == 1
    assert written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)
    assert (sys.stdout, sys.stderr) == before


def test_a_narrow_terminal_still_shows_the_time_left(model, monkeypatch):
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, highlight=False, soft_wrap=True)
    monkeypatch.setattr(bloodcell.training.progress, "stderr_console", lambda: console)
    progress = EpochProgress(stage="fold 2 of 5: from block5")
    fit(model, progress)
    progress.close()
    assert re.search(r"epoch 3/3 .*\d:\d\d:\d\d", written.getvalue())


def test_a_terminal_is_restored_after_an_error(terminal, bccd, tmp_path):
    def listener(epoch) -> None:
        assert HIDE_CURSOR in terminal.getvalue()
        assert SHOW_CURSOR not in terminal.getvalue()
        raise KeyboardInterrupt

    before = sys.stdout, sys.stderr
    data = tiny.data(bccd)
    with pytest.raises(KeyboardInterrupt):
        train(
            tiny.learner(tiny.classifier()),
            train_samples=data.train,
            val_samples=data.val,
            folder=tmp_path,
            listeners=[listener],
            reporting=Reporting(label="3: "),
        )
    assert SHOW_CURSOR in terminal.getvalue()
    assert "3: head" in terminal.getvalue()
    assert (sys.stdout, sys.stderr) == before


def test_closing_twice_or_before_training_is_harmless(terminal):
    progress = EpochProgress(stage="head")
    progress.close()
    progress.close()
    assert terminal.getvalue() == ""
