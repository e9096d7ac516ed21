"""Combining the probabilities of several models: their mean, chosen weights, or a model on top of them.

Whatever is fitted counts every photograph once, however many images were made from it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from bloodcell.data.sampling import equal_source_weights
from bloodcell.errors import UserError
from bloodcell.evaluation.folds import photograph_parts

Method = Literal["soft", "weighted", "greedy", "stacking"]
Floats = NDArray[np.float64]

FLOOR = 1e-6
"""The least probability whose logarithm is taken: single precision sums to 1 no better."""
BAG = 0.5
"""The share of the members that a bag of greedy selection chooses from: Caruana et al. 2004, section 2.3."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How weights are fitted.

    Attributes
    ----------
    rounds
        How many members greedy selection takes, each as often as it likes.
    bags
        How many greedy selections are averaged; with 1 it is from all members, with more each from a random half.
    l2
        What the sum of squared differences of stacking's coefficients from those of the members' geometric mean
        counts, half of it, beside the log losses of all photographs.
    folds
        Into how many parts photographs are put, each combined with what was fitted to the others.
    seed
        Of bags and folds.
    """

    rounds: int
    bags: int
    l2: float
    folds: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A weighted mean of probabilities.

    Attributes
    ----------
    weights
        Shape (m,), at least 0, of sum 1.
    """

    weights: Floats

    def combine(self, probabilities: Floats) -> Floats:
        """Return probabilities (n, k) of those of m members, (m, n, k)."""
        return np.asarray(np.tensordot(self.weights, probabilities, axes=1))

    @property
    def shares(self) -> Floats:
        """What each member counts, shape (m,)."""
        return self.weights


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A multinomial logistic regression on the logarithms of the members' probabilities.

    Attributes
    ----------
    kernel
        Shape (m k, k): rows are members' classes, member by member, columns the classes that are predicted.
    bias
        Shape (k,).
    """

    kernel: Floats
    bias: Floats

    def combine(self, probabilities: Floats) -> Floats:
        """Return probabilities (n, k) of those of m members, (m, n, k)."""
        combined: Floats = softmax(logarithms(probabilities) @ self.kernel + self.bias, axis=1)
        return combined

    @property
    def shares(self) -> Floats:
        """By how much a member's logarithm for a class raises that class above the others, on average; shape (m,).

        Of the members' geometric mean it is 1 / m each. It can be below 0.
        """
        k = self.bias.size
        blocks = self.kernel.reshape(-1, k, k)
        own = np.trace(blocks, axis1=1, axis2=2) / k
        others = (blocks.sum(axis=(1, 2)) / k - own) / (k - 1)
        return np.asarray(own - others)


Combination = Mixture | Stack


def fit(
    method: Method,
    *,
    probabilities: Floats,
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    settings: Settings,
) -> Combination:
    """Fit what combines the members.

    Parameters
    ----------
    method
        ``soft``: the mean, nothing is fitted. ``weighted``: the weights of the mean with the least log loss.
        ``greedy``: the same, chosen member by member with replacement (Caruana et al., "Ensemble selection from
        libraries of models", ICML 2004). ``stacking``: a logistic regression on the members' logarithms (Wolpert,
        "Stacked generalization", Neural Networks 5, 1992).
    probabilities
        Shape (m, n, k), of m members; each image's by a model that saw no copy of its photograph.
    labels
        Shape (n,), in 0..k-1.
    groups
        Shape (n,), the photograph of each image.
    settings
        How.
    """
    weight = equal_source_weights(groups)
    of_truth = np.clip(probabilities[:, np.arange(labels.size), labels], FLOOR, None)
    match method:
        case "soft":
            return Mixture(weights=np.full(len(probabilities), 1 / len(probabilities)))
        case "weighted":
            return Mixture(weights=_best_weights(of_truth, weight))
        case "greedy":
            return Mixture(weights=_selected(of_truth, weight, settings))
        case "stacking":
            return _stacked(probabilities, labels, weight, l2=settings.l2)


def cross_fitted(
    method: Method,
    *,
    probabilities: Floats,
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    settings: Settings,
) -> Floats:
    """Return what a combination says of each image when it was fitted to the other photographs only.

    The arguments are those of `fit`; photographs are put into parts at random, of each class about as many in each.

    Returns
    -------
    numpy.ndarray
        Shape (n, k): the honest probabilities of the ensemble. Those of ``soft`` need no parts.

    Raises
    ------
    UserError
        If there is a single photograph, so that there are no others.
    """
    if method == "soft":
        return np.asarray(probabilities.mean(axis=0))
    if np.unique(groups).size < 2:
        raise UserError("method: nothing can be fitted to a single photograph; use method=soft")
    combined = np.empty(probabilities.shape[1:])
    for part in photograph_parts(labels=labels, groups=groups, n_parts=settings.folds, seed=settings.seed):
        others = np.setdiff1d(np.arange(labels.size), part)
        fitted = fit(
            method,
            probabilities=probabilities[:, others],
            labels=labels[others],
            groups=groups[others],
            settings=settings,
        )
        combined[part] = fitted.combine(probabilities[:, part])
    return combined


def photograph_log_loss(probabilities: Floats, *, labels: NDArray[np.int64], groups: NDArray[np.str_]) -> float:
    """Return the mean over photographs of the mean over their images of the log loss, in nats.

    Parameters
    ----------
    probabilities
        Shape (n, k).
    labels, groups
        Shape (n,).
    """
    of_truth = np.clip(probabilities[np.arange(labels.size), labels], FLOOR, None)
    return float(np.average(-np.log(of_truth), weights=equal_source_weights(groups)))


def logarithms(probabilities: Floats) -> Floats:
    """Return the members' log probabilities side by side, (n, m k), of (m, n, k); none below that of `FLOOR`."""
    m, n, k = probabilities.shape
    return np.log(np.clip(probabilities, FLOOR, 1.0)).transpose(1, 0, 2).reshape(n, m * k)


def _best_weights(of_truth: Floats, weight: Floats) -> Floats:
    """Return the weights of the mean with the least log loss: a convex problem on the simplex.

    Solved by sequential least squares (Kraft, DFVLR-FB 88-28, 1988).
    """
    m = len(of_truth)
    share = weight / weight.sum()

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixed = np.clip(weights @ of_truth, FLOOR, None)
        return float(-share @ np.log(mixed)), -(of_truth / mixed) @ share

    found = minimize(
        loss,
        np.full(m, 1 / m),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * m,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": lambda _: np.ones(m)},
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    weights = np.where(found.x < 1e-6, 0.0, found.x)
    return np.asarray(weights / weights.sum())


def _selected(of_truth: Floats, weight: Floats, settings: Settings) -> Floats:
    """Return the weights that greedy selections give on average."""
    m = len(of_truth)
    if settings.bags == 1:
        return _selection(of_truth, weight, rounds=settings.rounds)
    rng = np.random.default_rng(settings.seed)
    weights = np.zeros(m)
    for _ in range(settings.bags):
        bag = rng.choice(m, size=max(1, round(BAG * m)), replace=False)
        weights[bag] += _selection(of_truth[bag], weight, rounds=settings.rounds)
    return weights / settings.bags


def _selection(of_truth: Floats, weight: Floats, *, rounds: int) -> Floats:
    """Take the member that helps most, again and again, and return how often each was taken when it was best."""
    counts = np.zeros(len(of_truth))
    total = np.zeros(of_truth.shape[1])
    best, best_loss = counts, np.inf
    for taken in range(1, rounds + 1):
        losses = -np.log((total + of_truth) / taken) @ weight
        chosen = int(losses.argmin())
        counts[chosen] += 1
        total += of_truth[chosen]
        if losses[chosen] < best_loss:
            best, best_loss = counts.copy(), losses[chosen]
    return np.asarray(best / best.sum())


def _stacked(probabilities: Floats, labels: NDArray[np.int64], weight: Floats, *, l2: float) -> Stack:
    """Fit the logistic regression; without evidence it is the members' geometric mean, not a guess."""
    m, n, k = probabilities.shape
    features, truth = logarithms(probabilities), np.eye(k)[labels]
    prior = np.concatenate([np.tile(np.eye(k) / m, (m, 1)), np.zeros((1, k))])

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        both = coefficients.reshape(m * k + 1, k)
        logits = log_softmax(features @ both[:-1] + both[-1], axis=1)
        wrong = weight[:, None] * (np.exp(logits) - truth)
        away = both - prior
        value = -weight @ logits[np.arange(n), labels] + l2 / 2 * (away**2).sum()
        return float(value), (np.concatenate([features.T @ wrong, wrong.sum(axis=0)[None]]) + l2 * away).ravel()

    found = minimize(loss, prior.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "gtol": 1e-6})
    both = found.x.reshape(m * k + 1, k)
    return Stack(kernel=both[:-1], bias=both[-1])
