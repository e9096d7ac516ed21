import keras
import numpy as np
import pytest

from bloodcell.training.checkpoints import Checkpoints


@pytest.fixture
def model() -> keras.Model:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


@pytest.fixture
def checkpoints(model, tmp_path) -> Checkpoints:
    return Checkpoints(model=model, folder=tmp_path / "check points", monitor="val_loss")


def become(model: keras.Model, value: float) -> None:
    model.set_weights([np.full((1, 1), value)])


def kept(model: keras.Model, file) -> float:
    other = keras.models.clone_model(model)
    other.load_weights(file)
    return float(other.get_weights()[0].item())


@pytest.mark.parametrize(
    ("monitor", "values", "best"), [("val_loss", [3.0, 1.0, 2.0], 1), ("val_accuracy", [0.5, 0.2, 0.9], 2)]
)
def test_the_best_and_the_last_epoch_are_saved(model, tmp_path, monitor, values, best):
    checkpoints = Checkpoints(model=model, folder=tmp_path, monitor=monitor)
    is_best = []
    for epoch, value in enumerate(values):
        become(model, epoch)
        is_best.append(checkpoints.keep(epoch, {monitor: value}))
    checkpoints.write()
    assert model.get_weights()[0].item() == len(values) - 1
    assert (kept(model, checkpoints.best), kept(model, checkpoints.last)) == (best, len(values) - 1)
    assert checkpoints.best_epoch == best
    assert [is_best[epoch] for epoch in (0, best)] == [True, True]
    checkpoints.restore(checkpoints.best)
    assert model.get_weights()[0].item() == best


def test_the_first_of_equally_good_epochs_is_the_best(model, checkpoints):
    assert [checkpoints.keep(epoch, {"val_loss": 1.0}) for epoch in range(3)] == [True, False, False]
    assert checkpoints.best_epoch == 0


def test_only_the_two_files_are_written(checkpoints):
    for epoch in range(2):
        checkpoints.keep(epoch, {"val_loss": -epoch})
        checkpoints.write()
    assert {file.name for file in checkpoints.best.parent.iterdir()} == {"best.weights.h5", "last.weights.h5"}


def test_a_failed_write_does_not_damage_the_old_checkpoint(model, checkpoints, monkeypatch):
    become(model, 5)
    checkpoints.keep(0, {"val_loss": 1.0})
    checkpoints.write()

    def fill_the_disk(path, **_):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    become(model, 6)
    checkpoints.keep(1, {"val_loss": 0.5})
    monkeypatch.setattr(model, "save_weights", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write()
    assert (kept(model, checkpoints.best), kept(model, checkpoints.last)) == (5, 5)
    assert len(list(checkpoints.best.parent.iterdir())) == 2
