"""The gate: keeps what is better, rejects what is not, counts every candidate, and limits the answers on test."""

import sqlite3
import subprocess
import sys
from itertools import pairwise
from math import inf, isnan

import numpy as np
import pandas as pd
import pytest

from bloodcell.comparison import Gate
from bloodcell.comparison.gate import CANNOT_TELL, KEEP, REJECT, share_of_level
from bloodcell.comparison.ledger import MEMORY
from bloodcell.errors import UserError
from bloodcell.evaluation.scores import Predictions

N_GROUPS = 200


def predictions(accuracy: float, *, seed: int, n_groups: int = N_GROUPS, noise: float = 0.3) -> Predictions:
    """Return predictions of two images of each group: which groups are hard is the same for all seeds."""
    hard = np.repeat(np.random.default_rng(99).standard_normal(n_groups), 2)
    rng = np.random.default_rng(seed)
    felt = hard + noise * rng.standard_normal(hard.size)
    right = felt > np.quantile(hard, 1 - accuracy)
    labels = np.repeat(np.arange(n_groups) % 2, 2).astype(np.int64)
    of_label = np.where(right, 0.8, 0.2)
    probabilities = np.where(labels[:, None] == np.arange(2), of_label[:, None], 1 - of_label[:, None])
    return Predictions(
        labels=labels, probabilities=probabilities, groups=np.repeat(np.arange(n_groups), 2).astype(np.int64)
    )


def several(accuracy: float, *, first: int, n: int = 8) -> list[Predictions]:
    return [predictions(accuracy, seed=seed) for seed in range(first, first + n)]


def table(of: Predictions) -> pd.DataFrame:
    images = {"path": [f"{number:04}" for number in range(of.labels.size)], "label": np.array(["x", "y"])[of.labels]}
    return pd.DataFrame(
        {**images, "group": of.groups.astype(str), "p_x": of.probabilities[:, 0], "p_y": of.probabilities[:, 1]}
    )


def test_what_is_clearly_better_is_kept_and_what_is_worse_rejected():
    gate = Gate(MEMORY)
    kept = gate.judge(several(0.7, first=0), several(0.8, first=50))
    assert (kept.verdict, kept.number) == (KEEP, 1)
    assert kept.difference >= kept.needed > 0
    worse = gate.judge(several(0.8, first=50), several(0.7, first=90))
    assert (worse.verdict, worse.number) == (REJECT, 2)
    assert worse.difference < 0


def test_single_trainings_are_asked_for_another_seed_before_anything_is_kept():
    gate = Gate(MEMORY)
    asked = gate.judge(several(0.7, first=0, n=1), several(0.8, first=50, n=1))
    assert (asked.verdict, asked.more_trainings, asked.more_incumbent_trainings) == (CANNOT_TELL, 1, 7)
    assert asked.needed == inf
    settled = gate.judge(several(0.7, first=0), several(0.8, first=50))
    assert (settled.verdict, settled.number) == (KEEP, 1)  # the same candidate


def test_with_one_training_the_variance_between_trainings_is_not_asked_for():
    kept = Gate(MEMORY, max_trainings=1).judge(several(0.7, first=0, n=1), several(0.85, first=50, n=1))
    assert kept.verdict == KEEP
    close = Gate(MEMORY, max_trainings=1).judge(several(0.7, first=0, n=1), several(0.73, first=50, n=1))
    assert close.verdict == CANNOT_TELL
    assert close.more_trainings == 0
    assert 0 < close.more_groups < 10 * N_GROUPS


def test_the_levels_of_all_candidates_add_up_to_alpha_and_a_keep_raises_the_next():
    shares = [share_of_level(number, expected=60) for number in range(1, 5000)]
    assert all(one > other for one, other in pairwise(shares))
    assert sum(shares) == pytest.approx(4999 / 5059)
    assert sum(shares[:60]) == pytest.approx(0.5)
    gate = Gate(MEMORY, max_trainings=1, alpha=0.1, expected=60)
    first, second, third = (
        gate.judge(several(0.7, first=0, n=1), several(accuracy, first=50 + number, n=1))
        for number, accuracy in enumerate((0.6, 0.9, 0.6))
    )
    assert [each.verdict for each in (first, second, third)] == [REJECT, KEEP, REJECT]
    assert first.level == pytest.approx(0.1 * shares[0])
    assert third.level == pytest.approx(0.1 * shares[2] * 2)


def test_more_trainings_spend_the_rest_of_a_candidates_level():
    gate = Gate(MEMORY, max_trainings=8, expected=1)
    incumbent = several(0.7, first=0)
    levels = [gate.judge(incumbent, several(0.705, first=50, n=n)).level for n in (1, 2, 8)]
    assert levels == pytest.approx([0.05 / 2 * part / 8 for part in (1, 1, 6)])


def test_the_best_of_several_counts_as_several():
    gate = Gate(MEMORY)
    answer = gate.judge(several(0.7, first=0), several(0.8, first=50), among=30)
    assert answer.number == 30
    assert gate.judge(several(0.7, first=0), several(0.6, first=90)).number == 31


def test_the_same_question_has_the_same_answer_and_costs_nothing(tmp_path):
    first = Gate(tmp_path / "l").judge(several(0.7, first=0), several(0.75, first=50))
    assert Gate(tmp_path / "l").judge(several(0.7, first=0), several(0.75, first=50)) == first
    assert Gate(tmp_path / "l").judge(several(0.7, first=0), several(0.6, first=90)).number == 2


def test_nothing_in_a_ledger_can_be_changed_or_removed(tmp_path):
    Gate(tmp_path / "l").judge(several(0.7, first=0), several(0.8, first=50))
    connection = sqlite3.connect(tmp_path / "l")
    for change in ("DELETE FROM attempts", "UPDATE attempts SET kept = 0", "UPDATE settings SET value = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="nothing is changed in a ledger"):
            connection.execute(change)


def test_a_ledger_keeps_its_level_and_another_file_is_refused(tmp_path):
    Gate(tmp_path / "l", alpha=0.05)
    with pytest.raises(UserError, match=r"^alpha=0.1: .* was begun with alpha=0.05"):
        Gate(tmp_path / "l", alpha=0.1)
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(UserError, match=r"^ledger=.*text: cannot be used"):
        Gate(tmp_path / "text")
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE songs (name TEXT)").connection.commit()
    with pytest.raises(UserError, match="is the database of another program"):
        Gate(tmp_path / "other")


def test_processes_that_ask_at_the_same_time_get_different_numbers(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from comparison.test_gate import *\n"
        "gate = Gate(sys.argv[1])\n"
        "print([gate.judge(several(0.7, first=0, n=1), several(0.6, first=int(sys.argv[3]) + i, n=1)).number"
        " for i in range(20)])\n"
    )
    folder = str(__file__).rsplit("/", 2)[0]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "l"), folder, start], stdout=subprocess.PIPE, text=True
        )
        for start in ("100", "200", "300")
    ]
    numbers = [number for process in started for number in eval(process.communicate()[0])]
    assert sorted(numbers) == list(range(1, 61))


def test_a_candidate_that_leaks_or_is_a_debug_run_is_rejected_and_costs_nothing():
    gate = Gate(MEMORY)
    old, new = table(predictions(0.7, seed=1)), table(predictions(0.9, seed=2))
    rejected = gate.ask(incumbent=old, candidate=new, evidence={"candidate": ["debug"]})
    assert rejected.verdict == REJECT
    assert "is a debug run" in rejected.sentence
    assert isnan(rejected.difference)
    assert gate.ask(incumbent=old, candidate=new).number == 1


def test_tables_of_several_trainings_are_judged_as_their_predictions():
    old, new = several(0.7, first=0), several(0.8, first=50)
    asked = Gate(MEMORY).ask(incumbent=list(map(table, old)), candidate=list(map(table, new)), name="new")
    assert asked.verdict == KEEP
    assert asked.sentence.startswith("Keep new: +")
    assert asked.difference == pytest.approx(Gate(MEMORY).judge(old, new).difference)


def test_a_smaller_log_loss_is_better():
    answer = Gate(MEMORY, metric="log_loss").judge(several(0.7, first=0), several(0.8, first=50))
    assert answer.verdict == KEEP
    assert answer.difference > 0


def test_too_few_groups_are_said():
    few = [predictions(accuracy, seed=1, n_groups=4) for accuracy in (0.5, 0.9)]
    answer = Gate(MEMORY).judge(few[:1], few[1:])
    assert (answer.verdict, answer.more_groups) == (CANNOT_TELL, 1)


def test_useless_edits_are_not_kept_and_real_ones_are():
    gate, incumbent, kept = Gate(MEMORY, max_trainings=16), several(0.7, first=0, n=1), []
    for number in range(60):
        accuracy = 0.8 if number == 40 else 0.7
        candidate = several(accuracy, first=1000 + 100 * number, n=1)
        answer = gate.judge(incumbent, candidate)
        while answer.more_trainings:
            candidate += several(accuracy, first=1001 + 100 * number + len(candidate), n=answer.more_trainings)
            incumbent += several(0.7, first=500 + len(incumbent), n=answer.more_incumbent_trainings)
            answer = gate.judge(incumbent, candidate)
        if answer.verdict == KEEP:
            kept.append(number)
            break
    assert kept == [40]


def test_a_test_set_tells_a_score_only_if_it_improved_and_has_few_answers(tmp_path):
    gate = Gate(tmp_path / "l", test_budget=3)
    first = gate.ask_test(table(predictions(0.7, seed=1)), name="first")
    assert (first.improved, first.answers_left) == (True, 2)
    again = gate.ask_test(table(predictions(0.7, seed=1)))
    assert again == first
    worse = gate.ask_test(table(predictions(0.6, seed=2)))
    assert (worse.improved, worse.score, worse.answers_left) == (False, pytest.approx(first.score), 1)
    better = gate.ask_test(table(predictions(0.9, seed=3)))
    assert better.improved
    assert better.score > first.score + 0.1
    with pytest.raises(UserError, match=r"^ledger=.*l: the 3 answers of the test set are spent"):
        gate.ask_test(table(predictions(0.95, seed=4)))


def of_groups(right: np.ndarray, *, n_images: int = 25) -> Predictions:
    """Return predictions of which so many images of each group are right."""
    labels = np.repeat(np.arange(right.size) % 2, n_images).astype(np.int64)
    of_label = np.where((np.arange(n_images) < right[:, None]).ravel(), 0.8, 0.2)
    probabilities = np.where(labels[:, None] == np.arange(2), of_label[:, None], 1 - of_label[:, None])
    return Predictions(
        labels=labels, probabilities=probabilities, groups=np.repeat(np.arange(right.size), n_images).astype(np.int64)
    )


def test_few_groups_that_are_helped_are_more_evidence_than_many_beside_few_that_are_spoilt():
    few = np.arange(104) % 8 == 0
    old = of_groups(np.full(104, 12))
    helped, spoilt = (of_groups(12 + np.where(few, *change)) for change in ((8, 0), (-6, 2)))
    answers = [Gate(MEMORY, max_trainings=1).judge([old], [new]) for new in (helped, spoilt)]
    assert [each.difference for each in answers] == pytest.approx([0.04, 0.04])
    assert [each.verdict for each in answers] == [KEEP, CANNOT_TELL]
    assert [each.needed for each in answers] == pytest.approx([0.0296, 0.0442], abs=1e-4)
