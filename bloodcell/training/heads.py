"""Computing a head's standardisation, or the weights of a linear head, without epochs."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from bloodcell.data.pipeline import Samples
from bloodcell.data.sampling import Sampling, source_weights
from bloodcell.models.classifier import Classifier
from bloodcell.training.features import Features
from bloodcell.training.learner import Learner
from bloodcell.training.solver import moments, solve_linear
from bloodcell.training.stage_data import StageFeatures, head_rows


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


def fit_standardising(learner: Learner, features: Features | None, samples: Samples) -> None:
    """Set the means and variances of a head's standardisation from the training images.

    Nothing is done if the head does not standardise. The features are as for
    `bloodcell.training.stage_data.head_rows`.
    """
    layer = learner.classifier.head.standardise
    if layer is None:
        return
    rows, chosen = head_rows(learner.classifier, features, samples, batch_size=learner.settings.batch_size)
    weights = image_weights(samples, "none", sampling=learner.settings.sampling)
    mean, variance = moments(rows, weights=None if weights is None else weights[chosen])
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)


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
        The head of its classifier must be one dense layer; call `fit_standardising` first.
    features
        The features of the head's stage.
    train_samples, val_samples
        The images.

    Returns
    -------
    dict
        ``loss, accuracy, val_loss, val_accuracy``; losses include the L2 penalty, as in Keras.
    """
    classifier, settings, l2 = learner.classifier, learner.settings, learner.l2
    size = settings.batch_size
    (dense,) = classifier.head.stack
    rows, chosen = head_rows(classifier, features.training, train_samples, batch_size=size)
    labels = train_samples.labels[chosen]
    weights = image_weights(train_samples, settings.class_weights, sampling=settings.sampling)
    kernel, bias = solve_linear(
        rows := _standardised(classifier, rows),
        labels,
        n_classes=train_samples.n_classes,
        l2=l2,
        weights=None if weights is None else weights[chosen],
    )
    dense.set_weights([kernel, bias])
    penalty = l2 * float(np.square(kernel).sum())
    loss, accuracy = _loss_and_accuracy(rows @ kernel + bias, labels)
    val_rows, val_chosen = head_rows(classifier, features.validation, val_samples, batch_size=size)
    val_logits = _standardised(classifier, val_rows) @ kernel + bias
    val_weights = None if val_samples.weights is None else val_samples.weights[val_chosen]
    val_loss, val_accuracy = _loss_and_accuracy(val_logits, val_samples.labels[val_chosen], weights=val_weights)
    return {
        "loss": loss + penalty,
        "accuracy": accuracy,
        "val_loss": val_loss + penalty,
        "val_accuracy": val_accuracy,
    }


def _standardised(classifier: Classifier, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    layer = classifier.head.standardise
    if layer is None:
        return rows
    mean, variance = (np.asarray(moment) for moment in (layer.moving_mean, layer.moving_variance))
    return np.asarray((rows - mean) / np.sqrt(variance + layer.epsilon), np.float32)


def _loss_and_accuracy(
    logits: NDArray[np.float32], labels: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Return the weighted mean cross-entropy and accuracy."""
    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    correct = logits.argmax(axis=1) == labels
    return float(np.average(losses, weights=weights)), float(np.average(correct, weights=weights))
