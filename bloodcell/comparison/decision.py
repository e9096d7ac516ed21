"""The decision that a comparison supports: which model to use, by which data, and what would settle what is open."""

from collections.abc import Mapping
from dataclasses import dataclass

from bloodcell.comparison.comparing import Comparison, cheapest
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.wording import abridged, counted

MAX_NAMES = 4
"""A sentence names at most so many models."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do after a comparison, a sentence or two each.

    Attributes
    ----------
    headline
        Which models may be the best.
    advice
        Which model to use; empty if none.
    basis
        The split, images and groups that it rests on.
    verdict
        The comparison of the two best models that may be the best, with what would settle it if it is inconclusive.
    """

    headline: str
    advice: str
    basis: str
    verdict: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it, in order."""
        return tuple(each for each in (self.headline, self.advice, self.basis, self.verdict) if each)


def decide(comparison: Comparison, *, costs: Mapping[str, Mapping[str, float]]) -> Decision:
    """Return the decision that a comparison supports.

    Parameters
    ----------
    comparison
        See `bloodcell.comparison.compare`.
    costs
        By the name of a cost, such as "parameters", the known costs of runs; the first cost that is known of a run
        decides between equals.
    """
    return Decision(
        headline=comparison.best,
        advice=_advice(comparison, costs=costs),
        basis=_basis(comparison),
        verdict=_verdict_on_the_best(comparison),
    )


def models_by_rank(comparison: Comparison) -> list[str]:
    """Return the models, the best first and those that cannot win last."""
    ranking = comparison.ranking[~comparison.ranking["run"].isin(comparison.aligned.trivial)]
    return [*ranking.loc[ranking["barred"] == "", "run"], *ranking.loc[ranking["barred"] != "", "run"]]


def split_name(comparison: Comparison) -> str:
    """Return the name of the compared split, and whether it is out of fold."""
    split = comparison.aligned.split
    return SPLIT_NAMES.get(split, split) + (", out of fold" if comparison.aligned.out_of_fold else "")


def _advice(comparison: Comparison, *, costs: Mapping[str, Mapping[str, float]]) -> str:
    ranking, trivial = comparison.ranking, comparison.aligned.trivial
    best = set(ranking.loc[ranking["can_be_best"], "run"])
    if not best or best & set(trivial) or len(models_by_rank(comparison)) == 1:
        return ""
    if len(comparison.not_worse()) == 1:
        return f"Use {comparison.not_worse()[0]}."
    for cost, known in costs.items():
        run = cheapest(comparison, known)
        if run is None:
            continue
        if run in best:
            return f"Use {run}: the cheapest of them ({known[run]:,.0f} {cost})." if len(best) > 1 else f"Use {run}."
        return f"Use {run}: equivalent to the best, and cheaper ({known[run]:,.0f} {cost})."
    names = [run for run in ranking["run"] if run in best]
    return f"Use any of them: {abridged(names, most=MAX_NAMES)}." if len(names) > 1 else f"Use {names[0]}."


def _basis(comparison: Comparison) -> str:
    where = split_name(comparison)
    images = f"{comparison.n_images:,} images of {counted(comparison.n_groups, comparison.group_name)}"
    return f"{where[0].upper()}{where[1:]}: {images}, {len(comparison.aligned.classes)} classes."


def _verdict_on_the_best(comparison: Comparison) -> str:
    ranked = models_by_rank(comparison)
    others = [run for run in comparison.not_worse() if run in ranked[1:]]
    first, second = [*ranked[:1], *others, *ranked[1:], comparison.aligned.baseline][:2]
    names = {first, second}
    for pair, sentence in zip(comparison.verdicts[["a", "b"]].to_numpy(), comparison.sentences, strict=True):
        if set(pair) == names:
            return sentence
    return ""
