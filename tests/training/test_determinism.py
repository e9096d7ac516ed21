import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from training import tiny

from bloodcell.models.backbones import build_backbone
from bloodcell.training.determinism import make_deterministic


@pytest.fixture(scope="module")
def data(bccd):
    return tiny.data(bccd)


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    return tiny.repeatable(data, tmp_path_factory.mktemp("first"), seed=7)


def test_the_same_seed_gives_the_same_training_to_the_last_digit(first, data, tmp_path):
    again = tiny.repeatable(data, tmp_path, seed=7)
    pd.testing.assert_frame_equal(again[0].history, first[0].history, check_exact=True)
    np.testing.assert_array_equal(again[1], first[1])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_training_in_another_process(first, bccd, tmp_path):
    program = Path(tiny.__file__)
    output = subprocess.run(
        [sys.executable, str(program), str(bccd), str(tmp_path), "7", "2"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    there = json.loads(output)
    pd.testing.assert_frame_equal(pd.DataFrame(there["history"]), first[0].history, check_exact=True)
    np.testing.assert_array_equal(np.float32(there["probabilities"]), first[1])


def test_another_seed_gives_another_training(first, data, tmp_path):
    other = tiny.repeatable(data, tmp_path, seed=8)
    assert (other[0].history["train_loss"] != first[0].history["train_loss"]).all()
    assert np.abs(other[1] - first[1]).max() > 1e-3


def test_a_seed_settles_the_weights_and_the_names_of_layers():
    built = []
    for seed in (3, 3, 4):
        make_deterministic(seed)
        built.append(build_backbone(name="MobileNet", input_size=32, weights=None))
    assert built[0].digest == built[1].digest != built[2].digest
    first, second, _ = ([layer.name for layer in backbone.application.layers] for backbone in built)
    assert first == second
    assert keras.layers.Dense(1).name == "dense"
