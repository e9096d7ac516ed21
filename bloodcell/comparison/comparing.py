"""Comparing models by what they say of the same images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real

import numpy as np
import pandas as pd

from bloodcell.comparison.candidates import Aligned, Tables, align
from bloodcell.comparison.certificate import Certificate, certify
from bloodcell.comparison.sentences import best_sentence, settling_sentence, verdict_sentence
from bloodcell.comparison.verdicts import (
    EQUAL,
    SIGNIFICANCE,
    UNKNOWN,
    Pairs,
    measure_pairs,
    p_value_best,
    verdict_table,
)
from bloodcell.errors import UserError
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.intervals import effective, score_interval, training_errors, training_of
from bloodcell.evaluation.scores import Answers, Function, Score, Scored, find_score
from bloodcell.wording import PHOTOGRAPH, plural

Metric = str | Score | Function

N_RESAMPLES = 1000
EQUIVALENCE = 0.01
FEW_GROUPS = 20.0
"""Of equal size: with fewer, whether intervals hold is simulated before any verdict is given."""
N_BEFORE = 200
"""Simulations for that."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out of a comparison.

    Attributes
    ----------
    estimates
        ``run, metric, unit, value, low, high``: each score of every run with its 95 % interval. ``unit`` is ``image``;
        ``source``, of the mean answer for each photograph; or ``group_mean``, the mean of the groups' own scores, if
        groups are more than photographs and the score is a plain mean.
    verdicts
        ``metric, a, b, difference, low, high, low_corrected, high_corrected, p_value, p_adjusted, verdict``: of every
        pair the difference of a and b, by image, its 95 % interval and the one corrected for the number of pairs, its
        p-value and that corrected, and what it says of a: ``better``, ``worse``, ``practically equal`` or ``cannot
        tell``.
    sentences
        Of each row of ``verdicts``, in its order, what can be quoted.
    ranking
        ``run, value, low, high, p_best, can_be_best, leak``: by the first metric, the best first. ``p_best`` is how
        surprising the others' lead would be if the run were the best; with 95 % confidence the best is among those with
        ``can_be_best``. What leaks cannot be, and says why; ``p_best`` is NaN then, or where the metric is not defined.
    best
        What can be said of the best, in a sentence.
    scores
        The metrics, in order.
    aligned
        What was compared.
    equivalence
        How small a difference does not count.
    n_resamples, seed
        Of `certificate`.
    group_name
        What a group is called.
    """

    estimates: pd.DataFrame
    verdicts: pd.DataFrame
    sentences: tuple[str, ...]
    ranking: pd.DataFrame
    best: str
    scores: tuple[Score, ...]
    aligned: Aligned
    equivalence: float
    n_resamples: int = N_RESAMPLES
    seed: int = 0
    group_name: str = PHOTOGRAPH

    @cached_property
    def certificate(self) -> Certificate:
        """How often such intervals and verdicts are right on data of this shape, by simulation; takes seconds."""
        certificate = _certified(self.aligned, n_simulated=self.n_resamples, seed=self.seed)
        return replace(certificate, group_name=self.group_name)

    @property
    def units(self) -> dict[str, str]:
        """What the first metric is given by, with headings: each ``unit`` of ``estimates``."""
        headings = {"image": "by image", "source": "by photograph", "group_mean": f"mean of {plural(self.group_name)}"}
        own = set(self.estimates.loc[self.estimates["metric"] == self.scores[0].name, "unit"])
        return {unit: heading for unit, heading in headings.items() if unit in own}

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of all that were compared, trivial baselines last."""
        return tuple(candidate.name for candidate in self.aligned.candidates)

    @property
    def n_images(self) -> int:
        """How many images there are."""
        return len(self.aligned.images)

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.aligned.images["group"].nunique())

    def not_worse(self) -> list[str]:
        """Return the runs that can be the best, or are practically equal to the best-looking that does not leak."""
        honest = self.ranking[self.ranking["p_best"].notna()]
        if honest.empty:
            return []
        first = honest["run"].iloc[0]
        own = self.verdicts[(self.verdicts["metric"] == self.scores[0].name) & (self.verdicts["verdict"] == EQUAL)]
        equal = {*own.loc[own["a"] == first, "b"], *own.loc[own["b"] == first, "a"]}
        counted = self.ranking["can_be_best"] | (self.ranking["run"].isin(equal) & self.ranking["p_best"].notna())
        return list(self.ranking.loc[counted, "run"])


def compare(
    tables: Tables,
    *,
    metrics: Sequence[Metric] = ("accuracy",),
    n_resamples: int = N_RESAMPLES,
    equivalence: float = EQUIVALENCE,
    seed: int = 0,
    split: str | None = None,
    leaky: Collection[str] = (),
    group_name: str = PHOTOGRAPH,
) -> Comparison:
    """Say which of several models is better, by how much and how surely, or that the data cannot decide.

    Only predictions are looked at. What counts is the group with all its images, see `bloodcell.comparison.verdicts`.
    The majority class of the images is compared too. With few groups, no verdict is given if intervals of such data are
    found to hold the truth too seldom (`Comparison.certificate`).

    Parameters
    ----------
    tables
        By name, the predictions of each model (`bloodcell.evaluation.predictions`, or any table with ``path, label,
        group``, perhaps ``source``, and one ``p_<class>`` for each class), in any order of rows and columns. A list of
        tables is of several seeds of one configuration: their scores are averaged, and how seeds differ is part of the
        interval.
    metrics
        Of the names in `bloodcell.evaluation.scores.SCORES`, `Score`, or functions of labels, shape (n,), int64, and
        probabilities, shape (n, k), float64, of which more is better. The first ranks.
    n_resamples
        How many comparisons are simulated for `Comparison.certificate`.
    equivalence
        How small a difference does not count, in the metric's own unit: 0.01 is one point of accuracy.
    seed
        Of these simulations.
    split
        Which predictions are compared; None: out-of-fold ones of a cross-validation, else those of test, see `align`.
    leaky
        The names of models whose split is known to leak: they are shown and do not win.
    group_name
        What sentences call a group, such as ``patient``.

    Returns
    -------
    Comparison
        The same for the same arguments.

    Raises
    ------
    UserError
        If a table cannot be used, or tables are not of the same images: one line that says what differs.

    Examples
    --------
    >>> import pandas as pd
    >>> from bloodcell.comparison import compare
    >>> table = pd.DataFrame({"path": list("abcd"), "label": list("xxyy"), "group": list("abcd")})
    >>> good = table.assign(p_x=[0.9, 0.8, 0.1, 0.2], p_y=[0.1, 0.2, 0.9, 0.8])
    >>> poor = table.assign(p_x=[0.4, 0.8, 0.1, 0.6], p_y=[0.6, 0.2, 0.9, 0.4])
    >>> compare({"good": good, "poor": poor}).verdicts["verdict"].tolist()
    ['cannot tell', 'cannot tell', 'cannot tell']
    """
    scores = _checked_arguments(metrics, n_resamples=n_resamples, equivalence=equivalence, seed=seed)
    aligned = align(tables, split=split, leaky=leaky)
    answers = [aligned.answers(candidate) for candidate in aligned.candidates]
    grouped = [
        [each.by_photograph() if not candidate.majority else _majority_of(each.by_photograph()) for each in several]
        for candidate, several in zip(aligned.candidates, answers, strict=True)
    ]
    scored = [[[_measured(score, each) for each in several] for several in answers] for score in scores]
    strata = answers[0][0].strata
    few = effective(answers[0][0].images.astype(float)) < FEW_GROUPS
    enough = not few or _certified(aligned, n_simulated=N_BEFORE, seed=seed).enough
    every = [
        measure_pairs(by_candidate, strata=strata, unit=_unit(score, by_candidate))
        for score, by_candidate in zip(scores, scored, strict=True)
    ]
    estimates, verdicts, sentences = [], [], []
    for score, by_candidate, pairs in zip(scores, scored, every, strict=True):
        estimates.append(_estimates(score, aligned, answers, grouped, by_candidate))
        table = verdict_table(pairs, score=score, candidates=aligned.candidates, equivalence=equivalence)
        if not enough:
            table["verdict"] = UNKNOWN
        order = _models_first(pairs, aligned)
        sentences.extend(
            _sentences(
                table, pairs, order, score=score, aligned=aligned, equivalence=equivalence, group_name=group_name
            )
        )
        verdicts.append(table.iloc[order])
    ranking = _ranking(estimates[0], every[0], score=scores[0], aligned=aligned)
    return Comparison(
        estimates=pd.concat(estimates, ignore_index=True),
        verdicts=pd.concat(verdicts, ignore_index=True),
        sentences=tuple(sentences),
        ranking=ranking,
        best=best_sentence(ranking, score=scores[0], trivial=aligned.trivial),
        scores=scores,
        aligned=aligned,
        equivalence=equivalence,
        n_resamples=n_resamples,
        seed=seed,
        group_name=group_name,
    )


def _certified(aligned: Aligned, *, n_simulated: int, seed: int) -> Certificate:
    models = [each for each in aligned.candidates if not each.trivial] or list(aligned.candidates)
    return certify([aligned.answers(each)[0] for each in models], n_simulated=n_simulated, seed=seed)


def _checked_arguments(
    metrics: Sequence[Metric], *, n_resamples: int, equivalence: float, seed: int
) -> tuple[Score, ...]:
    if isinstance(metrics, str) or not metrics:
        raise UserError(f"metrics={metrics!r}: is no list of metrics; give at least one, such as ['accuracy']")
    if not isinstance(n_resamples, Integral) or n_resamples < 1:
        raise UserError(f"n_resamples={n_resamples!r}: is no number of resamples; give at least 1, 1000 is usual")
    if not isinstance(equivalence, Real) or not 0 <= equivalence < np.inf:
        raise UserError(f"equivalence={equivalence!r}: is no size of a difference; give 0 or more, 0.01 is one point")
    if not isinstance(seed, Integral) or seed < 0:
        raise UserError(f"seed={seed!r}: is no seed; give a whole number, 0 or more")
    try:
        scores = tuple(find_score(each) for each in metrics)
    except ValueError as error:
        raise UserError(f"metrics: {error}") from error
    names = [score.name for score in scores]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"metrics: {twice[0]} is given twice; give every metric once")
    return scores


def _measured(score: Score, answers: Answers) -> Scored:
    try:
        return score.measure(answers)
    except ValueError as error:
        raise UserError(f"metrics: {error}; give a function of labels and probabilities") from error


def _majority_of(answers: Answers, *, groups: bool = False) -> Answers:
    """Return what the most frequent class would say, with the classes' shares; each group counts once if asked."""
    labels = answers.labels
    if groups:
        labels = np.unique(np.column_stack([answers.groups, labels]), axis=0)[:, 1]
    n, n_classes = answers.probabilities.shape
    probabilities = majority_probabilities(training_labels=labels, n_classes=n_classes, n_images=n)
    return replace(answers, probabilities=probabilities)


def _unit(score: Score, scored: Sequence[Sequence[Scored]]) -> float:
    """Return by how much two models can differ in one group: the score's range, or else the most that was seen."""
    if np.isfinite(score.highest - score.lowest):
        return score.highest - score.lowest
    means = np.array([each.value + each.parts / each.weights for several in scored for each in several])
    apart = np.ptp(means[:, np.isfinite(means).all(axis=0)], axis=0)
    return float(apart.max()) if apart.size else 0.0


def _estimates(
    score: Score,
    aligned: Aligned,
    answers: Sequence[Sequence[Answers]],
    grouped: Sequence[Sequence[Answers]],
    scored: Sequence[Sequence[Scored]],
) -> pd.DataFrame:
    units: list[tuple[str, Sequence[Sequence[Answers]], list[list[float]]]] = [
        ("image", answers, [[each.value for each in several] for several in scored]),
        ("source", grouped, [[_measured(score, each).value for each in several] for several in grouped]),
    ]
    if score.is_mean and aligned.has_levels:
        each_once = [
            several if not candidate.majority else [_majority_of(each, groups=True) for each in several]
            for candidate, several in zip(aligned.candidates, answers, strict=True)
        ]
        means = [[score.group_mean(each) for each in several] for several in each_once]
        units.append(("group_mean", each_once, means))
    rows = []
    for unit, given, values in units:
        errors = training_errors(training_of(values))
        for candidate, several, own, error in zip(aligned.candidates, given, values, errors, strict=True):
            # A single training speaks of itself alone.
            ends = score_interval(
                score,
                several,
                training_error=float(error) if len(several) > 1 else 0.0,
                group_mean=unit == "group_mean",
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
    """Return the order of pairs in which those with a trivial baseline come last."""
    trivial = [candidate.trivial for candidate in aligned.candidates]
    return sorted(range(len(pairs.first)), key=lambda pair: trivial[pairs.first[pair]] or trivial[pairs.second[pair]])


def _sentences(
    table: pd.DataFrame,
    pairs: Pairs,
    order: Sequence[int],
    *,
    score: Score,
    aligned: Aligned,
    equivalence: float,
    group_name: str,
) -> list[str]:
    n_groups = int(aligned.images["group"].nunique())
    said = []
    for number in order:
        row = table.iloc[number]
        first_wins = (row["difference"] > 0) == score.greater_is_better
        winner = aligned.candidates[(pairs.first if first_wins else pairs.second)[number]]
        settling = settling_sentence(
            row,
            n_groups=n_groups,
            n_pairs=len(table),
            error=float(pairs.error[number]),
            of_groups=float(pairs.of_groups[number]),
            unseen=pairs.unseen,
            equivalence=equivalence,
            group_name=group_name,
        )
        both = [aligned.candidates[index[number]] for index in (pairs.first, pairs.second)]
        said.append(
            verdict_sentence(
                row,
                score=score,
                n_groups=n_groups,
                group_name=group_name,
                n_pairs=len(table),
                settling=settling,
                leak=winner.leak if row["difference"] else "",  # of two that are the same none looks better
                once=not any(each.trivial or len(each.probabilities) > 1 for each in both),
            )
        )
    return said


def _ranking(estimates: pd.DataFrame, pairs: Pairs, *, score: Score, aligned: Aligned) -> pd.DataFrame:
    table = estimates.loc[estimates["unit"] == "image", ["run", "value", "low", "high"]].reset_index(drop=True)
    leaks = [candidate.leak for candidate in aligned.candidates]
    counted = np.isfinite(table["value"].to_numpy()) & ~np.array([bool(leak) for leak in leaks])
    chances = p_value_best(pairs, counted=list(counted), greater_is_better=score.greater_is_better)
    table = table.assign(p_best=chances, can_be_best=chances >= SIGNIFICANCE, leak=leaks)
    return table.sort_values("value", ascending=not score.greater_is_better, ignore_index=True, kind="stable")


def cheapest(comparison: Comparison, costs: Mapping[str, float]) -> str | None:
    """Return the run that costs least of those in `Comparison.not_worse`; None where no cost is known.

    Parameters
    ----------
    comparison
        What came out.
    costs
        By run, what it costs; NaN or missing where that is not known.
    """
    known = {run: costs[run] for run in comparison.not_worse() if np.isfinite(costs.get(run, np.nan))}
    return min(known, key=lambda run: known[run]) if known else None
