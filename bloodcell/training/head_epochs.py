"""Epochs of a head on stored features."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bloodcell.data.pipeline import Epochs, Samples
from bloodcell.processes import one_blas_thread
from bloodcell.training.features import Features
from bloodcell.training.head_steps import HeadSteps, Sums
from bloodcell.training.heads import class_weights
from bloodcell.training.learner import Learner
from bloodcell.training.optimizers import learning_rates
from bloodcell.training.stage_data import EVALUATION_BATCH_SIZE, blocks, draw, head_rows, in_order, one_hot_of
from bloodcell.training.stages import Stage


def has_own_steps(learner: Learner) -> bool:
    """Return whether `HeadEpochs` can train a learner's head; if not, Keras does."""
    settings = learner.settings
    single_precision = learner.classifier.core.dtype_policy.name == "float32"
    return single_precision and not (settings.mixup or settings.weight_averaging)


class HeadEpochs:
    """A head, and the epochs that train it on stored features.

    Results equal those of Keras's ``fit`` on the batches of `bloodcell.training.stage_data.feature_batches` but for
    rounding, and do not depend on what else is trained at the same time.

    Parameters
    ----------
    learner
        Its head is trained in place.
    stage
        The stage, whose ``boundary`` is None.
    training, validation
        The features.
    train_samples, val_samples
        Their images.
    steps
        Batches in an epoch.

    Attributes
    ----------
    steps
        The head's weights and optimizer.
    rates
        The learning rate of each step of the stage.
    """

    def __init__(
        self,
        learner: Learner,
        stage: Stage,
        *,
        training: Features,
        validation: Features,
        train_samples: Samples,
        val_samples: Samples,
        steps: int,
    ) -> None:
        settings = learner.settings
        training, train_samples = _projected(learner, training, train_samples)
        validation, val_samples = _projected(learner, validation, val_samples)
        self._training, self._validation = training, validation
        self._train_samples, self._val_samples = train_samples, val_samples
        self._epochs = Epochs(
            steps=steps, batch_size=settings.batch_size, seed=settings.seed, sampling=settings.sampling
        )
        by_class = class_weights(train_samples, settings.class_weights, sampling=settings.sampling) or {}
        self._weights = np.array([by_class.get(label, 1.0) for label in train_samples.labels.tolist()], np.float32)
        weights = np.ones(len(val_samples)) if val_samples.weights is None else val_samples.weights
        self._val_weights = weights.astype(np.float32)
        self._one_hot, self._val_one_hot = one_hot_of(train_samples), one_hot_of(val_samples)
        self.steps = HeadSteps(learner.classifier.head, settings)
        self.rates = learning_rates(settings, learning_rate=stage.learning_rate, total_steps=steps * stage.epochs)

    def train(
        self, number: int, *, first_step: int, progress: Callable[[int, dict[str, float]], None]
    ) -> dict[str, float]:
        """Train an epoch, and return its ``loss`` and ``accuracy``.

        Parameters
        ----------
        number
            Counted over all stages: order and views depend on it.
        first_step
            The number of steps of the stage before it.
        progress
            Called after every few batches with their number so far, and the epoch's ``loss`` and ``accuracy`` so far.
        """
        sums, n_images, weight, done = Sums(0.0, 0.0, 0.0), 0, 0.0, 0
        means: dict[str, float] = {}
        drawn = draw(self._training, self._train_samples, self._epochs, number)
        for rows, chosen in blocks(drawn, self._training, self._train_samples, batch_size=self._epochs.batch_size):
            rates = self.rates[first_step + done : first_step + done + len(rows)]
            added = self.steps.train(rows, self._one_hot[chosen], self._weights[chosen], rates)
            sums = Sums(*(total + each for total, each in zip(sums, added, strict=True)))
            n_images, weight, done = n_images + chosen.size, weight + self._weights[chosen].sum(), done + len(rows)
            means = self._means(sums, n_images=n_images, weight=weight)
            progress(done, means)
        return means

    def validate(self) -> dict[str, float]:
        """Return ``loss`` and ``accuracy`` on the validation images."""
        sums, size = Sums(0.0, 0.0, 0.0), EVALUATION_BATCH_SIZE
        everything = in_order(self._validation)
        for rows, chosen in blocks(everything, self._validation, self._val_samples, batch_size=size):
            images = chosen.ravel()
            added = self.steps.evaluate(
                rows.reshape(len(images), -1), self._val_one_hot[images], self._val_weights[images]
            )
            sums = Sums(*(total + each for total, each in zip(sums, added, strict=True)))
        return self._means(sums, n_images=len(self._val_samples), weight=float(self._val_weights.sum()))

    def _means(self, sums: Sums, *, n_images: int, weight: float) -> dict[str, float]:
        # As Keras: losses are divided by the number of images; weights count in the accuracy if validation has some.
        if self._val_samples.weights is None:
            return {"loss": sums.loss / n_images, "accuracy": sums.correct / n_images}
        return {"loss": sums.loss / n_images, "accuracy": sums.weighted_correct / float(weight)}


@one_blas_thread()
def _projected(learner: Learner, features: Features, samples: Samples) -> tuple[Features, Samples]:
    """Return features as the head projects them, once for all epochs, and samples without those that it includes."""
    classifier = learner.classifier
    if classifier.head.projection is None:
        return features, samples
    rows, _ = head_rows(classifier, features, samples, batch_size=learner.settings.batch_size)
    projected = classifier.head.projected(rows)
    places = np.arange(len(projected)).reshape(features.places.shape)
    return Features(rows=projected, places=places), replace(samples, extra_features=None)
