"""Computing a head's standardisation, projection, or the weights of a linear head, without epochs."""

import logging
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from bloodcell.console.progress import print_status
from bloodcell.data.pipeline import Samples
from bloodcell.data.sampling import Sampling, source_weights
from bloodcell.errors import UserError
from bloodcell.processes import one_blas_thread
from bloodcell.training.closed_form import NEVER, Choice, ClosedForm, best_strength, closed_form
from bloodcell.training.features import Features
from bloodcell.training.learner import Learner
from bloodcell.training.projection import principal_components
from bloodcell.training.solver import moments, solve_linear
from bloodcell.training.stage_data import StageFeatures, head_rows

log = logging.getLogger(__name__)


def class_weights(samples: Samples, kind: str, *, sampling: Sampling = "images") -> dict[int, float] | None:
    """Return class weights, inverse to the number of images of a class; the mean over images is 1.

    None if photographs are sampled: then every class has equally many images.
    """
    if kind == "none" or sampling == "photographs":
        return None
    labels, counts = np.unique(samples.labels, return_counts=True)
    weights = len(samples) / (len(labels) * counts)
    return dict(zip(labels.tolist(), weights.tolist(), strict=True))


def image_weights(samples: Samples, kind: str, *, sampling: Sampling) -> NDArray[np.float64] | None:
    """Return each image's mean weight in the loss over epochs, shape (n,).

    Parameters
    ----------
    samples
        The images.
    kind
        As for `class_weights`.
    sampling
        See `bloodcell.data.sampling`.
    """
    if sampling == "photographs":
        return source_weights(samples.labels, samples.source_ids)
    weights = class_weights(samples, kind)
    return None if weights is None else np.array([weights[label] for label in samples.labels.tolist()])


@one_blas_thread()
def fit_frozen_layers(learner: Learner, features: Features | None, samples: Samples) -> None:
    """Set a head's standardisation and projection from the training images.

    Nothing is done if the head has neither. The features are as for `bloodcell.training.stage_data.head_rows`.

    Raises
    ------
    UserError
        If there are too few features or images for the projection.
    """
    head = learner.classifier.head
    if head.standardise is None and head.projection is None:
        return
    rows, chosen = head_rows(learner.classifier, features, samples, batch_size=learner.settings.batch_size)
    weights = image_weights(samples, "none", sampling=learner.settings.sampling)
    weights = None if weights is None else weights[chosen]
    if head.standardise is not None:
        mean, variance = moments(rows, weights=weights)
        head.standardise.moving_mean.assign(mean)
        head.standardise.moving_variance.assign(variance)
    if head.projection is not None:
        kernel, bias = principal_components(head.scaled(rows), int(head.projection.units), weights=weights)
        head.projection.set_weights([kernel, bias])


@one_blas_thread()
def solve_head(
    learner: Learner,
    features: StageFeatures,
    train_samples: Samples,
    val_samples: Samples,
) -> dict[str, float]:
    """Set the weights of a linear head that minimise its loss on the training images.

    Parameters
    ----------
    learner
        The head of its classifier must be one dense layer; call `fit_frozen_layers` first.
    features
        The features of the head's stage.
    train_samples, val_samples
        The images.

    Returns
    -------
    dict
        ``loss, accuracy, val_loss, val_accuracy``; losses are cross-entropies, of ``lbfgs`` with the L2 penalty, as in
        Keras.
    """
    head, settings = learner.classifier.head, learner.settings
    size = settings.batch_size
    (dense,) = head.stack
    rows, chosen = head_rows(learner.classifier, features.training, train_samples, batch_size=size)
    labels = train_samples.labels[chosen]
    weights = image_weights(train_samples, settings.class_weights, sampling=settings.sampling)
    weights = None if weights is None else weights[chosen]
    rows, n_classes = head.projected(rows), train_samples.n_classes
    if learner.solver in ("ridge", "lda"):
        groups = train_samples.group_ids[chosen]
        prepared = closed_form(rows, labels, method=learner.solver, n_classes=n_classes, weights=weights)
        kernel, bias = _calibrated_head(prepared, groups, learner.l2)
        penalty = 0.0
    else:
        kernel, bias = solve_linear(rows, labels, n_classes=n_classes, l2=float(learner.l2), weights=weights)
        penalty = float(learner.l2) * float(np.square(kernel).sum())
    dense.set_weights([kernel, bias])
    loss, accuracy = _loss_and_accuracy(rows @ kernel + bias, labels)
    val_rows, val_chosen = head_rows(learner.classifier, features.validation, val_samples, batch_size=size)
    val_logits = head.projected(val_rows) @ kernel + bias
    val_weights = None if val_samples.weights is None else val_samples.weights[val_chosen]
    val_loss, val_accuracy = _loss_and_accuracy(val_logits, val_samples.labels[val_chosen], weights=val_weights)
    return {
        "loss": loss + penalty,
        "accuracy": accuracy,
        "val_loss": val_loss + penalty,
        "val_accuracy": val_accuracy,
    }


def _calibrated_head(
    prepared: ClosedForm, groups: NDArray[np.int64], l2: float | Literal["auto"]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return kernel and bias, scaled so that the probabilities without an image's group have the least log loss."""
    strengths = prepared.strengths if l2 == "auto" else np.array([l2], np.float64)
    if np.unique(groups).size > 1:
        choice = best_strength(prepared, groups, strengths)
    elif l2 == "auto":
        raise UserError("head.l2=auto: the training images are of one group, and none can be left out; give a number")
    else:
        choice = Choice(l2=float(l2), scale=1.0, log_loss=float("nan"))
    if l2 == "auto":
        log.info("head.l2=auto: %.4g, with a log loss of %.4f without an image's group", choice.l2, choice.log_loss)
        print_status(f"head.l2=auto: {choice.l2:.3g} has the least log loss on left-out groups of the training images")
    solved = prepared.solve(choice.l2)
    never = solved.bias <= NEVER  # a class without images, which no scale may make possible
    bias = np.where(never, NEVER, solved.bias * choice.scale)
    return (solved.kernel * choice.scale).astype(np.float32), bias.astype(np.float32)


def _loss_and_accuracy(
    logits: NDArray[np.float32], labels: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Return the weighted mean cross-entropy and accuracy."""
    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    correct = logits.argmax(axis=1) == labels
    return float(np.average(losses, weights=weights)), float(np.average(correct, weights=weights))
