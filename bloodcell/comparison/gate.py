"""A gate for long searches: keep a candidate, reject it, or say that the data cannot tell.

Whoever tries hundreds of changes against one validation set finds some that look better by chance. The gate counts
every candidate in a ledger, and asks for more evidence the more candidates there were.

The rule is LOND (Javanmard and Montanari, "Online rules for control of false discovery rate and false discovery
exceedance", Annals of Statistics 46, 2018): candidate number t is tested at the level ``alpha * gamma_t * (keeps +
1)``, where the gamma sum to 1, and half of that is for the candidates that are expected (`share_of_level`). A candidate
that is asked about again with more trainings spends its level in parts, in proportion to its trainings (Lan and DeMets,
"Discrete sequential boundaries for clinical trials", Biometrika 70, 1983).

If no change improves anything, the probability of any false keep is at most ``alpha``, however the tests depend on each
other: before the first keep the levels are known in advance, and they add up to ``alpha`` (the union bound). This holds
if candidates depend on the validation images only by answers of ``keep``: the argument of the ladder (Blum and Hardt,
"The ladder: a reliable leaderboard for machine learning competitions", ICML 2015). A search that looks into the
predictions for its next idea can still fit noise. After keeps that were right, the expected share of false keeps is at
most ``alpha`` if p-values depend positively (Zrnic, Ramdas and Jordan, "Asynchronous online testing of multiple
hypotheses", Journal of Machine Learning Research 22, 2021), as those of several candidates against one incumbent do.

The difference of two candidates varies with the groups of the validation set and with the seeds of the trainings.
Groups and trainings are two crossed random effects (Cornfield and Tukey, "Average values of mean squares in
factorials", Annals of Mathematical Statistics 27, 1956): the variance between groups of the mean over trainings
contains the part of the variance between trainings that more groups reduce, which is therefore subtracted there. The
variance between trainings is pooled over all configurations in the ledger. The test is corrected for the skewness
of the groups' differences (Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical
Society B 54, 1992): a useful edit helps some groups and leaves the others as they are, and one that spoils few groups
looks better than it is.

On a test set the gate answers as the ladder does: a score is told only if it is better than the best so far by more
than its standard error; else the best so far is repeated. The number of answers is limited.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bloodcell.comparison.candidates import align
from bloodcell.comparison.ledger import Ledger, Spread
from bloodcell.comparison.sentences import format_score
from bloodcell.comparison.verdicts import Pairs, compare_pairs
from bloodcell.errors import UserError
from bloodcell.evaluation.intervals import FEWEST_GROUPS
from bloodcell.evaluation.scores import Predictions, Score, ScoreByGroup, find_score
from bloodcell.wording import PHOTOGRAPH, counted, plural

KEEP, REJECT, CANNOT_TELL = "keep", "reject", "cannot tell"
INCUMBENT, CANDIDATE = "incumbent", "candidate"
FEWEST_INCUMBENTS = 8
"""The incumbent is trained so often before a candidate is judged by how much trainings vary."""
TIMES_INCUMBENT = 4
"""The incumbent, which all candidates are compared with, is trained up to so many times as often as a candidate."""
HOPE = 0.05
"""A candidate that would be kept with less than this probability after all its trainings is rejected."""
SYMMETRIC = 1e-9
"""A smaller skewness is none."""
MAX_TIMES = 10.0
"""More than this many times the groups are not asked for."""

MAX_SCORES = 1000
"""Scores that a gate remembers."""

Table = pd.DataFrame | Sequence[pd.DataFrame]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of a gate.

    Attributes
    ----------
    verdict
        ``keep``, ``reject`` or ``cannot tell``.
    sentence
        The verdict in words.
    number
        The candidate's number in the ledger.
    level
        The level of this test.
    difference, needed
        The candidate's score less the incumbent's, positive if better, and the least that is kept at this level; NaN if
        unknown.
    more_trainings, more_incumbent_trainings
        With how many more trainings (seeds) of either to ask again; 0 if they cannot help.
    more_groups
        About how many more groups would tell; 0 if they are not what is missing.
    """

    verdict: str
    sentence: str
    number: int
    level: float
    difference: float
    needed: float
    more_trainings: int = 0
    more_incumbent_trainings: int = 0
    more_groups: int = 0


@dataclass(frozen=True, kw_only=True)
class TestAnswer:
    """The answer on a test set.

    Attributes
    ----------
    improved
        Whether the score is better than the best so far by more than its standard error.
    score
        The score; if it has not improved, the best so far.
    answers_left
        How many more answers there are.
    sentence
        The answer in words.
    """

    improved: bool
    score: float
    answers_left: int
    sentence: str


def share_of_level(number: int, *, expected: int) -> float:
    """Return gamma of a candidate's number, from 1; over all numbers they sum to 1.

    The first ``n`` candidates have ``n / (n + expected)`` of the sum: those that are expected have half of it.
    """
    return expected / ((expected + number - 1) * (expected + number))


class Gate:
    """A referee for a long search on one validation set; see the module.

    Parameters
    ----------
    ledger
        The file that counts the attempts, which is created if there is none; `bloodcell.comparison.ledger.MEMORY` keeps
        nothing.
    metric
        A name in `bloodcell.evaluation.scores.SCORES`, a `Score`, or a function, see `bloodcell.comparison.compare`.
    alpha
        The probability of any false keep, if no change improves anything.
    max_trainings
        The most trainings of a candidate that are asked for; 1: trainings do not vary, as those of a solved head.
    expected
        About how many candidates are expected: with fewer, each is tested at a lower level than necessary; with many
        more, the last are.
    test_budget
        The number of answers on the test set.

    Raises
    ------
    UserError
        If the ledger cannot be used, or was begun with another ``alpha``, ``expected`` or ``test_budget``.

    Examples
    --------
    >>> import pandas as pd
    >>> from bloodcell.comparison import Gate
    >>> images = {"path": list("abcdefgh"), "label": list("xxxxyyyy"), "group": list("abcdefgh")}
    >>> old = pd.DataFrame({**images, "p_x": [0.9] * 8, "p_y": [0.1] * 8})
    >>> new = pd.DataFrame({**images, "p_x": [0.9] * 4 + [0.1] * 4, "p_y": [0.1] * 4 + [0.9] * 4})
    >>> Gate(":memory:").ask(incumbent=old, candidate=new).verdict
    'cannot tell'
    """

    def __init__(
        self,
        ledger: str | Path,
        *,
        metric: str | Score = "accuracy",
        alpha: float = 0.05,
        max_trainings: int = 64,
        expected: int = 100,
        test_budget: int = 10,
    ) -> None:
        if not 0 < alpha < 1:
            raise UserError(f"alpha={alpha:g}: must be between 0 and 1")
        try:
            self.score = find_score(metric)
        except ValueError as error:
            raise UserError(f"metric: {error}") from error
        self.alpha, self.max_trainings, self.expected, self.test_budget = alpha, max_trainings, expected, test_budget
        self._scores: dict[str, ScoreByGroup] = {}
        self.ledger = Ledger(ledger, settings={"alpha": alpha, "expected": expected, "test_budget": test_budget})

    def ask(
        self,
        *,
        incumbent: Table,
        candidate: Table,
        name: str = CANDIDATE,
        among: int = 1,
        evidence: Mapping[str, Collection[str]] | None = None,
        split: str | None = None,
        group_name: str = PHOTOGRAPH,
        **reading: Any,
    ) -> Answer:
        """Decide whether a candidate replaces the incumbent, by predictions of the same validation images.

        Parameters
        ----------
        incumbent, candidate
            Predictions tables as for `bloodcell.comparison.compare`; a list has several trainings of a configuration.
        name
            The candidate's name in sentences.
        among
            The number of candidates from which this one was chosen by these images, such as the runs of a sweep.
        evidence
            What limits ``incumbent`` and ``candidate``, as for `compare`: a debug run, or one that leaks, is rejected.
        split, group_name, **reading
            As for `compare`: ``columns``, ``classes``, ``groups``.

        Returns
        -------
        Answer
            The same for the same predictions.

        Raises
        ------
        UserError
            If a table is invalid, or tables are of different images.
        """
        aligned = align({INCUMBENT: incumbent, CANDIDATE: candidate}, split=split, evidence=evidence, **reading)
        by_name = {each.name: each for each in aligned.candidates}
        if barred := by_name[CANDIDATE].barred:
            return Answer(
                verdict=REJECT,
                sentence=f"Reject {name}: it {barred}.",
                number=0,
                level=0.0,
                difference=float("nan"),
                needed=float("nan"),
            )
        both = (aligned.predictions(by_name[each]) for each in (INCUMBENT, CANDIDATE))
        return self.judge(*both, name=name, among=among, group_name=group_name)

    def judge(
        self,
        incumbent: Sequence[Predictions],
        candidate: Sequence[Predictions],
        *,
        name: str = CANDIDATE,
        among: int = 1,
        group_name: str = PHOTOGRAPH,
    ) -> Answer:
        """Decide as `ask`, by predictions that are already aligned; each has a training."""
        digests = [[each.digest for each in several] for several in (incumbent, candidate)]
        question = " ".join([self.score.name, *digests[0], "against", *digests[1]])
        hypothesis = " ".join([self.score.name, digests[0][0], "against", digests[1][0]])
        kind = " ".join([self.score.name, incumbent[0].images_digest])
        with self.ledger.transaction():
            if (before := self.ledger.earlier(question)) is not None:
                return Answer(**before)
            place, used = self.ledger.place_of(hypothesis, among=among)
            compared = _Compared(
                self.score,
                *([self._scored(each) for each in several] for several in (incumbent, candidate)),
                strata=incumbent[0].strata,
                vary=self.max_trainings > 1,
            )
            spread = self.ledger.spread(kind, without=[each[0] for each in digests])
            test = _Test(
                number=place,
                level=self.alpha * share_of_level(place, expected=self.expected) * (self.ledger.keeps() + 1),
                used=used,
                most=self.max_trainings,
                spread=spread + compared.spreads[0] + compared.spreads[1],
            )
            answer = self._answer(compared, test, name=name, group_name=group_name)
            self.ledger.add(
                question,
                hypothesis=hypothesis,
                place=place,
                used=max(used, test.share(len(candidate))) if np.isfinite(answer.needed) else used,
                kept=answer.verdict == KEEP,
                answer=asdict(answer),
            )
            for (first, *_), own in zip(digests, compared.spreads, strict=True):
                self.ledger.add_spread(kind, first, own)
        return answer

    def ask_test(self, table: Table, *, name: str = CANDIDATE, split: str = "test", **reading: Any) -> TestAnswer:
        """Return a score on the test set, if it is better than the best so far; costs one answer of the budget.

        Parameters
        ----------
        table
            Predictions of the test images, see `ask`; several trainings are averaged.
        name
            The name in sentences.
        split, **reading
            As for `ask`.

        Raises
        ------
        UserError
            If the table is invalid, or the budget is spent.
        """
        aligned = align({CANDIDATE: table}, split=split, **reading)
        own = next(each for each in aligned.candidates if each.name == CANDIDATE)
        if own.barred:
            raise UserError(f"candidate: {own.barred}; a test set has no answer for it")
        predictions = aligned.predictions(own)
        question = " ".join([self.score.name, *(each.digest for each in predictions)])
        kind = " ".join([self.score.name, predictions[0].images_digest])
        mean = _mean_score([self.score.by_group(each) for each in predictions])
        sign = 1 if self.score.greater_is_better else -1
        scores = sign * (mean.contributions + mean.weights * mean.value)
        with self.ledger.transaction():
            if (before := self.ledger.earlier(question, table="test_answers")) is not None:
                return TestAnswer(**before)
            used = self.ledger.test_answers()
            if used >= self.test_budget:
                raise UserError(
                    f"ledger={self.ledger.path}: the {counted(self.test_budget, 'answer')} of the test set are spent; "
                    "collect new test images, and begin a new ledger"
                )
            best = self.ledger.best_on_test(kind)
            gain = scores if best is None else scores - np.array(best)
            error = float(np.sqrt(gain.size * np.var(gain, ddof=1))) if gain.size > 1 else np.inf
            improved = best is None or float(gain.sum()) > error
            left = self.test_budget - used - 1
            told = mean.value if best is None or improved else sign * float(np.sum(best))
            shown = f"{self.score.label} {format_score(told, self.score)}"
            what = f"{name}: {shown} on the test set" if improved else f"{name} is not better on the test set: {shown}"
            sentence = f"{what}. {counted(left, 'answer')} left."
            answer = TestAnswer(improved=improved, score=told, answers_left=left, sentence=sentence)
            self.ledger.add_test_answer(
                question, kind=kind, improved=improved, scores=scores.tolist(), answer=asdict(answer)
            )
        return answer

    def _scored(self, predictions: Predictions) -> ScoreByGroup:
        """Return the score of predictions, which a loop asks about many times."""
        if predictions.digest not in self._scores:
            if len(self._scores) >= MAX_SCORES:
                self._scores.clear()
            self._scores[predictions.digest] = self.score.by_group(predictions)
        return self._scores[predictions.digest]

    def _answer(self, compared: "_Compared", test: "_Test", *, name: str, group_name: str) -> Answer:
        difference, n_groups = compared.difference, compared.n_groups
        incumbents, candidates = compared.trainings
        level = test.level_with(candidates)
        needed = compared.needed(level, test.spread)
        found = f"{format_score(difference, self.score, signed=True)}{' points' if self.score.is_share else ''}"
        at = f"candidate {test.number}, {counted(n_groups, group_name)}"

        def answer(verdict: str, sentence: str, **more: int) -> Answer:
            known = {"number": test.number, "level": level, "difference": difference, "needed": needed}
            return Answer(verdict=verdict, sentence=sentence, **known, **more)  # type: ignore[arg-type]

        def more_trainings(of_candidate: int, of_incumbent: int) -> Answer:
            who = {name: of_candidate, "the incumbent": of_incumbent}
            asked = " and ".join(f"{counted(n, 'more training')} of {each}" for each, n in who.items() if n)
            return answer(
                CANNOT_TELL,
                f"Cannot tell yet: {found} ({at}); ask again with {asked}.",
                more_trainings=of_candidate,
                more_incumbent_trainings=of_incumbent,
            )

        if n_groups < FEWEST_GROUPS:
            few = f"Cannot tell: {counted(n_groups, group_name)} are too few; at least {FEWEST_GROUPS} are needed."
            return answer(CANNOT_TELL, few, more_groups=FEWEST_GROUPS - n_groups)
        first = min(FEWEST_INCUMBENTS, test.most)
        if test.spread.degrees < first - 1 and difference + stats.norm.isf(HOPE) * compared.variance_now() ** 0.5 > 0:
            return more_trainings(1, max(first - incumbents, 1))
        if difference <= 0:
            return answer(REJECT, f"Reject {name}: {found} ({at}).")
        if difference >= needed:
            return answer(KEEP, f"Keep {name}: {found} ({at}).")
        most = max(test.most, candidates), max(test.most, incumbents)
        reachable = compared.needed(test.last_level(candidates), test.spread, candidates=most[0], incumbents=most[1])
        left = max(compared.variance_now() - compared.variance_with(test.spread, *most), 0.0) ** 0.5
        if candidates < most[0] and difference + stats.norm.isf(HOPE) * left >= reachable:
            wanted = min(2 * candidates, most[0])
            of_incumbent = max(min(TIMES_INCUMBENT * wanted, test.most) - incumbents, 0)
            return more_trainings(wanted - candidates, of_incumbent)
        times = compared.times(level, test.spread)
        if candidates >= most[0] and times <= MAX_TIMES:
            more = max(int(np.ceil((times - 1) * n_groups)), 1)
            sentence = f"Cannot tell: {found} ({at}); about {more} more {plural(group_name)} would tell."
            return answer(CANNOT_TELL, sentence, more_groups=more)
        return answer(REJECT, f"Reject {name}: {found} is too little ({at}).")


@dataclass(frozen=True, kw_only=True)
class _Test:
    """The test of a candidate: its number, its level, the share of it that is used, and the spread of trainings."""

    number: int
    level: float
    used: float
    most: int
    spread: Spread

    def share(self, trainings: int) -> float:
        """Return the share of the level that is used with so many trainings."""
        return min(trainings / self.most, 1.0)

    def level_with(self, trainings: int) -> float:
        """Return the level of a test now."""
        return self.level * max(self.share(trainings) - self.used, 0.0)

    def last_level(self, trainings: int) -> float:
        """Return the level of the last test, if trainings are doubled each time."""
        return self.level * (1 - self.share(max(trainings, self.most // 2)))


class _Compared:
    """The difference of two configurations, and its variance."""

    def __init__(
        self,
        score: Score,
        incumbent: Sequence[ScoreByGroup],
        candidate: Sequence[ScoreByGroup],
        *,
        strata: NDArray[np.int64],
        vary: bool,
    ) -> None:
        self._vary = vary
        scored = [incumbent, candidate]
        sign = 1 if score.greater_is_better else -1
        means = [_mean_score(each) for each in scored]
        self.n_groups = strata.size
        self.trainings = len(incumbent), len(candidate)
        self.difference = sign * (means[1].value - means[0].value)
        self.spreads = [_spread(each) for each in scored]
        self._pairs: Pairs = compare_pairs(
            [[each] for each in means],
            strata=strata,
            max_difference=_largest_seen(means),
        )
        self._third_cumulant = sign * _third_cumulant(means[1].contributions - means[0].contributions, strata)

    def needed(
        self, level: float, spread: Spread, *, candidates: int | None = None, incumbents: int | None = None
    ) -> float:
        """Return the least difference that is kept at a level, with these or more trainings; infinite if unknown."""
        if self.n_groups < FEWEST_GROUPS or not level:
            return float("inf")
        if not spread.degrees and self._vary:
            if candidates is None:
                return float("inf")
            return float(stats.norm.isf(level) * self.variance_with(spread, candidates, incumbents) ** 0.5)
        if candidates is None and 0.5 ** int(self._pairs.n_differing[0]) > level:  # no test of symmetry can have less
            return float("inf")
        of_groups = float(stats.t.isf(level, self._pairs.degrees[0])) ** 2
        if not self._vary:
            return self._corrected((of_groups * self.variance_now()) ** 0.5, error=self.variance_now() ** 0.5)
        more = 0 if candidates is None or incumbents is None else candidates + incumbents - sum(self.trainings)
        of_trainings = float(stats.t.isf(level, spread.degrees + more)) ** 2
        inverse = self._inverse(candidates, incumbents)
        between = self._between_groups(spread, inverse)
        main = max(of_trainings * spread.between - of_groups * spread.residual, 0.0) / spread.degrees
        error = between + max(spread.between - spread.residual, 0.0) / spread.degrees * inverse
        return self._corrected((of_groups * between + main * inverse) ** 0.5, error=error**0.5)

    def _corrected(self, needed: float, *, error: float) -> float:
        """Return a needed difference corrected for the skewness of the groups' contributions."""
        if not error:
            return needed
        return error * _without_skewness(needed / error, self._third_cumulant / error**3)

    def times(self, level: float, spread: Spread) -> float:
        """Return how many times the groups are needed to keep this difference at a level; infinite if unknown."""
        incumbents, candidates = self.trainings
        least = self.needed(level, spread, candidates=candidates, incumbents=incumbents)
        if not np.isfinite(least):
            return float("inf")
        return float(max((least / self.difference) ** 2, -np.log2(level) / self._pairs.n_differing[0]))

    def variance_now(self) -> float:
        """Return the variance of the difference between groups, with these trainings."""
        return float(self._pairs.error[0]) ** 2

    def variance_with(self, spread: Spread, candidates: int | None, incumbents: int | None) -> float:
        """Return the variance of the difference between groups, with more trainings."""
        inverse = self._inverse(candidates, incumbents)
        if not spread.degrees:
            return self.variance_now() * inverse / self._inverse()
        return self._between_groups(spread, inverse)

    def _between_groups(self, spread: Spread, inverse: float) -> float:
        """Return the variance between groups if trainings have another sum of inverse numbers."""
        residual = spread.residual / spread.degrees
        of_functions = max(self.variance_now() - residual * self._inverse(), 0.0)
        return of_functions + residual * inverse if inverse != self._inverse() else self.variance_now()

    def _inverse(self, candidates: int | None = None, incumbents: int | None = None) -> float:
        own = self.trainings
        return 1 / (candidates or own[1]) + 1 / (incumbents or own[0])


def _mean_score(scored: Sequence[ScoreByGroup]) -> ScoreByGroup:
    return ScoreByGroup(
        value=float(np.mean([each.value for each in scored])),
        contributions=np.mean([each.contributions for each in scored], axis=0),
        weights=scored[0].weights,
    )


def _largest_seen(means: Sequence[ScoreByGroup]) -> float:
    """Return how much the two differ in the group where they differ most."""
    differences = np.abs(np.subtract(*(each.value + each.contributions / each.weights for each in means)))
    return float(np.max(differences, initial=0.0, where=np.isfinite(differences)))


def _third_cumulant(contributions: Floats, strata: NDArray[np.int64]) -> float:
    """Return the third cumulant of the sum of contributions, which are independent within strata."""
    cumulant = 0.0
    for stratum in np.unique(strata):
        own = contributions[strata == stratum]
        if own.size > 2:
            cumulant += own.size**2 / (own.size - 1) / (own.size - 2) * float(np.sum((own - own.mean()) ** 3))
    return cumulant


def _without_skewness(quantile: float, skewness: float) -> float:
    """Return the quantile of a statistic with a skewness from that of a symmetric one: Hall's inverse."""
    if abs(skewness) < SYMMETRIC:
        return quantile
    return float(3 / skewness * (np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1))


def _spread(scored: Sequence[ScoreByGroup]) -> Spread:
    degrees = len(scored) - 1
    if not degrees:
        return Spread()
    contributions = np.stack([each.contributions for each in scored])
    between = float(np.var([each.value for each in scored], ddof=1))
    residual = float(np.var(contributions, axis=0, ddof=1).sum())
    return Spread(degrees=degrees, between=degrees * between, residual=degrees * residual)
