"""A learner: a classifier and how it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bloodcell.config.training import HyperparametersConfig
from bloodcell.data.augmentation import Augmentation
from bloodcell.models.classifier import Classifier
from bloodcell.training.features import FeatureCache
from bloodcell.training.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A classifier and how it is trained.

    Attributes
    ----------
    classifier
        Trained in place.
    stages
        As of `bloodcell.training.stages.plan_stages`.
    settings
        Batch size, optimizer, loss, early stopping, seed.
    augmentation
        Of the training images.
    cache
        Where features of frozen layers are stored; None: every epoch computes them.
    n_views
        How many augmented views of an image are stored; each epoch draws one.
    solver
        How the head is trained in the first stage: by ``gradient`` in epochs, or by ``lbfgs`` to convergence, which
        needs a linear head and counts as one epoch.
    l2
        The head's penalty, for ``lbfgs``.
    steps_per_epoch
        Batches after which an epoch ends; None: after all images.
    """

    classifier: Classifier
    stages: Sequence[Stage]
    settings: HyperparametersConfig
    augmentation: Augmentation
    cache: FeatureCache | None = None
    n_views: int = 1
    solver: Literal["gradient", "lbfgs"] = "gradient"
    l2: float = 0.0
    steps_per_epoch: int | None = None
