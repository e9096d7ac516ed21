import hashlib

import numpy as np
import pytest
from data.photographs import save

from bloodcell.config.composition import compose_config
from bloodcell.experiment.training import prepare_experiment
from bloodcell.images.reading import read_image
from bloodcell.jobs.train import train
from bloodcell.models.extractors import FeatureSet
from bloodcell.models.feature_sets import FEATURE_SETS, compute_features, count_features, image_features


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path, photographs):
    return [save(tmp_path / "images", str(number), pixels) for number, pixels in enumerate(photographs(3))]


def computed(files, *names):
    return compute_features(files, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], names)


@pytest.mark.parametrize("names", [("majority",), ("morphology", "colour_histogram", "majority")])
def test_feature_sets_have_the_stated_number_of_features(files, names):
    rows = computed(files, *names)
    assert rows.shape == (3, count_features(names))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_the_majority_class_reads_no_image(tmp_path):
    rows = compute_features([tmp_path / "there is no such file"] * 2, ["0" * 64, "1" * 64], ("majority",))
    np.testing.assert_array_equal(rows, np.zeros((2, 1)))


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_features_of_one_image_equal_those_of_many_also_from_the_cache(files, name):
    rows, cached = computed(files, name), computed(files, name)
    np.testing.assert_array_equal(rows, cached)
    for row, file in zip(rows, files, strict=True):
        np.testing.assert_array_equal(image_features(read_image(file), (name,)), row)


def test_feature_sets_are_in_the_order_of_their_names(files):
    one, other = computed(files, "colour_histogram"), computed(files, "morphology")
    np.testing.assert_array_equal(computed(files, "morphology", "colour_histogram"), np.hstack([other, one]))
    np.testing.assert_array_equal(computed(files, "colour_histogram", "morphology"), np.hstack([one, other]))


@pytest.mark.parametrize("name", ["colour_histogram", "morphology"])
def test_features_of_images_differ(files, name):
    assert len(np.unique(computed(files, name), axis=0)) == 3


def mean_colour(pixels):
    return pixels.mean(axis=(0, 1)).astype(np.float32) / 255


def test_a_new_feature_set_needs_a_registration_and_a_configuration_file(bccd, tmp_path, monkeypatch):
    new = FeatureSet(
        name="mean_colour",
        description="the mean colour of the image",
        n_features=3,
        compute=mean_colour,
        compute_files=lambda files, _: np.stack([mean_colour(read_image(file)) for file in files]),
    )
    monkeypatch.setitem(FEATURE_SETS, new.name, new)
    (tmp_path / "conf" / "backbone").mkdir(parents=True)
    settings = "name: mean_colour\ninput_size: 224\nweights: null\ninterpolation: bilinear\ntaps: []\n"
    (tmp_path / "conf" / "backbone" / "mean_colour.yaml").write_text(settings)
    own = [
        "data=bccd",
        f"data.root={bccd}",
        "data.groups=pattern",
        "data.groups_pattern='(.+)'",
        "data.group_name=photograph",
    ]
    own += ["backbone=mean_colour", "head=probe", "log_model=false", f"tracking.dir={tmp_path}/mlruns"]
    config = compose_config("train", [*own, f"hydra.searchpath=[file://{tmp_path}/conf]"])
    result = train(prepare_experiment(config), output_dir=tmp_path / "run")
    assert result.predictions.filter(like="p_").nunique().min() > 1  # the majority class gives all images the same
    assert "mean_colour" in (tmp_path / "run" / "artifacts" / "config.yaml").read_text()
    assert np.isfinite(result.history["val_loss"]).all()
