"""Comparing prediction tables from Python."""

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bloodcell.comparison import compare
from bloodcell.comparison.candidates import MAJORITY
from bloodcell.comparison.comparing import cheapest
from bloodcell.comparison.decision import decide
from bloodcell.errors import UserError
from bloodcell.evaluation.scores import Score

CLASSES = ("A", "B", "C")
PHOTOGRAPHS, COPIES = 60, 5


def table(
    right: np.ndarray | Sequence[float],
    *,
    copies: int = COPIES,
    classes: Sequence[str] = CLASSES,
    sure: float = 0.8,
) -> pd.DataFrame:
    """Make predictions for photographs of every class in turn, right of the given share of each one's copies."""
    share = np.asarray(right, dtype=float)
    photograph = np.repeat(np.arange(share.size), copies)
    copy = np.tile(np.arange(copies), share.size)
    label = photograph % len(classes)
    predicted = np.where(copy < np.round(share[photograph] * copies), label, (label + 1) % len(classes))
    probabilities = np.full((label.size, len(classes)), (1 - sure) / (len(classes) - 1))
    probabilities[np.arange(label.size), predicted] = sure
    images = pd.DataFrame(
        {
            "path": [f"{photo:03}-{number}" for photo, number in zip(photograph, copy, strict=True)],
            "label": np.array(classes)[label],
            "group": [f"g{photo:03}" for photo in photograph],
        }
    )
    return pd.concat([images, pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])], axis=1)


def drawn(rng: np.random.Generator, level: float, *, photographs: int = PHOTOGRAPHS) -> np.ndarray:
    """Draw the share of each photograph's copies that is right: most of them all or none."""
    return rng.beta(level, 1 - level, size=photographs)


def row(verdicts: pd.DataFrame, a: str, b: str, metric: str = "accuracy") -> pd.Series:
    (found,) = verdicts[(verdicts["a"] == a) & (verdicts["b"] == b) & (verdicts["metric"] == metric)].index
    return verdicts.loc[found]


@pytest.fixture(scope="module")
def three() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    good = drawn(rng, 0.9)
    return {
        "good": table(good),
        "as good": table(np.where(rng.random(PHOTOGRAPHS) < 0.9, good, drawn(rng, 0.9))),
        "poor": table(drawn(rng, 0.45)),
    }


def test_estimates_and_verdicts_have_the_columns_that_are_promised(three):
    result = compare(three, metrics=["accuracy", "log_loss"])
    assert result.estimates.columns.tolist() == ["run", "metric", "unit", "value", "low", "high"]
    assert result.verdicts.columns.tolist() == [
        *("metric", "a", "b", "difference", "low", "high", "low_corrected", "high_corrected"),
        *("p_value", "p_adjusted", "verdict"),
    ]
    assert len(result.estimates) == 4 * 2 * 2
    assert len(result.verdicts) == 2 * 6
    assert len(result.sentences) == len(result.verdicts)
    # Models first, in the order in which they were given; the baseline is always in.
    pairs = list(zip(result.verdicts["a"], result.verdicts["b"], strict=True))
    assert pairs[:3] == [("good", "as good"), ("good", "poor"), ("as good", "poor")]
    assert {b for _, b in pairs[3:6]} == {MAJORITY}


def test_a_better_model_is_called_better_and_an_equal_one_is_not(three):
    result = compare(three, metrics=["accuracy", "log_loss"])
    for metric in ("accuracy", "log_loss"):
        assert row(result.verdicts, "good", "poor", metric)["verdict"] == "better"
        assert row(result.verdicts, "good", "as good", metric)["verdict"] == "inconclusive"
    assert row(result.verdicts, "good", "poor", "log_loss")["difference"] < 0  # lower is better
    backwards = compare({"poor": three["poor"], "good": three["good"]})
    assert row(backwards.verdicts, "poor", "good")["verdict"] == "worse"
    assert result.ranking["can_be_best"].tolist() == [True, True, False, False]


def test_sentences_can_be_quoted(three):
    result = compare(three)
    better = result.sentences[1]
    assert better.startswith("good is better than poor by ")
    assert " points (95 % interval " in better
    assert ", 60 photographs). " in better
    assert "trained once" in better
    assert "inconclusive" in result.sentences[0]
    assert re.search(r"[1-9][0-9,]* more photographs .* equivalent", result.sentences[0])


def test_the_stated_number_of_photographs_decides_a_comparison():
    rng = np.random.default_rng(5)
    level_a, level_b = 0.88, 0.8
    few = compare({"a": table(drawn(rng, level_a)), "b": table(drawn(rng, level_b))})
    more = int(few.sentences[0].partition("About ")[2].partition(" more")[0].replace(",", ""))
    size = row(few.verdicts, "a", "b")["difference"]
    found = 0
    for _ in range(20):
        again = drawn(rng, 0.8, photographs=PHOTOGRAPHS + more)
        verdicts = compare(
            {
                "a": table(drawn(rng, 0.8 + size, photographs=PHOTOGRAPHS + more)),
                "b": table(again),
            },
            n_resamples=500,
        ).verdicts
        found += row(verdicts, "a", "b")["verdict"] == "better"
    assert 11 <= found <= 20


def test_the_width_of_an_interval_depends_on_the_number_of_photographs():
    rng = np.random.default_rng(1)
    right = (rng.random(PHOTOGRAPHS) < 0.7).astype(float)
    widths = []
    for copies in (1, 50):
        estimates = compare({"a": table(right, copies=copies)}).estimates
        by_image = estimates[(estimates["run"] == "a") & (estimates["unit"] == "image")].iloc[0]
        widths.append(by_image["high"] - by_image["low"])
    assert widths[0] == pytest.approx(widths[1])


def test_copies_make_no_difference_significant():
    rng = np.random.default_rng(2)
    one, other = (rng.random((2, 30)) < [[0.9], [0.75]]).astype(float)
    p = [
        row(compare({"a": table(one, copies=copies), "b": table(other, copies=copies)}).verdicts, "a", "b")["p_value"]
        for copies in (1, 100)
    ]
    assert p[0] == pytest.approx(p[1])


def test_of_photographs_with_one_image_the_p_value_is_mcnemar_s_exact_one():
    rng = np.random.default_rng(3)
    one, other = (rng.random((2, 200)) < [[0.85], [0.75]]).astype(float)
    only_one, only_other = int((one > other).sum()), int((other > one).sum())
    found = row(compare({"a": table(one, copies=1), "b": table(other, copies=1)}).verdicts, "a", "b")
    assert found["p_value"] == pytest.approx(stats.binomtest(only_one, only_one + only_other).pvalue, abs=0.01)


def test_of_few_groups_that_differ_a_p_value_is_no_smaller_than_that_of_a_sign_test():
    one, other = np.ones(6), np.array([1, 0, 0, 1, 0, 0.0])
    found = row(compare({"a": table(one, copies=1), "b": table(other, copies=1)}).verdicts, "a", "b")
    assert found["p_value"] == 2 * 0.5**4


def test_the_p_value_of_photographs_with_many_images_is_near_that_of_scipy():
    rng = np.random.default_rng(4)
    one, other = drawn(rng, 0.8), drawn(rng, 0.7)
    found = row(compare({"a": table(one), "b": table(other)}).verdicts, "a", "b")
    exact = stats.permutation_test(
        (np.round(one * COPIES), np.round(other * COPIES)),
        lambda a, b: a.mean() - b.mean(),
        permutation_type="samples",
        n_resamples=9999,
        rng=0,
    )
    assert found["p_value"] == pytest.approx(exact.pvalue, abs=0.03)


@pytest.mark.parametrize("photographs", [5, 8, 12, 13])
def test_where_all_differ_alike_the_p_value_is_still_exact(photographs):
    tables = {"a": table(np.ones(photographs), copies=1), "b": table(np.zeros(photographs), copies=1)}
    found = row(compare(tables).verdicts, "a", "b")
    assert found["p_value"] == pytest.approx(2 * 0.5**photographs)
    assert found["verdict"] == ("better" if found["p_adjusted"] < 0.05 else "inconclusive")


def test_with_fewer_than_five_groups_there_is_no_interval():
    tables = {"a": table(np.ones(4), copies=9), "b": table(np.zeros(4), copies=9)}
    result = compare(tables)
    assert row(result.verdicts, "a", "b")["p_value"] == 1
    assert set(result.verdicts["verdict"]) == {"inconclusive"}
    assert result.estimates[["low", "high"]].isna().all(axis=None)
    assert result.verdicts[["low", "high"]].isna().all(axis=None)
    assert "4 photographs are too few for an interval" in result.sentences[0]
    assert result.ranking["can_be_best"].all()


def test_so_many_runs_that_a_p_value_can_be_small_enough():
    rng = np.random.default_rng(12)
    tables = {f"good {n}": table(drawn(rng, 0.95)) for n in range(16)}
    tables |= {f"poor {n}": table(drawn(rng, 0.3)) for n in range(16)}
    verdicts = compare(tables, n_resamples=100).verdicts
    across = verdicts[verdicts["a"].str.startswith("good") & verdicts["b"].str.startswith("poor")]
    assert (across["verdict"] == "better").mean() > 0.95


@pytest.fixture(scope="module")
def nine() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(5)
    return {f"m{number}": table(drawn(rng, 0.35 + 0.06 * number)) for number in range(9)}


def test_of_many_models_only_the_best_are_compared_with_one_another(nine, monkeypatch):
    every = compare(nine, metrics=["accuracy", "log_loss"], evidence={"m8": ["leaky"]})
    assert every.left_out == ""
    assert every.leading == every.runs
    monkeypatch.setattr("bloodcell.comparison.comparing.MAX_MODELS", 3)
    some = compare(nine, metrics=["accuracy", "log_loss"], evidence={"m8": ["leaky"]})
    ranked = every.ranking.loc[every.ranking["barred"] == "", "run"]
    assert set(some.leading) == {*ranked[:3], MAJORITY}
    pairs = {frozenset(pair) for pair in zip(some.verdicts["a"], some.verdicts["b"], strict=True)}
    assert pairs == {frozenset(pair) for pair in combinations(some.leading, 2)} | {
        frozenset((name, MAJORITY)) for name in nine
    }
    assert len(some.sentences) == len(some.verdicts) == 2 * len(pairs)
    assert "12 of 45 pairs" in some.left_out


def test_numbers_of_the_compared_pairs_do_not_depend_on_how_many_are_left_out(nine, monkeypatch):
    every = compare(nine, evidence={"m8": ["leaky"]})
    monkeypatch.setattr("bloodcell.comparison.comparing.MAX_MODELS", 3)
    some = compare(nine, evidence={"m8": ["leaky"]})
    pd.testing.assert_frame_equal(some.estimates, every.estimates)
    both = some.verdicts.merge(every.verdicts, on=["metric", "a", "b"], suffixes=("", "_every"))
    assert len(both) == len(some.verdicts)
    for column in ("difference", "low", "high", "low_corrected", "high_corrected", "p_value"):
        np.testing.assert_allclose(both[column], both[f"{column}_every"], rtol=1e-9)


def test_leaving_pairs_out_makes_no_comparison_surer(nine, monkeypatch):
    every = compare(nine, evidence={"m8": ["leaky"]})
    monkeypatch.setattr("bloodcell.comparison.comparing.MAX_MODELS", 3)
    some = compare(nine, evidence={"m8": ["leaky"]})
    both = some.verdicts.merge(every.verdicts, on=["a", "b"], suffixes=("", "_every"))
    assert (both["p_adjusted"] >= both["p_adjusted_every"] - 1e-12).all()
    ranking = some.ranking.merge(every.ranking, on="run", suffixes=("", "_every"))
    known = ranking["p_best"].notna()
    assert (ranking["p_best"] >= ranking["p_best_every"] - 1e-12)[known].all()
    assert ranking["can_be_best"][ranking["can_be_best_every"]].all()
    assert not ranking["can_be_best"].all()


def test_a_decision_names_few_of_many_models():
    rng = np.random.default_rng(6)
    tables = {f"m{number:02}": table(drawn(rng, 0.7)) for number in range(24)}
    found = compare(tables)
    decision = decide(found, costs={})
    assert decision.headline == "No clear winner: any of the 24 models may be the best by accuracy (95 % confidence)."
    first = ", ".join(found.ranking["run"].iloc[:4])
    assert decision.advice == f"Use any of them: {first} and 20 more."
    costs = {"parameters": {"m07": 10.0, "m03": 20.0}}
    assert decide(found, costs=costs).advice == "Use m07: the cheapest of them (10 parameters)."
    assert "Use m07: the cheapest of them (10 parameters)." in repr(replace(found, costs=costs))


def test_a_model_is_equivalent_to_itself_but_not_to_one_with_the_same_classes_and_other_probabilities():
    right = drawn(np.random.default_rng(6), 0.8)
    verdicts = compare({"a": table(right), "again": table(right), "less sure": table(right, sure=0.6)}).verdicts
    assert row(verdicts, "a", "again")["verdict"] == "equivalent"
    unsure = row(verdicts, "a", "less sure")
    assert unsure["verdict"] == "inconclusive"
    assert unsure["low"] < 0 < unsure["high"]


def test_a_difference_within_the_margin_is_equivalent():
    rng = np.random.default_rng(7)
    right = drawn(rng, 0.8, photographs=300)
    other = np.where(rng.random(300) < 0.1, drawn(rng, 0.8, photographs=300), right)
    tables = {"a": table(right), "b": table(other)}
    assert row(compare(tables, equivalence=0.01).verdicts, "a", "b")["verdict"] == "inconclusive"
    wide = compare(tables, equivalence=0.1)
    assert row(wide.verdicts, "a", "b")["verdict"] == "equivalent"
    assert wide.not_worse() == ["a", "b"] or wide.not_worse() == ["b", "a"]
    assert cheapest(wide, {"a": 20.0, "b": 10.0}) == "b"
    assert cheapest(wide, {"a": 20.0}) == "a"
    assert cheapest(wide, {}) is None


def test_what_leaks_is_shown_and_does_not_win(three):
    result = compare(three, evidence={"good": ["leaky"]})
    assert row(result.verdicts, "good", "poor")["verdict"] == "inconclusive"
    assert "leaks" in result.sentences[1]
    assert row(result.verdicts, "as good", "poor")["verdict"] == "better"
    ranked = result.ranking.set_index("run")
    assert not ranked["can_be_best"]["good"]
    assert ranked["barred"]["good"]
    assert "good" not in result.not_worse()
    assert {"good"} < set(result.estimates["run"])


def test_where_all_leak_none_is_the_best(three):
    result = compare(three, evidence=dict.fromkeys(three, ("leaky",)))
    assert "leak" in result.best
    assert set(result.not_worse()) <= {MAJORITY}


def test_a_sentence_reports_that_no_model_beats_the_baseline():
    result = compare({"bad": table(np.zeros(PHOTOGRAPHS)), "worse": table(np.zeros(PHOTOGRAPHS), sure=0.9)})
    assert result.best.startswith(f"No model is better than the baseline, {MAJORITY}, by accuracy (")


def test_training_images_that_are_tested_on_are_a_leak(three):
    mixed = pd.concat([three["good"].assign(split="train"), three["good"].assign(split="test")])
    result = compare({"good": mixed, "poor": three["poor"].assign(split="test")})
    assert "are in training and in test" in result.ranking.set_index("run")["barred"]["good"]


def test_a_table_that_shows_its_leak_needs_no_telling(three):
    folds = {name: each.assign(split="val", fold=np.arange(len(each)) % 2) for name, each in three.items()}
    whole = three["poor"].assign(split="val", fold=three["poor"].groupby("group").ngroup() % 2)
    result = compare({"torn": folds["good"], "whole": whole})
    assert "in several of its folds" in result.ranking.set_index("run")["barred"]["torn"]
    assert row(result.verdicts, "torn", "whole")["verdict"] == "inconclusive"


def test_seeds_of_one_configuration_are_pooled_and_widen_the_interval():
    rng = np.random.default_rng(8)
    hard = drawn(rng, 0.8, photographs=150)
    seeds = [table(np.where(rng.random(150) < share, hard, 0)) for share in (0.95, 0.6, 0.8)]
    pooled = compare({"a": seeds}).estimates.iloc[0]
    alone = [compare({"a": each}).estimates.iloc[0] for each in seeds]
    assert pooled["value"] == pytest.approx(np.mean([each["value"] for each in alone]))
    assert pooled["high"] - pooled["low"] > 1.3 * np.mean([each["high"] - each["low"] for each in alone])
    repeats = pd.concat([each.assign(split="val", fold=number) for number, each in enumerate(seeds)])
    assert compare({"a": repeats}).estimates.iloc[0].tolist() == pooled.tolist()
    same = compare({"a": [seeds[0]] * 3}).estimates.iloc[0]
    assert (same["low"], same["high"]) == pytest.approx((alone[0]["low"], alone[0]["high"]))


def test_seeds_make_a_difference_less_certain():
    rng = np.random.default_rng(9)
    hard = drawn(rng, 0.8, photographs=200)
    lucky, unlucky = table(np.where(rng.random(200) < 0.97, hard, 0)), table(np.where(rng.random(200) < 0.75, hard, 0))
    other = table(np.where(rng.random(200) < 0.8, hard, 0))
    once = row(compare({"a": lucky, "b": other}).verdicts, "a", "b")
    pooled = row(compare({"a": [lucky, unlucky], "b": [other, other]}).verdicts, "a", "b")
    assert once["verdict"] == "better"
    assert pooled["verdict"] == "inconclusive"
    assert pooled["high"] - pooled["low"] > 2 * (once["high"] - once["low"])


def test_validation_is_compared_unless_test_is_asked_for(three):
    def both(each: pd.DataFrame, fold: int | None) -> pd.DataFrame:
        test = each.head(50).assign(split="test", fold=None, path="t" + each["path"], group="t" + each["group"])
        numbers = each.groupby("group").ngroup() % fold if fold else None
        return pd.concat([each.assign(split="val", fold=numbers), test])

    folded = {name: both(each, 3) for name, each in three.items()}
    assert compare(folded).aligned.split == "val"
    assert compare(folded, split="test").n_images == 50
    ensemble = {**folded, "ensemble": both(three["as good"], None)}  # which has no folds of its own
    assert compare(ensemble).aligned.split == "val"
    holdout = {name: both(each, None) for name, each in three.items()}
    assert compare(holdout).aligned.split == "val"


def test_folds_of_one_image_and_a_constant_rare_class_are_not_the_majority_baseline(three):
    single = {name: each.assign(split="val", fold=np.arange(len(each))) for name, each in three.items()}
    assert compare({name: each.drop_duplicates("group") for name, each in single.items()}).runs[-1] == MAJORITY
    rare = three["good"].assign(p_A=0.1, p_B=0.1, p_C=0.8)
    assert compare({"good": three["good"], "always C": rare}).runs == ("good", "always C", MAJORITY)


def test_repeats_are_parted_by_the_numbers_of_their_folds_also_where_these_are_texts(three):
    seeds = [three["good"], three["as good"], three["poor"]]
    numbered = [
        each.assign(split="val", fold=4 * number + each.groupby("group").ngroup() % 4)
        for number, each in enumerate(seeds)
    ]
    one = compare({"a": pd.concat(numbered)}).estimates
    texts = compare({"a": pd.concat([each.assign(fold=each["fold"].astype(str)) for each in numbered])}).estimates
    pd.testing.assert_frame_equal(one, texts)
    pd.testing.assert_frame_equal(one, compare({"a": seeds}).estimates)
    again = pd.concat(
        [each.assign(split="val", fold=(each.groupby("group").ngroup() + n) % 4) for n, each in enumerate(seeds)]
    )
    with pytest.raises(UserError, match=r"fold . is in several repeats of the cross-validation"):
        compare({"a": again})


def test_a_function_that_is_not_defined_without_a_photograph_makes_no_verdict(three):
    def of_all_classes(labels, probabilities):
        if len(set(labels)) < 3:
            raise ValueError("a class is missing")
        return (probabilities.argmax(axis=1) == labels).mean()

    few = {name: each.head(15) for name, each in three.items()}  # of each class one photograph
    result = compare(few, metrics=[of_all_classes])
    assert (result.verdicts["verdict"] == "inconclusive").all()
    assert result.estimates["low"].isna().all()
    with pytest.raises(UserError, match="metrics: of_all_classes"):
        compare({name: each.head(5) for name, each in three.items()}, metrics=[of_all_classes])
    with pytest.raises(UserError, match="metrics: bad"):
        compare(three, metrics=[Score(name="bad", function=lambda labels, _: labels)])


def test_where_a_metric_is_not_defined_nothing_is_the_best(three):
    one_class = {name: each[each["label"] == "A"] for name, each in three.items()}
    result = compare(one_class, metrics=["auroc"])
    assert "AUROC" in result.best
    assert (result.verdicts["verdict"] == "inconclusive").all()


def test_what_was_written_with_few_digits_or_by_pandas_is_put_right(three):
    rounded = three["good"].assign(p_A=three["good"]["p_A"] * 0.999)
    numbered = three["good"].assign(label=three["good"]["label"].map({"A": 0.0, "B": 1.0, "C": 2.0}))
    numbered = numbered.rename(columns={"p_A": "p_0", "p_B": "p_1", "p_C": "p_2"})
    exact = compare({"good": three["good"]}).estimates["value"]
    assert compare({"good": rounded}).estimates["value"].tolist() == exact.tolist()
    assert compare({"good": numbered}).estimates["value"].tolist() == pytest.approx(exact.tolist())


def test_any_function_is_a_metric():
    def sureness(labels, probabilities):
        return probabilities.max(axis=1).mean()

    right = drawn(np.random.default_rng(10), 0.8)
    tables = {"a": table(right, sure=0.9), "b": table(right, sure=0.6)}
    result = compare(
        tables,
        metrics=[
            "accuracy",
            sureness,
            Score(name="unsure", function=lambda y, p: 1 - p.max(axis=1).mean(), greater_is_better=False),
        ],
    )
    assert row(result.verdicts, "a", "b", "sureness")["verdict"] == "better"
    assert row(result.verdicts, "a", "b", "unsure")["verdict"] == "better"
    assert row(result.verdicts, "a", "b", "sureness")["difference"] == pytest.approx(0.3)


def test_the_same_arguments_give_the_same_to_the_last_digit_and_the_order_of_rows_and_columns_does_not_count(three):
    result = compare(three, metrics=["accuracy", "auroc"])
    again = compare(three, metrics=["accuracy", "auroc"])
    pd.testing.assert_frame_equal(result.verdicts, again.verdicts, check_exact=True)
    shuffled = {name: each.sample(frac=1, random_state=0)[each.columns[::-1]] for name, each in three.items()}
    shuffled["good"] = shuffled["good"].assign(group="other " + shuffled["good"]["group"])  # called something else
    pd.testing.assert_frame_equal(compare(shuffled, metrics=["accuracy", "auroc"]).verdicts, result.verdicts)
    alone = compare(three).verdicts
    assert alone["p_value"].tolist() == result.verdicts["p_value"][: len(alone)].tolist()
    assert compare(three, seed=1).verdicts["p_value"].tolist() == alone["p_value"].tolist()  # nothing is drawn


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.head(10), "a and b differ: images 290 only in the first (such as 002-0)"),
        (lambda t: pd.concat([t, t.head(1)]), "b: has 2 predictions of 000-0"),
        (lambda t: t.assign(p_A=np.nan), "b: probabilities are not finite in 300 of 300 rows"),
        (lambda t: t.assign(p_A=0.9), "b: probabilities must sum to 1 in each row"),
        (lambda t: t.assign(p_A="x"), "b: could not convert string to float"),
        (lambda t: t.assign(label=t["label"].where(t.index > 0, "B")), "label of 000-0"),
        (lambda t: t.assign(group=t["group"].where(t.index > 0, "g001")), "photograph of 000-0"),
        (lambda t: t.assign(label=t["label"].where(t.index > 0, "D")), "p_D"),
        (lambda t: t.rename(columns={"p_C": "p_D"}).assign(label="A"), "a and b have different classes"),
        (lambda t: t.drop(columns="path"), "path"),
        (lambda t: t[["path", "label", "group", "p_A"]], "p_<class>"),
        (lambda t: t.assign(label=t["label"].where(t.index > 2)), "3 rows"),
        (lambda t: t.head(0), "no rows"),
        (lambda t: "b.csv", "str"),
        (lambda t: [], "b: "),
        (lambda t: None, "NoneType"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_one_line(three, change, message):
    with pytest.raises(UserError) as refused:
        compare({"a": three["good"], "b": change(three["poor"])})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": []}, "metrics=[]"),
        ({"metrics": "accuracy"}, "metrics='accuracy'"),
        ({"metrics": ["acuracy"]}, "metrics: acuracy"),
        ({"metrics": ["accuracy", "accuracy"]}, "metrics: accuracy is given twice"),
        ({"n_resamples": 0}, "n_resamples=0"),
        ({"n_resamples": 1e3}, "n_resamples=1000.0"),
        ({"seed": -1}, "seed=-1"),
        ({"equivalence": "0.01"}, "equivalence='0.01'"),
        ({"equivalence": -1}, "equivalence=-1"),
        ({"evidence": {"nobody": ["leaky"]}}, "evidence=nobody"),
        ({"split": "val"}, "good: .*val.*test"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(three, arguments, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("]", r"\]")):
        compare({name: each.assign(split="test") for name, each in three.items()}, **arguments)


def test_missing_photographs_are_filled_in_from_another_table(three):
    without = {**three, "poor": three["poor"].drop(columns="group")}
    pd.testing.assert_frame_equal(compare(without).verdicts, compare(three).verdicts)
    with pytest.raises(UserError, match="group"):
        compare({name: each.drop(columns="group") for name, each in three.items()})


def test_a_baseline_among_the_runs_needs_no_other(three):
    constant = three["good"].assign(p_A=0.4, p_B=0.3, p_C=0.3)
    assert compare({"good": three["good"], "baseline: majority": constant}).runs == ("good", "baseline: majority")


@settings(max_examples=15)
@given(st.data())
def test_small_and_odd_tables_have_verdicts_that_hold_together(data):
    photographs = data.draw(st.integers(1, 8))
    share = st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=photographs, max_size=photographs)
    tables = {name: table(data.draw(share)) for name in ("a", "b", "c")}
    result = compare(tables, metrics=["accuracy", "macro_f1", "log_loss", "auroc"], n_resamples=50)
    known = result.estimates[result.estimates["low"].notna()]
    assert known["high"].notna().all()
    assert (known["low"] <= known["value"]).all()
    assert (known["value"] <= known["high"]).all()
    verdicts = result.verdicts[result.verdicts["low"].notna()]
    assert (verdicts["low"] <= verdicts["difference"]).all()
    assert (verdicts["difference"] <= verdicts["high"]).all()
    assert verdicts["p_value"].between(0, 1).all()
    accuracies = verdicts[verdicts["metric"] == "accuracy"]
    assert (accuracies["low"] >= -1).all()
    assert (accuracies["high"] <= 1).all()
    assert (verdicts["p_value"] <= verdicts["p_adjusted"]).all()
    different = verdicts[verdicts["verdict"].isin(["better", "worse"])]
    assert (different["p_adjusted"] < 0.05).all()
    assert ((different["low"] > 0) | (different["high"] < 0)).all()
    assert result.ranking["can_be_best"].any()


@pytest.mark.slow
@pytest.mark.parametrize("photographs", [(20, 20, 20), (16, 75, 159)])
def test_equal_models_are_seldom_called_different_and_intervals_hold_the_truth(photographs):
    rng = np.random.default_rng(11)
    label = np.repeat(np.arange(3), photographs)
    order = np.argsort(label, kind="stable")
    held, different = [], 0
    for _ in range(60):
        shares = rng.beta(0.8, 0.2, (2, label.size))
        tables = {}
        for name, share in zip("ab", shares, strict=True):
            each = table(share, copies=20)
            relabelled = each.assign(label=np.array(CLASSES)[label[order]].repeat(20))
            right = np.concatenate([np.arange(20) < round(20 * one) for one in share])
            predicted = np.where(right, relabelled["label"], relabelled["label"].map({"A": "B", "B": "C", "C": "A"}))
            for column in CLASSES:
                relabelled[f"p_{column}"] = np.where(predicted == column, 0.8, 0.1)
            tables[name] = relabelled
        result = compare(tables, n_resamples=500)
        first = result.estimates.iloc[0]
        held.append(first["low"] <= 0.8 <= first["high"])
        different += row(result.verdicts, "a", "b")["verdict"] in ("better", "worse")
    assert 0.88 <= np.mean(held) <= 1
    assert different <= 7


def test_the_majority_class_by_photograph_is_the_class_with_most_photographs_and_by_group_with_most_groups():
    """Class A has most images, B most photographs, C is in most groups."""
    rows = [
        *[("A", "a0", "g0")] * 9,
        *[("B", f"b{number}", "g1") for number in range(5)],
        *[("C", f"c{number}", f"g{2 + number}") for number in range(4)],
    ]
    images = pd.DataFrame(rows, columns=["label", "source", "group"]).assign(path=[str(row) for row in range(18)])
    model = images.assign(**{f"p_{label}": (images["label"] == label).astype(float) for label in "ABC"})
    estimates = compare({"model": model}).estimates.set_index(["run", "unit"])["value"]
    assert estimates[MAJORITY, "image"] == pytest.approx(9 / 18)
    assert estimates[MAJORITY, "source"] == pytest.approx(5 / 10)
    assert estimates[MAJORITY, "group_mean"] == pytest.approx(4 / 6)
    assert estimates["model"].eq(1).all()


def test_a_notebook_shows_the_decision_the_ranking_and_the_verdicts_with_names_escaped(three):
    found = compare({"<b>good": three["good"], "poor": three["poor"]})
    page = found._repr_html_()
    decision = decide(found, costs={})
    assert all(html.escape(sentence) in page for sentence in (*decision.sentences, *found.sentences))
    assert "<b>good" not in page
    assert page.count("<tr><th>") == 1 + 3  # the head, two models and the baseline
    assert page.index("&lt;b&gt;good</th>") < page.index("<th>poor</th>") < page.index(f"<th>{MAJORITY}</th>")


def test_a_comparison_prints_its_decision(three):
    found = compare({"good": three["good"], "poor": three["poor"]})
    lines = repr(found).splitlines()
    assert lines[: len(decide(found, costs={}).sentences)] == list(decide(found, costs={}).sentences)
    assert len(repr(found)) < 1500


def test_a_given_baseline_is_the_only_trivial_one(three):
    constant = three["good"].assign(p_A=0.1, p_B=0.2, p_C=0.7)
    found = compare({"of the training images": constant, "good": three["good"]}, baseline="of the training images")
    assert found.runs == ("good", "of the training images")
    assert found.aligned.baseline == "of the training images"
