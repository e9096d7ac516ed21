"""A learner: a classifier and how it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bloodcell.config.model import Solver
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
        From `bloodcell.training.stages.plan_stages`.
    settings
        Batch size, optimizer, loss, early stopping, seed.
    augmentation
        Of the training images.
    cache
        Stores features of frozen layers; None: every epoch computes them.
    n_views
        Number of stored augmented views of an image; each epoch draws one.
    solver
        How the first stage trains the head: ``gradient`` descent in epochs; or, of a linear head and as one epoch,
        ``lbfgs`` to convergence, ``ridge`` or ``lda`` in closed form.
    l2
        The head's penalty, if it is solved; ``auto``: chosen by leaving out groups of the training images.
    steps_per_epoch
        Number of batches of an epoch; None: all images.
    """

    classifier: Classifier
    stages: Sequence[Stage]
    settings: HyperparametersConfig
    augmentation: Augmentation
    cache: FeatureCache | None = None
    n_views: int = 1
    solver: Solver = "gradient"
    l2: float | Literal["auto"] = 0.0
    steps_per_epoch: int | None = None

    @property
    def only_trains_a_head(self) -> bool:
        """Whether it trains nothing but a head on stored features."""
        stored = self.cache is not None or not self.classifier.backbone.takes_images
        return stored and len(self.stages) == 1
