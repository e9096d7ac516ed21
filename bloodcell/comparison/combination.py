"""Ensembles: the mean, a weighted mean or stacking of several models' probabilities.

Fits weight every group once, however many images it has.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from bloodcell.data.sampling import equal_source_weights
from bloodcell.errors import UserError
from bloodcell.evaluation.folds import group_folds

Method = Literal["soft", "weighted", "greedy", "stacking"]
Floats = NDArray[np.float64]

FLOOR = 1e-6
"""Probabilities are clipped to this before the logarithm: single precision sums to 1 no better."""
BAG = 0.5
"""The share of the members in a bag of greedy selection: Caruana et al. 2004, section 2.3."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How weights are fitted.

    Attributes
    ----------
    rounds
        Members that greedy selection takes, with replacement.
    bags
        Greedy selections to average; a single one is from all members, more are each from a random half.
    l2
        Penalty of stacking: half of it times the squared distance of the coefficients from those of the members'
        geometric mean, added to the log losses of all groups.
    folds
        Folds of groups for cross-fitting.
    """

    rounds: int
    bags: int
    l2: float
    folds: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A weighted mean of probabilities; the weights, shape (m,), are at least 0 and of sum 1."""

    weights: Floats

    def combine(self, probabilities: Floats) -> Floats:
        """Combine the probabilities of m members, shape (m, n, k), into shape (n, k)."""
        return np.asarray(np.tensordot(self.weights, probabilities, axes=1))

    @property
    def shares(self) -> Floats:
        """The weight of each member, shape (m,)."""
        return self.weights

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that combines the members, by name."""
        return {"weights": self.weights}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A multinomial logistic regression on the members' log probabilities.

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
        """Combine the probabilities of m members, shape (m, n, k), into shape (n, k)."""
        combined: Floats = softmax(logarithms(probabilities) @ self.kernel + self.bias, axis=1)
        return combined

    @property
    def shares(self) -> Floats:
        """The mean coefficient of each member's log probability, shape (m,).

        1 / m each for the members' geometric mean; may be negative.
        """
        k = self.bias.size
        blocks = self.kernel.reshape(-1, k, k)
        own = np.trace(blocks, axis1=1, axis2=2) / k
        others = (blocks.sum(axis=(1, 2)) / k - own) / (k - 1)
        return np.asarray(own - others)

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that combines the members, by name; ``floor`` is the least probability whose log is taken."""
        return {"kernel": self.kernel, "bias": self.bias, "floor": FLOOR}


Combination = Mixture | Stack


def fit(
    method: Method,
    *,
    probabilities: Floats,
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    settings: Settings,
) -> Combination:
    """Fit an ensemble.

    Parameters
    ----------
    method
        ``soft``: the mean, without a fit. ``weighted``: the weights of the mean with the least log loss.
        ``greedy``: the same, chosen member by member with replacement (Caruana et al., "Ensemble selection from
        libraries of models", ICML 2004). ``stacking``: a logistic regression on the members' logarithms (Wolpert,
        "Stacked generalization", Neural Networks 5, 1992).
    probabilities
        Shape (m, n, k), of m members, each by a model that was not trained on the image's group.
    labels
        Shape (n,), in 0..k-1.
    groups
        Shape (n,), the group of each image.
    """
    weight = equal_source_weights(groups)
    true_class = np.clip(probabilities[:, np.arange(labels.size), labels], FLOOR, None)
    match method:
        case "soft":
            return Mixture(weights=np.full(len(probabilities), 1 / len(probabilities)))
        case "weighted":
            return Mixture(weights=_weighted(true_class, weight))
        case "greedy":
            return Mixture(weights=_greedy(true_class, weight, settings))
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
    """Return the ensemble's probabilities for each image, shape (n, k), fitted to other groups only.

    The arguments are those of `fit`; folds are stratified by class.

    Raises
    ------
    UserError
        If there is a single group.
    """
    if method == "soft":
        return np.asarray(probabilities.mean(axis=0))
    if np.unique(groups).size < 2:
        raise UserError("method: weights cannot be fitted to a single group; use method=soft")
    combined = np.empty(probabilities.shape[1:])
    for part in group_folds(labels=labels, groups=groups, n_folds=settings.folds, seed=settings.seed):
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


def group_log_loss(probabilities: Floats, *, labels: NDArray[np.int64], groups: NDArray[np.str_]) -> float:
    """Return the mean over groups of their mean log loss, in nats, of probabilities of shape (n, k)."""
    true_class = np.clip(probabilities[np.arange(labels.size), labels], FLOOR, None)
    return float(np.average(-np.log(true_class), weights=equal_source_weights(groups)))


def logarithms(probabilities: Floats) -> Floats:
    """Return log probabilities of shape (m, n, k) as features of shape (n, m k)."""
    m, n, k = probabilities.shape
    return np.log(np.clip(probabilities, FLOOR, 1.0)).transpose(1, 0, 2).reshape(n, m * k)


def _weighted(true_class: Floats, weight: Floats) -> Floats:
    """Return the weights with the lowest log loss, a convex problem on the simplex.

    By sequential least squares (Kraft, DFVLR-FB 88-28, 1988).
    """
    m = len(true_class)
    share = weight / weight.sum()

    def loss(weights: Floats) -> tuple[float, Floats]:
        mixed = np.clip(weights @ true_class, FLOOR, None)
        return float(-share @ np.log(mixed)), -(true_class / mixed) @ share

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


def _greedy(true_class: Floats, weight: Floats, settings: Settings) -> Floats:
    """Return the mean weights of all greedy selections."""
    m = len(true_class)
    if settings.bags == 1:
        return _greedy_selection(true_class, weight, rounds=settings.rounds)
    rng = np.random.default_rng(settings.seed)
    weights = np.zeros(m)
    for _ in range(settings.bags):
        bag = rng.choice(m, size=max(1, round(BAG * m)), replace=False)
        weights[bag] += _greedy_selection(true_class[bag], weight, rounds=settings.rounds)
    return weights / settings.bags


def _greedy_selection(true_class: Floats, weight: Floats, *, rounds: int) -> Floats:
    """Select members one by one by joint log loss; return the best weights."""
    counts = np.zeros(len(true_class))
    total = np.zeros(true_class.shape[1])
    best, best_loss = counts, np.inf
    for size in range(1, rounds + 1):
        losses = -np.log((total + true_class) / size) @ weight
        chosen = int(losses.argmin())
        counts[chosen] += 1
        total += true_class[chosen]
        if losses[chosen] < best_loss:
            best, best_loss = counts.copy(), losses[chosen]
    return np.asarray(best / best.sum())


def _stacked(probabilities: Floats, labels: NDArray[np.int64], weight: Floats, *, l2: float) -> Stack:
    """Fit the logistic regression, shrunk towards the members' geometric mean."""
    m, n, k = probabilities.shape
    features, truth = logarithms(probabilities), np.eye(k)[labels]
    prior = np.concatenate([np.tile(np.eye(k) / m, (m, 1)), np.zeros((1, k))])

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        joint = coefficients.reshape(m * k + 1, k)
        logits = log_softmax(features @ joint[:-1] + joint[-1], axis=1)
        residual = weight[:, None] * (np.exp(logits) - truth)
        shift = joint - prior
        value = -weight @ logits[np.arange(n), labels] + l2 / 2 * (shift**2).sum()
        return float(value), (np.concatenate([features.T @ residual, residual.sum(axis=0)[None]]) + l2 * shift).ravel()

    found = minimize(loss, prior.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "gtol": 1e-6})
    joint = found.x.reshape(m * k + 1, k)
    return Stack(kernel=joint[:-1], bias=joint[-1])
