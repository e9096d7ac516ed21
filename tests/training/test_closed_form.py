"""Heads in closed form, and exact leave-one-group-out, against fits from the definition."""

import numpy as np
import pytest
from scipy.special import log_softmax

from bloodcell.training import closed_form as module
from bloodcell.training.closed_form import blocks_of, closed_form, fit_scale
from bloodcell.training.left_out import permuted_recalls, removal_effects

STRENGTHS = np.array([0.01, 0.3, 5.0])


def images(seed: int, *, width: int = 12, groups: int = 14, several_classes: bool = False):
    """Return features, labels, groups of 1 to 20 images and weights; the last class is one group's."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(groups), rng.integers(1, 21, groups)))
    label = rng.integers(0, 3, group.size) if several_classes else np.arange(groups)[group] % 3
    label[group == 0] = 3
    features = rng.normal(size=(group.size, width)) * rng.uniform(0.1, 3, width) + 10
    features += np.eye(4)[label] @ rng.normal(size=(4, width)) + rng.normal(size=(groups, width))[group]
    weights = rng.uniform(0.2, 2, group.size) if seed % 2 else np.ones(group.size)
    return features.astype(np.float32), label, group, weights


def ridge(features, labels, weights, l2):
    with_one = np.c_[np.ones(len(features)), features.astype(np.float64)]
    penalty = np.diag([0.0] + [l2 * weights.sum()] * features.shape[1])
    products = with_one.T @ (weights[:, None] * with_one) + penalty
    solved = np.linalg.solve(products, with_one.T @ (weights[:, None] * np.eye(4)[labels]))
    known = np.isin(np.arange(4), labels)
    return lambda new: np.where(known, np.c_[np.ones(len(new)), new] @ solved, -np.inf)


def lda(features, labels, weights, l2):
    known, centre = np.unique(labels), features.mean(axis=0, dtype=np.float64)
    rows = features - centre
    means = {each: np.average(rows[labels == each], axis=0, weights=weights[labels == each]) for each in known}
    within = rows - np.array([means[each] for each in labels])
    covariance = within.T @ (weights[:, None] * within) / weights.sum() + l2 * np.eye(rows.shape[1])

    def scores(new):
        found = np.full((len(new), 4), -np.inf)
        for each, mean in means.items():
            distance = np.linalg.solve(np.linalg.cholesky(covariance), (new - centre - mean).T)
            share = weights[labels == each].sum() / weights.sum()
            found[:, each] = np.log(share) - np.square(distance).sum(axis=0) / 2
        return found

    return scores


def as_compared(scores, method):
    """LDA's scores are the same up to a term that all classes share."""
    return log_softmax(scores, axis=-1) if method == "lda" else scores


@pytest.mark.parametrize("width", [12, 200])
@pytest.mark.parametrize("several_classes", [False, True])
@pytest.mark.parametrize("method", ["ridge", "lda"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_without_a_group_are_those_of_a_refit(seed, method, several_classes, width):
    features, labels, groups, weights = images(seed, width=width, several_classes=several_classes)
    prepared = closed_form(features, labels, method=method, n_classes=4, weights=weights)
    found = prepared.leave_out(groups, STRENGTHS)
    refit = {"ridge": ridge, "lda": lda}[method]
    for number, l2 in enumerate(STRENGTHS):
        for group in np.unique(groups):
            out = groups == group
            expected = refit(features[~out], labels[~out], weights[~out], l2)(features[out])
            assert (np.isneginf(found[number][out]).any(axis=0) == ~np.isin(range(4), labels[~out])).all()
            np.testing.assert_allclose(
                as_compared(found[number][out], method), as_compared(expected, method), rtol=1e-8, atol=1e-8
            )


@pytest.mark.parametrize("method", ["ridge", "lda"])
def test_large_groups_as_folds_are_refitted_and_give_the_same(method, monkeypatch):
    features, labels, groups, weights = images(1, groups=30)
    prepared = closed_form(features, labels, method=method, n_classes=4, weights=weights)
    blocks = [prepared._rest(block) for block in blocks_of(groups % 3)]
    identities = prepared._residuals if method == "ridge" else prepared._woodbury
    for rest in blocks:
        np.testing.assert_allclose(
            as_compared(prepared._refitted(rest, STRENGTHS), method),
            as_compared(identities(rest, STRENGTHS), method),
            rtol=1e-8,
            atol=1e-8,
        )


@pytest.mark.parametrize("width", [12, 200])
@pytest.mark.parametrize("method", ["ridge", "lda"])
def test_the_head_of_all_images_is_that_of_the_definition(method, width):
    features, labels, _, weights = images(3, width=width)
    prepared = closed_form(features, labels, method=method, n_classes=5, weights=weights)
    for l2 in STRENGTHS:
        head = prepared.solve(l2)
        found = features @ head.kernel + head.bias
        assert (found[:, 4] < -80).all()  # a class without images
        expected = {"ridge": ridge, "lda": lda}[method](features, labels, weights, l2)(features)
        np.testing.assert_allclose(
            as_compared(found[:, :4], method), as_compared(expected, method), rtol=1e-8, atol=1e-8
        )


def test_weights_count_as_copies():
    features, labels, _, _ = images(4)
    counts = 1 + labels % 2
    weighted = closed_form(features, labels, method="lda", n_classes=4, weights=counts.astype(float)).solve(0.1)
    copied = closed_form(np.repeat(features, counts, axis=0), np.repeat(labels, counts), method="lda", n_classes=4)
    np.testing.assert_allclose(weighted.kernel, copied.solve(0.1).kernel, rtol=1e-8)


def test_strengths_follow_the_scale_of_the_features():
    features, labels, _, _ = images(5)
    one, other = (closed_form(each, labels, method="ridge", n_classes=4) for each in (features, 100 * features))
    np.testing.assert_allclose(other.strengths, 1e4 * one.strengths, rtol=1e-5)
    assert one.strengths.shape == (module.N_STRENGTHS,)
    np.testing.assert_allclose(other.solve(1e4).kernel * 100, one.solve(1.0).kernel, rtol=1e-4)


def test_the_scale_makes_probabilities_as_sure_as_they_are_right():
    rng = np.random.default_rng(0)
    truth = 3 * rng.normal(size=(20_000, 3))
    labels = np.array([rng.choice(3, p=each) for each in np.exp(log_softmax(truth, axis=1))])
    assert fit_scale(truth / 50, labels) == pytest.approx(50, rel=0.05)
    truth[:5, 2], labels[:5] = -np.inf, 2  # a class that a head did not know
    assert fit_scale(truth / 50, labels) == pytest.approx(50, rel=0.05)


def test_recalls_with_permuted_labels_are_those_of_leaving_out_each_row():
    rng = np.random.default_rng(6)
    labels = rng.permutation(np.repeat(range(3), (4, 7, 12)))
    features = rng.normal(size=(23, 40)) + np.eye(3)[labels] @ rng.normal(size=(3, 40))
    found = permuted_recalls(features, labels, n=3, seed=5)
    rng = np.random.default_rng(5)
    for number in range(4):
        drawn = rng.permutation(labels) if number else labels
        prepared = closed_form(features, drawn, method="ridge", n_classes=3)
        strengths = np.geomspace(prepared.strengths[0], prepared.strengths[-1], 10)
        right = prepared.leave_out(np.arange(23), strengths).argmax(axis=2) == drawn
        recalls = [right[:, drawn == each].mean(axis=1) for each in range(3)]
        assert found[number] == pytest.approx(np.mean(recalls, axis=0).max())
    assert found[0] > found[1:].max()


def test_the_effect_of_a_removed_group_is_that_of_refits_without_two():
    features, labels, groups, weights = images(7, width=30)
    prepared = closed_form(features, labels, method="ridge", n_classes=4, weights=weights)
    weights = prepared.weights
    found = removal_effects(prepared, groups, 0.05, of=[3, 0])

    def right(image_groups: set[int]) -> np.ndarray:
        """Classify the images of the last group without all of these."""
        *_, own = sorted(image_groups, key=lambda group: group == tested)
        kept, out = ~np.isin(groups, list(image_groups)), groups == own
        l2 = 0.05 * weights.sum() / weights[kept].sum()
        scores = ridge(features[kept], labels[kept], weights[kept], l2)(features[out])
        return np.nan_to_num(scores, neginf=0.0).argmax(axis=1) == labels[out]

    for place, removed in enumerate([3, 0]):
        before, after = [], []
        for tested in set(range(14)) - {removed}:
            before.append(right({tested}))
            after.append(right({removed, tested}))
        assert found[place] == pytest.approx(np.concatenate(after).mean() - np.concatenate(before).mean(), abs=1e-12)
