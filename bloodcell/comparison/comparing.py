"""The comparison of models by their predictions on the same images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.candidates import Aligned, Tables, align
from bloodcell.comparison.certificate import Certificate, certify
from bloodcell.comparison.sentences import Context, Row, best_sentence, sample_size_sentence, verdict_sentence
from bloodcell.comparison.verdicts import (
    EQUIVALENT,
    INCONCLUSIVE,
    SIGNIFICANCE,
    Pairs,
    compare_pairs,
    p_value_best,
    verdict_table,
)
from bloodcell.errors import UserError
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.evidence import as_text
from bloodcell.evaluation.intervals import (
    FEW_GROUPS,
    effective_number,
    score_interval,
    training_half_widths,
    training_variance,
)
from bloodcell.evaluation.scores import SCORES, Function, Predictions, Score, ScoreByGroup, find_score
from bloodcell.wording import PHOTOGRAPH, plural

Metric = str | Score | Function

OF_CLASSES = ("accuracy", "balanced_accuracy", "macro_f1")
"""Scores that need no probabilities."""
N_RESAMPLES = 1000
EQUIVALENCE = 0.01
N_COVERAGE_CHECK = 200
"""Simulations that check whether intervals hold, if groups are effectively fewer than `FEW_GROUPS`."""
MAX_MODELS = 50
"""With more models, verdicts are on the pairs of the best so many: the number of pairs grows with the square."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison.

    Attributes
    ----------
    estimates
        ``run, metric, unit, value, low, high``: each score of every run with its 95 % interval. ``unit`` is ``image``;
        ``source``, from the mean probabilities of each source; or ``group_mean``, the mean of the groups' scores, if
        groups are not sources and the score is a plain mean.
    verdicts
        ``metric, a, b, difference, low, high, low_corrected, high_corrected, p_value, p_adjusted, verdict``: the
        difference a - b of every pair, by image, its 95 % interval, its p-value, both corrected for the number of
        pairs, and the verdict on a: ``better``, ``worse``, ``equivalent`` or ``inconclusive``. With more than
        `MAX_MODELS` models only the pairs of ``leading`` ones, and each with the baseline.
    sentences
        One for each row of ``verdicts``, to quote.
    ranking
        ``run, value, low, high, p_best, can_be_best, evidence, barred``: by the first metric, the best first.
        ``p_best`` is the p-value that the run is the best; with 95 % confidence the best is one with ``can_be_best``.
        ``evidence`` is what limits it, as text. A run that leaks or is a debug run cannot be the best, and ``barred``
        says why; ``p_best`` is NaN then, or if the metric is undefined. With more than
        `MAX_MODELS` models each is compared with ``leading`` ones only, so ``p_best`` can be too large.
    leading
        All runs; with more than `MAX_MODELS` models, the best so many by the first metric that can win, and the
        trivial baselines.
    best
        A sentence on which runs may be the best.
    scores
        The metrics, in order.
    equivalence
        Smaller differences do not matter, in the metric's unit.
    n_resamples, seed
        Of `certificate`.
    group_name
        The user's word for a group.
    costs
        By the name of a cost, such as "parameters", the known costs of runs; see `bloodcell.comparison.decision`.
    """

    estimates: pd.DataFrame
    verdicts: pd.DataFrame
    sentences: tuple[str, ...]
    ranking: pd.DataFrame
    best: str
    leading: tuple[str, ...]
    scores: tuple[Score, ...]
    aligned: Aligned
    equivalence: float
    n_resamples: int = N_RESAMPLES
    seed: int = 0
    group_name: str = PHOTOGRAPH
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def certificate(self) -> Certificate:
        """How often intervals and verdicts on such data are right, by simulation."""
        certificate = _certified(self.aligned, n_simulated=self.n_resamples, seed=self.seed)
        return replace(certificate, group_name=self.group_name)

    @property
    def units(self) -> dict[str, str]:
        """The units of the first metric's estimates, with a heading each."""
        headings = {"image": "by image", "source": "by photograph", "group_mean": f"mean of {plural(self.group_name)}"}
        return {unit: headings[unit] for unit in self.estimates_of(self.scores[0])}

    def estimates_of(self, score: Score) -> dict[str, pd.DataFrame]:
        """Return the estimates by a score for each unit: ``value, low, high``, with the runs as index."""
        own = self.estimates[self.estimates["metric"] == score.name].set_index("run")
        return {str(unit): rows[["value", "low", "high"]] for unit, rows in own.groupby("unit", sort=False)}

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the candidates, trivial baselines last."""
        return tuple(candidate.name for candidate in self.aligned.candidates)

    @property
    def n_images(self) -> int:
        """The number of images."""
        return len(self.aligned.images)

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return int(self.aligned.images["group"].nunique())

    @property
    def left_out(self) -> str:
        """Which pairs are not compared, as a sentence; empty if all are."""
        n, shown = len(self.runs), len(self.verdicts) // len(self.scores)
        if len(self.leading) == n:
            return ""
        n_models = n - len(self.aligned.trivial)
        return (
            f"Verdicts are on the pairs of the best {MAX_MODELS} of {n_models:,} models by {self.scores[0].label}, and "
            f"on each model and the baseline: {shown:,} of {n * (n - 1) // 2:,} pairs, corrected for the number of all "
            f"pairs. A model may be the best unless it is worse than one of these {MAX_MODELS}."
        )

    def not_worse(self) -> list[str]:
        """Return the runs that may be the best, or are equivalent to the first."""
        ranked = self.ranking[self.ranking["p_best"].notna()]
        if ranked.empty:
            return []
        first = ranked["run"].iloc[0]
        table = self.verdicts[
            (self.verdicts["metric"] == self.scores[0].name) & (self.verdicts["verdict"] == EQUIVALENT)
        ]
        equivalent = {*table.loc[table["a"] == first, "b"], *table.loc[table["b"] == first, "a"]}
        return list(ranked.loc[ranked["can_be_best"] | ranked["run"].isin(equivalent), "run"])

    def __repr__(self) -> str:
        """Return the decision and the ranking as text."""
        from bloodcell.comparison.html import comparison_text

        return comparison_text(self)

    def _repr_html_(self) -> str:
        """Return the decision, the ranking with 95 % intervals, and the verdicts."""
        from bloodcell.comparison.html import comparison_html

        return comparison_html(self)


def compare(
    tables: Tables,
    *,
    metrics: Sequence[Metric] = ("accuracy",),
    n_resamples: int = N_RESAMPLES,
    equivalence: float = EQUIVALENCE,
    seed: int = 0,
    split: str | None = None,
    evidence: Mapping[str, Collection[str]] | None = None,
    group_name: str = PHOTOGRAPH,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    groups: Mapping[str, str] | None = None,
    baseline: str | None = None,
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> Comparison:
    """Compare models: which is better, by how much, or whether the data cannot decide.

    Only predictions are used. Groups count, not images: see `bloodcell.comparison.verdicts`. The majority class is
    added as a baseline. With more than `MAX_MODELS` models not all pairs get a verdict, see `Comparison.verdicts`. With
    few groups, all verdicts are inconclusive if intervals on such data contain the truth too rarely
    (`Comparison.certificate`).

    Parameters
    ----------
    tables
        By name, the predictions of each model (`bloodcell.evaluation.predictions`, or any table with ``path, label,
        group``, optionally ``source``, and one ``p_<class>`` for each class), in any order of rows and columns. A list
        holds several seeds of one configuration: their scores are averaged, and the interval includes the variance
        between seeds.
    metrics
        Names in `bloodcell.evaluation.scores.SCORES`, `Score`, or functions of labels, shape (n,), int64, and
        probabilities, shape (n, k), float64, whose larger value is better. The first one ranks.
    n_resamples
        Simulations for `Comparison.certificate`.
    equivalence
        Smaller differences do not matter, in the metric's unit: 0.01 is one point of accuracy.
    seed
        Of the simulations.
    split
        Which predictions to compare; None: those of validation, out of fold in a cross-validation, see `align`.
    evidence
        By name, what limits a model (names of `bloodcell.evaluation.evidence.LIMITS`): with ``leaky`` or ``debug`` it
        is shown, but cannot be better than another.
    group_name
        The user's word for a group, such as ``patient``.
    columns, classes, groups
        How to read the tables of other tools, see `align`.
    baseline
        The name of a table that is the trivial baseline, in place of the majority class of these images.
    costs
        By the name of a cost, the known costs of models: ``{"parameters": {"a": 2e6}}``. The cheapest of several that
        may be the best is the one to use.

    Returns
    -------
    Comparison
        The same for the same arguments.

    Raises
    ------
    UserError
        If a table is invalid, or tables are of different images: one line that names the difference.

    Examples
    --------
    >>> import pandas as pd
    >>> from bloodcell.comparison import compare
    >>> table = pd.DataFrame({"path": list("abcd"), "label": list("xxyy"), "group": list("abcd")})
    >>> good = table.assign(p_x=[0.9, 0.8, 0.1, 0.2], p_y=[0.1, 0.2, 0.9, 0.8])
    >>> poor = table.assign(p_x=[0.4, 0.8, 0.1, 0.6], p_y=[0.6, 0.2, 0.9, 0.4])
    >>> compare({"good": good, "poor": poor}).verdicts["verdict"].tolist()
    ['inconclusive', 'inconclusive', 'inconclusive']
    """
    scores = _checked_arguments(metrics, n_resamples=n_resamples, equivalence=equivalence, seed=seed)
    aligned = align(
        tables, split=split, evidence=evidence, columns=columns, classes=classes, groups=groups, baseline=baseline
    )
    scores = _of_classes(scores, aligned) if aligned.certain else scores
    predictions = [aligned.predictions(candidate) for candidate in aligned.candidates]
    by_source = [
        [_majority_of(each.by_source()) if candidate.majority else each.by_source() for each in trainings]
        for candidate, trainings in zip(aligned.candidates, predictions, strict=True)
    ]
    by_group = [[[_score_by_group(score, each) for each in several] for several in predictions] for score in scores]
    strata = predictions[0][0].strata
    few = effective_number(predictions[0][0].images.astype(float)) < FEW_GROUPS
    enough = not few or _certified(aligned, n_simulated=N_COVERAGE_CHECK, seed=seed).enough
    leading = _leading(aligned, by_group[0], score=scores[0])
    among_leading = leading[:, None] & leading
    among_leading[:, -1] = True  # the baseline
    max_differences = [largest_difference(*each) for each in zip(scores, by_group, strict=True)]
    pairs_by_score = [
        compare_pairs(by_candidate, strata=strata, max_difference=max_difference, among=among_leading)
        for by_candidate, max_difference in zip(by_group, max_differences, strict=True)
    ]
    with_leading = pairs_by_score[0]
    if not leading.all():
        with_leading = compare_pairs(
            by_group[0], strata=strata, max_difference=max_differences[0], among=leading[:, None] | leading
        )
    estimates, verdicts = [], []
    sentences: list[str] = []
    for score, by_candidate, pairs in zip(scores, by_group, pairs_by_score, strict=True):
        estimates.append(_estimates(score, aligned, predictions, by_source, by_candidate))
        table = verdict_table(pairs, score=score, candidates=aligned.candidates, equivalence=equivalence)
        if not enough:
            table["verdict"] = INCONCLUSIVE
        order = _models_first(pairs, aligned)
        context = Context(
            score=score,
            n_groups=predictions[0][0].n_groups,
            n_pairs=pairs.n_all,
            equivalence=equivalence,
            group_name=group_name,
        )
        table = table.iloc[order]
        sentences.extend(
            _sentence(row, pairs, pair, aligned=aligned, context=context)
            for pair, row in zip(order, table.to_dict("records"), strict=True)
        )
        verdicts.append(table)
    ranking = _ranking(estimates[0], with_leading, score=scores[0], aligned=aligned)
    return Comparison(
        estimates=pd.concat(estimates, ignore_index=True),
        verdicts=pd.concat(verdicts, ignore_index=True),
        sentences=tuple(sentences),
        ranking=ranking,
        best=best_sentence(ranking, score=scores[0], trivial=aligned.trivial),
        leading=tuple(each.name for each, leads in zip(aligned.candidates, leading, strict=True) if leads),
        scores=scores,
        aligned=aligned,
        equivalence=equivalence,
        n_resamples=n_resamples,
        seed=seed,
        group_name=group_name,
        costs=costs or {},
    )


def _leading(aligned: Aligned, by_group: Sequence[Sequence[ScoreByGroup]], *, score: Score) -> NDArray[np.bool_]:
    """Return which candidates are `Comparison.leading`, shape (c,)."""
    trivial = np.array([candidate.trivial for candidate in aligned.candidates])
    if (~trivial).sum() <= MAX_MODELS:
        return np.ones(trivial.size, dtype=bool)
    sign = -1 if score.greater_is_better else 1
    order = np.argsort([sign * np.mean([each.value for each in several]) for several in by_group], kind="stable")
    able = [index for index in order if not trivial[index] and not aligned.candidates[index].barred]
    return trivial | np.isin(np.arange(trivial.size), able[:MAX_MODELS])


def _certified(aligned: Aligned, *, n_simulated: int, seed: int) -> Certificate:
    models = [each for each in aligned.candidates if not each.trivial] or list(aligned.candidates)
    return certify([aligned.predictions(each)[0] for each in models], n_simulated=n_simulated, seed=seed)


def _of_classes(scores: tuple[Score, ...], aligned: Aligned) -> tuple[Score, ...]:
    """Return the scores that need no probabilities."""
    kept = tuple(score for score in scores if score.name not in SCORES or score.name in OF_CLASSES)
    if not kept:
        raise UserError(f"{aligned.certain[0]}: has no probabilities; compare it by {', '.join(OF_CLASSES)}")
    return kept


def _checked_arguments(
    metrics: Sequence[Metric], *, n_resamples: int, equivalence: float, seed: int
) -> tuple[Score, ...]:
    if isinstance(metrics, str) or not metrics:
        raise UserError(f"metrics={metrics!r}: is not a list of metrics; give at least one, such as ['accuracy']")
    if not isinstance(n_resamples, Integral) or n_resamples < 1:
        raise UserError(f"n_resamples={n_resamples!r}: is not a number of simulations; give at least 1, 1000 is usual")
    if not isinstance(equivalence, Real) or not 0 <= equivalence < np.inf:
        raise UserError(
            f"equivalence={equivalence!r}: is not a size of a difference; give 0 or more, 0.01 is one point"
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise UserError(f"seed={seed!r}: is not a seed; give a whole number, 0 or more")
    try:
        scores = tuple(find_score(each) for each in metrics)
    except ValueError as error:
        raise UserError(f"metrics: {error}") from error
    names = [score.name for score in scores]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"metrics: {twice[0]} is given twice; give every metric once")
    return scores


def _score_by_group(score: Score, predictions: Predictions) -> ScoreByGroup:
    try:
        return score.by_group(predictions)
    except ValueError as error:
        raise UserError(f"metrics: {error}; give a function of labels and probabilities") from error


def _value(score: Score, predictions: Predictions) -> float:
    if score.contributions is None:  # a user's function, which may raise anything
        return _score_by_group(score, predictions).value
    return score.function(predictions.labels, predictions.probabilities)


def _majority_of(predictions: Predictions, *, groups: bool = False) -> Predictions:
    """Return class frequencies as predictions; ``groups``: each group counts once."""
    labels = predictions.labels
    if groups:
        labels = np.unique(np.column_stack([predictions.groups, labels]), axis=0)[:, 1]
    n, n_classes = predictions.probabilities.shape
    probabilities = majority_probabilities(training_labels=labels, n_classes=n_classes, n_images=n)
    return replace(predictions, probabilities=probabilities)


def largest_difference(score: Score, by_group: Sequence[Sequence[ScoreByGroup]]) -> float:
    """Return how much two models can differ in one group: the range or maximum."""
    if np.isfinite(score.highest - score.lowest):
        return score.highest - score.lowest
    means = np.array([each.value + each.contributions / each.weights for several in by_group for each in several])
    ranges = np.ptp(means[:, np.isfinite(means).all(axis=0)], axis=0)
    return float(ranges.max()) if ranges.size else 0.0


def _estimates(
    score: Score,
    aligned: Aligned,
    predictions: Sequence[Sequence[Predictions]],
    by_source: Sequence[Sequence[Predictions]],
    by_group: Sequence[Sequence[ScoreByGroup]],
) -> pd.DataFrame:
    units: list[tuple[str, Sequence[Sequence[Predictions]], list[list[float]]]] = [
        ("image", predictions, [[each.value for each in several] for several in by_group]),
        ("source", by_source, [[_value(score, each) for each in several] for several in by_source]),
    ]
    if score.is_mean and not aligned.groups_are_sources:
        by_group_mean = [
            several if not candidate.majority else [_majority_of(each, groups=True) for each in several]
            for candidate, several in zip(aligned.candidates, predictions, strict=True)
        ]
        means = [[score.group_mean(each) for each in several] for several in by_group_mean]
        units.append(("group_mean", by_group_mean, means))
    rows = []
    for unit, given, values in units:
        errors = training_half_widths(training_variance(values))
        for candidate, several, own, error in zip(aligned.candidates, given, values, errors, strict=True):
            # The variance between trainings is unknown after a single one.
            ends = score_interval(
                score,
                several,
                training_error=float(error) if len(several) > 1 else 0.0,
                group_mean=unit == "group_mean",
                values=own,
            )
            rows.append(
                {
                    "run": candidate.name,
                    "metric": score.name,
                    "unit": unit,
                    "value": float(np.mean(own)),
                    "low": ends.low,
                    "high": ends.high,
                }
            )
    return pd.DataFrame(rows)


def _models_first(pairs: Pairs, aligned: Aligned) -> list[int]:
    """Return the indices of pairs, those with a trivial baseline last."""
    trivial = [candidate.trivial for candidate in aligned.candidates]
    return sorted(range(len(pairs.first)), key=lambda pair: trivial[pairs.first[pair]] or trivial[pairs.second[pair]])


def _sentence(row: Row, pairs: Pairs, pair: int, *, aligned: Aligned, context: Context) -> str:
    first, second = (aligned.candidates[index[pair]] for index in (pairs.first, pairs.second))
    first_wins = (row["difference"] > 0) == context.score.greater_is_better
    sample_size = sample_size_sentence(
        row,
        context,
        error=float(pairs.error[pair]),
        group_share=float(pairs.group_share[pair]),
        undetected=pairs.undetected,
    )
    return verdict_sentence(
        row,
        context,
        sample_size=sample_size,
        barred=(first if first_wins else second).barred if row["difference"] else "",  # of two equal ones neither wins
        trained_once=not any(each.trivial or len(each.probabilities) > 1 for each in (first, second)),
    )


def _ranking(estimates: pd.DataFrame, pairs: Pairs, *, score: Score, aligned: Aligned) -> pd.DataFrame:
    table = estimates.loc[estimates["unit"] == "image", ["run", "value", "low", "high"]].reset_index(drop=True)
    barred = [candidate.barred for candidate in aligned.candidates]
    eligible = np.isfinite(table["value"].to_numpy()) & (np.array(barred) == "")
    p_best = p_value_best(pairs, eligible=list(eligible), greater_is_better=score.greater_is_better)
    limits = [as_text(candidate.evidence) for candidate in aligned.candidates]
    table = table.assign(p_best=p_best, can_be_best=p_best >= SIGNIFICANCE, evidence=limits, barred=barred)
    return table.sort_values("value", ascending=not score.greater_is_better, ignore_index=True, kind="stable")


def cheapest(comparison: Comparison, costs: Mapping[str, float]) -> str | None:
    """Return the cheapest run of `Comparison.not_worse` by costs, NaN or missing if unknown; None without any."""
    known = {run: costs[run] for run in comparison.not_worse() if np.isfinite(costs.get(run, np.nan))}
    return min(known, key=lambda run: known[run]) if known else None
