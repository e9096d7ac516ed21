"""The map of images: near images, novel images, and coordinates of two maps."""

import numpy as np
import pytest

from bloodcell.explorer.embedding import as_columns, make_space, novelty_of, umap_points
from bloodcell.explorer.features import stored_space
from bloodcell.training.feature_store import FeatureStore

COPIES = 3


@pytest.fixture(scope="module")
def features():
    """Twenty photographs of two kinds, three copies each; the last photograph is unlike all others."""
    generator = np.random.default_rng(0)
    centres = np.repeat([[0.0] * 8, [6.0] * 8], 10, axis=0) + generator.normal(size=(20, 8))
    centres[-1] = 40
    return np.repeat(centres, COPIES, axis=0) + 0.01 * generator.normal(size=(20 * COPIES, 8))


SOURCES = np.repeat(np.arange(20), COPIES)


def test_neighbours_are_of_other_photographs_one_of_each(features):
    known = np.ones(len(features), bool)
    known[4] = False
    space = make_space(features, known, name="made up")
    near = space.nearest(0, sources=SOURCES, n=9)
    assert sorted(SOURCES[near]) == list(range(1, 10))
    assert 4 not in near
    assert space.nearest(4, sources=SOURCES) == []


def test_an_image_unlike_the_training_images_is_novel(features):
    space = make_space(features, np.ones(len(features), bool), name="made up")
    trained = SOURCES < 19
    novelty = novelty_of(space, sources=SOURCES, trained=trained)
    assert novelty[SOURCES == 19].min() > 1 > np.median(novelty[trained])
    assert novelty_of(space, sources=SOURCES, trained=SOURCES == 0) is None


def test_coordinates_are_within_the_map_and_keep_their_shape():
    columns = as_columns(np.array([[0.0, 0.0], [4.0, 2.0], [np.nan, np.nan]]))
    assert columns == {"x": [0.0, 1.0, None], "y": [0.25, 0.75, None]}


def test_features_that_a_training_stored_are_used(features, tmp_path):
    store = FeatureStore(tmp_path)
    digests = [f"{number:064x}" for number in range(len(features))]
    table = store.table({"backbone": "Net", "augmentation": None}, width=8, dtype="float32")
    with table.adding():
        table.add([(bytes.fromhex(digest), 0) for digest in digests], features)
    found = stored_space([*digests, ""], backbones=["Other", "Net"], store=store)
    assert found.known.tolist() == [True] * len(features) + [False]
    assert stored_space(digests, backbones=["Other"], store=store) is None
    assert stored_space(["f" * 64] * 3, backbones=["Net"], store=store) is None


@pytest.mark.slow
def test_umap_is_cached_and_the_same_each_time(features, monkeypatch, tmp_path):
    pytest.importorskip("umap", reason="needs umap-learn (`uv sync --group dev`)")
    space = make_space(features, np.ones(len(features), bool), name="made up")
    first = umap_points(space)
    cached = umap_points(space)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    np.testing.assert_array_equal(first, cached)
    np.testing.assert_allclose(umap_points(space), first, atol=1e-4)
