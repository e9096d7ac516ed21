"""Comparing models by what they say of the same images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bloodcell.comparison.candidates import Aligned, Tables, align
from bloodcell.comparison.sentences import best_sentence, photographs_to_settle, verdict_sentence
from bloodcell.comparison.verdicts import EQUAL, SIGNIFICANCE, Pairs, chance_to_be_best, measure_pairs, verdict_table
from bloodcell.errors import UserError
from bloodcell.evaluation.intervals import score_interval
from bloodcell.evaluation.scores import Answers, Function, Score, Scored, find_score

Metric = str | Score | Function

N_RESAMPLES = 10_000
EQUIVALENCE = 0.01


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out of a comparison.

    Attributes
    ----------
    estimates
        ``run, metric, unit, value, low, high``: of every run each score by image and by group (``unit`` is ``image``
        or ``group``) with its 95 % interval.
    verdicts
        ``metric, a, b, difference, low, high, p_value, p_adjusted, verdict``: of every pair the difference of a and b,
        by image, its 95 % interval, its p-value and that corrected for the number of pairs, and what it says of a:
        ``better``, ``worse``, ``practically equal`` or ``cannot tell``.
    sentences
        Of each row of ``verdicts``, in its order, what can be quoted.
    ranking
        ``run, value, low, high, p_best, can_be_best, leak``: by the first metric, the best first. ``p_best`` is how
        surprising the others' lead would be if the run were the best; with 95 % confidence the best is among those with
        ``can_be_best``. What leaks cannot be, and says why.
    best
        What can be said of the best, in a sentence.
    scores
        The metrics, in order.
    aligned
        What was compared.
    equivalence
        How small a difference does not count.
    """

    estimates: pd.DataFrame
    verdicts: pd.DataFrame
    sentences: tuple[str, ...]
    ranking: pd.DataFrame
    best: str
    scores: tuple[Score, ...]
    aligned: Aligned
    equivalence: float

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
        """How many photographs there are."""
        return int(self.aligned.images["group"].nunique())

    def not_worse(self) -> list[str]:
        """Return the runs that can be the best, or are practically equal to the one that looks the best."""
        first = self.ranking["run"].iloc[0]
        own = self.verdicts[(self.verdicts["metric"] == self.scores[0].name) & (self.verdicts["verdict"] == EQUAL)]
        equal = {*own.loc[own["a"] == first, "b"], *own.loc[own["b"] == first, "a"]}
        counted = self.ranking["can_be_best"] | (self.ranking["run"].isin(equal) & (self.ranking["leak"] == ""))
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
) -> Comparison:
    """Say which of several models is better, by how much and how surely, or that the photographs cannot tell.

    Only predictions are looked at. What is resampled is the photograph with all its images, within its class. The
    majority class of the images is compared too.

    Parameters
    ----------
    tables
        By name, the predictions of each model (`bloodcell.evaluation.predictions`, or any table with ``path, label,
        group`` and one ``p_<class>`` for each class), in any order of rows and columns. A list of tables is of several
        seeds of one configuration: their scores are averaged, and how seeds differ is part of the interval.
    metrics
        Of the names in `bloodcell.evaluation.scores.SCORES`, `Score`, or functions of labels, shape (n,), int64, and
        probabilities, shape (n, k), float64, of which more is better. The first ranks.
    n_resamples
        How often two models' answers are swapped for a p-value.
    equivalence
        How small a difference does not count, in the metric's own unit: 0.01 is one point of accuracy.
    seed
        Of what is drawn at random.
    split
        Which predictions are compared; None: out-of-fold ones of a cross-validation, else those of test, see `align`.
    leaky
        The names of models whose split is known to leak: they are shown and do not win.

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
    scores = _checked(metrics, n_resamples=n_resamples, equivalence=equivalence)
    aligned = align(tables, split=split, leaky=leaky)
    answers = [aligned.answers(candidate) for candidate in aligned.candidates]
    estimates, verdicts, sentences = [], [], []
    ranking = pd.DataFrame()
    for number, score in enumerate(scores):
        scored = [[score.measure(each) for each in several] for several in answers]
        own = _estimates(score, aligned, answers, scored)
        pairs = measure_pairs(
            scored,
            answers=[several[0] for several in answers],
            n_resamples=n_resamples,
            seed=seed,
            keep_swapped=number == 0,
        )
        table = verdict_table(pairs, score=score, candidates=aligned.candidates, equivalence=equivalence)
        order = _models_first(pairs, aligned)
        sentences.extend(_sentences(table, pairs, order, score=score, aligned=aligned, equivalence=equivalence))
        estimates.append(own)
        verdicts.append(table.iloc[order])
        if number == 0:
            ranking = _ranking(own, pairs, score=score, aligned=aligned)
    return Comparison(
        estimates=pd.concat(estimates, ignore_index=True),
        verdicts=pd.concat(verdicts, ignore_index=True),
        sentences=tuple(sentences),
        ranking=ranking,
        best=best_sentence(ranking, score=scores[0]),
        scores=scores,
        aligned=aligned,
        equivalence=equivalence,
    )


def _checked(metrics: Sequence[Metric], *, n_resamples: int, equivalence: float) -> tuple[Score, ...]:
    if isinstance(metrics, str) or not metrics:
        raise UserError(f"metrics={metrics!r}: is no list of metrics; give at least one, such as ['accuracy']")
    if n_resamples < 1:
        raise UserError(f"n_resamples={n_resamples}: is no number of resamples; give at least 1, 10000 is usual")
    if not 0 <= equivalence < np.inf:
        raise UserError(f"equivalence={equivalence}: is no size of a difference; give 0 or more, 0.01 is one point")
    try:
        scores = tuple(find_score(each) for each in metrics)
    except ValueError as error:
        raise UserError(f"metrics: {error}") from error
    names = [score.name for score in scores]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"metrics: {twice[0]} is given twice; give every metric once")
    return scores


def _estimates(
    score: Score, aligned: Aligned, answers: Sequence[Sequence[Answers]], scored: Sequence[Sequence[Scored]]
) -> pd.DataFrame:
    rows = []
    for candidate, several, by_image in zip(aligned.candidates, answers, scored, strict=True):
        grouped = [each.by_photograph() for each in several]
        by_group = [score.measure(each) for each in grouped]
        for unit, found, first in (("image", by_image, several[0]), ("group", by_group, grouped[0])):
            ends = score_interval(score, found, answers=first)
            rows.append(
                {
                    "run": candidate.name,
                    "metric": score.name,
                    "unit": unit,
                    "value": float(np.mean([each.value for each in found])),
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
    table: pd.DataFrame, pairs: Pairs, order: Sequence[int], *, score: Score, aligned: Aligned, equivalence: float
) -> list[str]:
    n_groups = int(aligned.images["group"].nunique())
    errors = np.sqrt(pairs.spread.variance)
    said = []
    for number in order:
        row = table.iloc[number]
        first_wins = (row["difference"] > 0) == score.greater_is_better
        winner = aligned.candidates[(pairs.first if first_wins else pairs.second)[number]]
        more = photographs_to_settle(
            row, n_groups=n_groups, n_pairs=len(table), error=errors[number], equivalence=equivalence
        )
        said.append(
            verdict_sentence(row, score=score, n_groups=n_groups, n_pairs=len(table), more=more, leak=winner.leak)
        )
    return said


def _ranking(estimates: pd.DataFrame, pairs: Pairs, *, score: Score, aligned: Aligned) -> pd.DataFrame:
    counted = [number for number, candidate in enumerate(aligned.candidates) if not candidate.leak]
    chances = np.full(len(aligned.candidates), np.nan)
    if counted:
        chances[counted] = chance_to_be_best(
            pairs.among(counted), n_candidates=len(counted), greater_is_better=score.greater_is_better
        )
    by_image = estimates[estimates["unit"] == "image"].reset_index(drop=True)
    table = by_image[["run", "value", "low", "high"]].assign(
        p_best=chances,
        can_be_best=chances >= SIGNIFICANCE,
        leak=[candidate.leak for candidate in aligned.candidates],
    )
    return table.sort_values("value", ascending=not score.greater_is_better, ignore_index=True, kind="stable")


def cheapest(comparison: Comparison, costs: Mapping[str, float]) -> str | None:
    """Return the run that costs least of those that are not worse than the best; None where no cost is known.

    Parameters
    ----------
    comparison
        What came out.
    costs
        By run, what it costs; NaN or missing where that is not known.
    """
    known = {run: costs[run] for run in comparison.not_worse() if np.isfinite(costs.get(run, np.nan))}
    return min(known, key=lambda run: known[run]) if known else None
