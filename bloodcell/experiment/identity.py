"""What identifies the result of an experiment."""

import hashlib
import json
from importlib.metadata import version
from typing import Any

from bloodcell.config.parameters import parameters_of

WITHOUT_EFFECT = (
    *("data.root", "data.train_dir", "data.val_dir", "data.test_dir", "data.groups_file", "data.table"),
    *("data.folder", "data.labels_file", "data.exclude_file"),  # the images' digest counts
    "backbone.weights",  # the weights' digest counts
    "features.dir",
    *("baselines", "ensemble"),  # other runs
)
"""Settings that do not change a run's result."""
PACKAGES = ("bloodcell", "keras", "tensorflow")


def experiment_digest(config: Any, *, data_digest: str, weights_digest: str) -> str:
    """Return 16 hexadecimal digits that change with anything a result depends on.

    Two runs with the same digest on the same machine have the same result. ``tracking`` and the settings in
    `WITHOUT_EFFECT` do not count; the versions of bloodcell, Keras and TensorFlow do.

    Parameters
    ----------
    config
        A `bloodcell.config.training.TrainConfig`, with the seed of the run.
    data_digest
        Digest of the images and their split, see `bloodcell.experiment.images.Prepared`.
    weights_digest
        Digest of the backbone's weights before training, see `bloodcell.models.extractors.FeatureExtractor`.
    """
    parameters = {name: value for name, value in parameters_of(config).items() if not name.startswith(WITHOUT_EFFECT)}
    versions = {name: version(name) for name in PACKAGES}
    text = json.dumps([parameters, data_digest, weights_digest, versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
