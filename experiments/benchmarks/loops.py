"""What a loop that edits a model keeps: by a gate, by the greedy rule and by the rule of one standard error.

    uv run python experiments/benchmarks/loops.py --loops 1000

Simulates loops of edits of one configuration. Each training predicts the images of a validation set; an image is right
if its difficulty, the configuration's skill, what the edit changes in it, and the seed's noise sum to more than zero.
Most edits change nothing, or only noise; some are real gains. For each rule it prints the share of loops that kept
anything useless, the useless and the real keeps, the true gain at the end (points of accuracy on new photographs), and
the trainings that it cost. The greedy rule keeps what is better; that of one standard error what is better by more than
the standard error of the difference, by groups; both train each edit once.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from bloodcell.comparison.gate import KEEP, Gate
from bloodcell.comparison.ledger import MEMORY
from bloodcell.evaluation.scores import Predictions

Floats = NDArray[np.float64]
BASE = 1.6
"""The mean of the images' difficulties; with a standard deviation of 1.35 about 84 % are right."""
OF_GROUPS, OF_IMAGES = 1.2, 0.6
"""The standard deviations of difficulties between groups and between images of a group."""

SPOILT = 1.5
"""How much harder an edit makes the images of a group that it spoils."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of loop: of the validation set, the noise, and the edits.

    Attributes
    ----------
    groups, images
        The number of groups, and of images of each; with ``uneven`` its mean.
    seed_image, seed_model
        The standard deviation of a seed's noise on each image, and on a whole training.
    changed
        That of what an edit changes in each image, besides its gain.
    spoilt
        The share of groups that an edit spoils; it improves the others a little, so that nothing is gained.
    gains, gain, harm
        The number of edits that are a gain, its size, and by how much half of the others are worse.
    """

    groups: int = 300
    images: int = 3
    uneven: bool = False
    seed_image: float = 0.6
    seed_model: float = 0.05
    changed: float = 0.0
    spoilt: float = 0.0
    gains: int = 0
    gain: float = 0.2
    harm: float = 0.0


NOTHING = {
    "the same model with another seed": Kind(),
    "seeds that differ much": Kind(seed_model=0.2),
    "another model of equal skill": Kind(changed=0.2),
    "few groups with many images": Kind(groups=40, images=20, uneven=True),
    "better on most groups, much worse on few": Kind(spoilt=0.1),
    "the same, 80 groups": Kind(spoilt=0.1, groups=80, images=10, uneven=True),
    "one image for each group": Kind(groups=600, images=1, seed_image=0.3),
}
"""Loops whose edits improve nothing."""
SOME = {
    "10 gains": Kind(gains=10),
    "10 small gains": Kind(gains=10, gain=0.1),
    "10 gains, half of the others worse": Kind(gains=10, harm=0.1),
    "10 gains, other models": Kind(gains=10, changed=0.2),
    "10 gains, seeds that differ much": Kind(gains=10, seed_model=0.15),
    "10 gains, 80 groups": Kind(gains=10, groups=80, images=10, uneven=True),
}
"""Loops with a few real gains among their edits."""


@dataclass
class World:
    """The validation images of a loop, and trainings on them."""

    kind: Kind
    rng: np.random.Generator
    groups: NDArray[np.int64] = field(init=False)
    difficulty: Floats = field(init=False)
    labels: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        kind, rng = self.kind, self.rng
        sizes = 1 + rng.poisson(kind.images - 1, kind.groups) if kind.uneven else np.full(kind.groups, kind.images)
        self.groups = np.repeat(np.arange(kind.groups), sizes).astype(np.int64)
        of_groups = OF_GROUPS * rng.standard_normal(kind.groups)
        self.difficulty = BASE + of_groups[self.groups] + OF_IMAGES * rng.standard_normal(self.groups.size)
        self.labels = (np.arange(kind.groups) % 2)[self.groups].astype(np.int64)

    def spoil(self) -> Floats:
        """Return what an edit changes that spoils a few groups and improves the others, so that nothing is gained."""
        kind = self.kind
        if not kind.spoilt:
            return np.zeros(self.groups.size)
        spoilt = self.rng.random(kind.groups) < kind.spoilt
        return np.where(spoilt, -SPOILT, _gain_elsewhere(kind))[self.groups]

    def train(self, skill: float, changed: Floats) -> Predictions:
        """Return the predictions of one training of a configuration."""
        seed = self.kind.seed_model * self.rng.standard_normal()
        seed = seed + self.kind.seed_image * self.rng.standard_normal(self.groups.size)
        right = self.difficulty + skill + changed + seed > 0
        of_label = np.where(right, 0.9, 0.1)
        probabilities = np.where(self.labels[:, None] == np.arange(2), of_label[:, None], 1 - of_label[:, None])
        return Predictions(labels=self.labels, probabilities=probabilities, groups=self.groups)


def loop(seed: int, *, kind: Kind, rule: str, edits: int, max_trainings: int) -> tuple[int, int, float, int]:
    """Run a loop; return useless keeps, real keeps, the true gain and the number of trainings."""
    rng = np.random.default_rng(seed)
    world, gate = World(kind, rng), Gate(MEMORY, max_trainings=max_trainings)
    effects = np.zeros(edits)
    order = rng.permutation(edits)
    effects[order[: kind.gains]] = kind.gain
    effects[order[kind.gains : kind.gains + (edits - kind.gains) // 2]] -= kind.harm
    skill, changed = 0.0, np.zeros(world.groups.size)
    incumbent, useless, real, trainings = [world.train(skill, changed)], 0, 0, 1
    for effect in effects:
        own = skill + effect, changed + kind.changed * rng.standard_normal(changed.size) + world.spoil()
        candidate = [world.train(*own)]
        trainings += 1
        if rule == "gate":
            answer = gate.judge(incumbent, candidate)
            while answer.more_trainings:
                candidate += [world.train(*own) for _ in range(answer.more_trainings)]
                incumbent += [world.train(skill, changed) for _ in range(answer.more_incumbent_trainings)]
                trainings += answer.more_trainings + answer.more_incumbent_trainings
                answer = gate.judge(incumbent, candidate)
            kept = answer.verdict == KEEP
        else:
            difference, error = _difference(candidate[0], incumbent[0])
            kept = difference > (error if rule == "one standard error" else 0.0)
        if kept:
            useless, real = useless + (effect <= 0), real + (effect > 0)
            (skill, changed), incumbent = own, candidate
    return int(useless), int(real), _accuracy(kind, skill) - _accuracy(kind, 0.0), trainings


def _difference(one: Predictions, other: Predictions) -> tuple[float, float]:
    """Return the difference of two accuracies, and its standard error by groups."""
    by_group = [np.bincount(each.groups, weights=_right(each)) for each in (one, other)]
    sizes = np.bincount(one.groups)
    difference = float((by_group[0] - by_group[1]).sum() / sizes.sum())
    rest = (by_group[0] - by_group[1] - difference * sizes) / sizes.sum()
    return difference, float(np.sqrt(rest.size * np.var(rest, ddof=1)))


def _right(predictions: Predictions) -> Floats:
    return (predictions.probabilities.argmax(axis=1) == predictions.labels).astype(np.float64)


def _accuracy(kind: Kind, skill: float) -> float:
    """Return the accuracy of a configuration on new photographs."""
    spread = np.sqrt(OF_GROUPS**2 + OF_IMAGES**2 + kind.seed_image**2 + kind.seed_model**2)
    return float(stats.norm.cdf((BASE + skill) / spread))


@cache
def _gain_elsewhere(kind: Kind) -> float:
    """Return how much easier the images of other groups must be for an edit that spoils some to gain nothing."""
    lost = kind.spoilt * (_accuracy(kind, 0.0) - _accuracy(kind, -SPOILT))
    return float(brentq(lambda more: (1 - kind.spoilt) * (_accuracy(kind, more) - _accuracy(kind, 0.0)) - lost, 0, 5))


RULES = ("greedy", "one standard error", "gate")


def main() -> None:
    """Simulate, and print a JSON line for each kind of loop and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, default=1000, help="with edits that improve nothing")
    parser.add_argument("--loops-with-gains", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=[*NOTHING, *SOME], default=[*NOTHING, *SOME])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--max-trainings", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for kinds, n in ((NOTHING, given.loops), (SOME, given.loops_with_gains)):
            for name, kind in ((name, kind) for name, kind in kinds.items() if name in given.kinds):
                for rule in given.rules:
                    begun = time.perf_counter()
                    one = partial(
                        loop, kind=replace(kind), rule=rule, edits=given.edits, max_trainings=given.max_trainings
                    )
                    found = np.array(list(pool.map(one, range(given.seed, given.seed + n), chunksize=4)))
                    row = {"loops": n, "edits": name, "rule": rule}
                    row |= {"any_useless_keep": round(float((found[:, 0] > 0).mean()), 4)}
                    row |= dict(zip(("useless", "real"), found[:, :2].mean(axis=0).round(2).tolist(), strict=True))
                    row |= {"gain_points": round(100 * float(found[:, 2].mean()), 2)}
                    row |= {
                        "trainings": round(float(found[:, 3].mean())),
                        "seconds": round(time.perf_counter() - begun),
                    }
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
