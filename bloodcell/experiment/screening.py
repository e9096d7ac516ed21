"""Screening of stored features: accuracy of closed-form heads by leave-one-group-out, without a training.

Every image is predicted by a head that was fitted without the image's group. Only images outside the test set are used.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from bloodcell.config.training import TrainConfig
from bloodcell.data.manifest import ImageSet
from bloodcell.data.pipeline import Samples
from bloodcell.errors import UserError
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.intervals import score_interval
from bloodcell.evaluation.scores import SCORES, Predictions
from bloodcell.experiment.fold import build_learner, samples_for
from bloodcell.training.closed_form import ClosedForm, Method, blocks_of, closed_form, fit_scale, log_loss
from bloodcell.training.feature_store import StoreFullError
from bloodcell.training.left_out import permuted_recalls, removal_effects
from bloodcell.training.solver import moments
from bloodcell.training.stage_data import head_rows, no_features

Floats = NDArray[np.float64]

MAX_REMOVED = 300
"""Most groups whose influence is computed; of more, those of the largest mean log loss."""
LEAST_VARIANCE = 1e-6
"""Added to variances before features are divided by their roots, as `bloodcell.models.heads` does."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The screened images: classes, and for each image the path, class, group and source."""

    classes: tuple[str, ...]
    table: pd.DataFrame
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    sources: NDArray[np.int64]

    @classmethod
    def of(cls, images: ImageSet) -> "Images":
        """Return the images of the training part.

        Raises
        ------
        UserError
            If there are fewer than two groups or classes.
        """
        table = images.part("train")
        if table["group"].nunique() < 2 or table["label"].nunique() < 2:
            raise UserError(
                f"data: the training images are of {table['group'].nunique()} groups and {table['label'].nunique()} "
                "classes; a group is left out at a time, so give at least two of each"
            )
        return cls(
            classes=images.classes,
            table=table[["path", "label", "group", "source"]],
            labels=images.class_indices(table),
            groups=np.asarray(pd.factorize(table["group"], sort=True)[0], np.int64),
            sources=np.asarray(pd.factorize(table["source"], sort=True)[0], np.int64),
        )

    def predictions(self, probabilities: Floats) -> Predictions:
        """Return predictions of the images, (n, k)."""
        return Predictions(labels=self.labels, probabilities=probabilities, groups=self.groups, sources=self.sources)


@dataclass(frozen=True, kw_only=True)
class Screened:
    """The result for one set of features.

    Attributes
    ----------
    backbone, pooling, width
        The features; the pooling of hand-made features is empty.
    curve
        A row for each strength, ascending: ``l2``, ``log_loss`` (of probabilities by one scale), ``scale``, and
        ``accuracy`` and ``photograph_accuracy`` in 0..1 with the ends of their 95 % intervals, ``_low`` and ``_high``.
    best
        The row of the least log loss.
    p_value
        From `permutation_p_value`; None: not computed.
    """

    backbone: str
    pooling: str
    width: int
    curve: pd.DataFrame
    best: int
    p_value: float | None = None

    @property
    def name(self) -> str:
        """The backbone and the pooling."""
        return f"{self.backbone}, {self.pooling}" if self.pooling else self.backbone

    @property
    def row(self) -> dict[str, float]:
        """The values of the curve at the best strength."""
        return {str(name): float(value) for name, value in self.curve.iloc[self.best].items()}


def features_of(config: TrainConfig, images: ImageSet, *, poolings: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    """Return the features of the training images by pooling, stored or computed now; hand-made ones have no pooling.

    ``config`` has ``head.pooling=both``.
    """
    learner = build_learner(config, n_classes=len(images.classes), backbone_seed=config.hyperparameters.seed)
    classifier = learner.classifier
    samples: Samples = samples_for(learner, config, images, "train")
    features = None
    if not classifier.backbone.takes_images:
        features = no_features(samples)
    elif learner.cache is not None:
        try:
            features = learner.cache.features(samples, boundary=None)
        except StoreFullError:
            features = None  # they are computed, and not stored
    rows, _ = head_rows(classifier, features, samples, batch_size=config.hyperparameters.batch_size)
    if not classifier.backbone.takes_images:
        return {"": rows}
    channels = classifier.channels
    columns = {"average": slice(channels), "max": slice(channels, 2 * channels), "both": slice(2 * channels)}
    return {pooling: rows[:, columns[pooling]] for pooling in poolings}


def prepare(features: NDArray[np.float32], images: Images, *, method: Method) -> ClosedForm:
    """Scale features to variance 1 and decompose them."""
    return closed_form(scaled(features), images.labels, method=method, n_classes=len(images.classes))


def scaled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale features (n, width) to mean 0 and variance 1."""
    mean, variance = moments(features)
    return np.asarray((features - mean) / np.sqrt(variance + LEAST_VARIANCE), np.float32)


def screen(prepared: ClosedForm, images: Images, *, backbone: str, pooling: str) -> Screened:
    """Screen one set of features, without a p-value.

    Parameters
    ----------
    prepared
        From `prepare`.
    images
        The images.
    backbone, pooling
        The features.
    """
    rows, strengths = [], prepared.strengths
    for l2, scores in zip(strengths, prepared.leave_out(images.groups, strengths), strict=True):
        scale = fit_scale(scores, images.labels)
        found = accuracies(images, softmax(scale * scores, axis=1))
        rows.append({"l2": l2, "log_loss": log_loss(scale * scores, images.labels), "scale": scale} | found)
    curve = pd.DataFrame(rows)
    return Screened(
        backbone=backbone,
        pooling=pooling,
        width=prepared.mean.size,
        curve=curve,
        best=int(curve["log_loss"].argmin()),
    )


def permutation_p_value(features: NDArray[np.float32], images: Images, *, n: int, seed: int) -> float | None:
    """Return the p-value of n permutations of the groups' labels; None if a group has several classes.

    The statistic is the balanced accuracy on the mean features of the groups, see
    `bloodcell.training.left_out.permuted_recalls`: by image, groups with many images would count more.
    """
    blocks = blocks_of(images.groups)
    labels = np.array([images.labels[block[0]] for block in blocks])
    if (labels[images.groups] != images.labels).any():
        return None
    found = permuted_recalls(
        scaled(np.stack([features[block].mean(axis=0) for block in blocks])), labels, n=n, seed=seed
    )
    return float((found >= found[0] - 1e-12).mean())


def accuracies(images: Images, probabilities: Floats) -> dict[str, float]:
    """Return accuracy by image and by photograph with the ends of their 95 % intervals, which count groups."""
    by_image, score = images.predictions(probabilities), SCORES["accuracy"]
    found: dict[str, float] = {}
    for name, each in (("accuracy", by_image), ("photograph_accuracy", by_image.by_source())):
        interval = score_interval(score, [each])
        found |= {
            name: score.function(each.labels, each.probabilities),
            f"{name}_low": interval.low,
            f"{name}_high": interval.high,
        }
    return found


def majority(images: Images) -> dict[str, float]:
    """Return `accuracies` of the majority class of the images."""
    return accuracies(
        images,
        majority_probabilities(
            training_labels=images.labels, n_classes=len(images.classes), n_images=images.labels.size
        ),
    )


def influence(prepared: ClosedForm, images: Images, best: Screened) -> pd.DataFrame:
    """Return how each group is predicted without itself, and how it changes the predictions of the others.

    Parameters
    ----------
    prepared
        Of ``ridge`` and the features of ``best``.
    images
        The images.
    best
        The screened features.

    Returns
    -------
    pandas.DataFrame
        A row for each group: ``group``, ``label`` and ``predicted`` (of its mean probabilities), ``images``,
        ``probability`` of the predicted class and ``label_probability`` of the true one, which is that of most images;
        and ``effect``: the accuracy on the other groups if it is left out of their training, less that with it, in
        -1..1, NaN if not computed.
    """
    l2, scale = best.row["l2"], best.row["scale"]
    (scores,) = prepared.leave_out(images.groups, np.array([l2]))
    probabilities, blocks = softmax(scale * scores, axis=1), blocks_of(images.groups)
    means = np.stack([probabilities[block].mean(axis=0) for block in blocks])
    labels = np.array([np.bincount(images.labels[block]).argmax() for block in blocks])
    predicted, each = means.argmax(axis=1), np.arange(len(blocks))
    chosen = np.sort(np.argsort(means[each, labels], kind="stable")[:MAX_REMOVED])
    effects = np.full(len(blocks), np.nan)
    effects[chosen] = removal_effects(prepared, images.groups, l2, of=chosen.tolist())
    names = np.array(images.classes)
    return pd.DataFrame(
        {
            "group": [images.table["group"].iloc[block[0]] for block in blocks],
            "label": names[labels],
            "predicted": names[predicted],
            "images": [block.size for block in blocks],
            "probability": means[each, predicted],
            "label_probability": means[each, labels],
            "effect": effects,
        }
    )
