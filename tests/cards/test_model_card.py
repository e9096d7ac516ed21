"""A model's card: that it says what is known, and no more."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bloodcell.cards.model_card import CardFacts, model_card, shortened
from bloodcell.cards.model_card_training import Training
from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.composition import compose_config
from bloodcell.data.leaks import Leakage, find_shared_groups
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.evaluation.selective_prediction import threshold_for_error

CLASSES = ("MONOCYTE", "NEUTROPHIL")
TRAINING = Training(
    name="frozen",
    run_id="0a1b",
    config=compose_config(
        "train",
        [
            *("data=bccd", "data.root=/home/me/cells", "split=group_holdout", "backbone=mobilenetv2", "crop=nucleus"),
            *("head=dense", "head.hidden_units=[64]", "head.solver=gradient", "head.pooling=average"),
            "finetune=staged",
            "finetune.stages=[{epochs: 5, block: block_14, learning_rate: 0.0001}]",
            "hyperparameters.early_stopping.restore_best=true",
        ],
    ),
    tags=RunTags(weights="imagenet", weights_digest="0123456789abcdef"),
)


def table(*, monocytes: int, neutrophils: int, wrong: int) -> pd.DataFrame:
    """Two test images of each photograph; of some monocytes the first is classified correctly, but not their mean."""
    labels = ["MONOCYTE"] * monocytes + ["NEUTROPHIL"] * neutrophils
    manifest = pd.DataFrame(
        [
            {"path": f"{index}_{copy}.png", "label": label, "group": str(index), "split": "test"}
            for index, label in enumerate(labels)
            for copy in range(2)
        ]
    )
    of_monocyte = np.where(manifest["label"] == "MONOCYTE", 0.9, 0.1)
    of_monocyte[: 2 * wrong : 2], of_monocyte[1 : 2 * wrong : 2] = 0.6, 0.1
    return predictions_table(
        manifest=manifest, probabilities=np.stack([of_monocyte, 1 - of_monocyte], axis=1), classes=CLASSES
    )


@pytest.fixture
def facts() -> CardFacts:
    predictions = table(monocytes=4, neutrophils=60, wrong=3)
    manifest = predictions[["path", "label", "source", "group", "split"]].assign(sha256=predictions["path"])
    return CardFacts(
        name="cells_1",
        run_id="0a1b",
        run_name="frozen",
        date="2026-02-01 10:00 UTC",
        metrics={"test/accuracy": 0.975, "test/accuracy_low": 0.9, "test/accuracy_high": 0.99, "test/photographs": 64},
        tags=RunTags(leaky="false", groups="recover"),
        trainings=[TRAINING],
        method="",
        classes=CLASSES,
        predictions=predictions,
        manifest=manifest,
        leakage=Leakage(shared=[], split_by_file=False, groups_known=True),
        temperature=1.25,
        thresholds={0.05: None},
        n_threshold_sources=20,
        siblings=12,
        study="sweep",
        tested_runs=7,
        test_readings=None,
    )


def test_a_card_begins_with_not_for_diagnosis_and_has_mitchells_headings(facts):
    card = model_card(facts)
    assert card.startswith("# Model card: cells\\_1\n\n**For research only. Not for diagnosis.**")
    assert [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")] == [
        *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
        *("Quantitative analyses", "Ethical considerations", "Caveats and recommendations"),
    ]


def test_a_card_has_the_training_and_the_initial_weights(facts):
    card = model_card(facts)
    assert "imagenet, digest 0123456789abcdef" in card
    assert "a square around the nucleus, at 224 × 224 pixels" in card
    assert re.search(r"block\\_14 .*0\.0001", card)
    assert "/home/me" not in card


def test_confusions_inconsistent_copies_and_small_classes_are_counted_by_photograph(facts):
    card = model_card(facts)
    assert "MONOCYTE predicted as NEUTROPHIL (3 of 4 photographs)" in card
    assert " 3 of 64 photographs " in card
    # 1 - 0.05 ** (1 / 4); of 60 photographs less than 10 % could be wrong.
    assert "MONOCYTE (4, 53 %)" in card
    assert "| MONOCYTE | 0.625 | 1 of 4 (0.05 to 0.70) |" in card
    assert "| MONOCYTE | 4 (8) |" in card


def test_a_class_without_a_photograph_is_unknown(facts):
    card = model_card(replace(facts, predictions=table(monocytes=0, neutrophils=60, wrong=0)))
    assert "Recall of MONOCYTE on test is unknown" in card
    assert "| MONOCYTE | – | no photograph |" in card


def test_a_card_has_the_choices_on_validation_and_the_number_of_tested_runs(facts):
    card = model_card(facts)
    assert "the number of epochs, the temperature and the confidence thresholds" in card
    assert "one of 12 of a sweep" in card
    assert "at least 7 runs in the store" in card


def test_leakage_is_reported_with_its_count_and_nothing_is_guaranteed(facts):
    both = facts.manifest.assign(split=["train", "val"] * 64)
    leakage = Leakage(shared=find_shared_groups(both), split_by_file=False, groups_known=True)
    card = model_card(
        replace(
            facts, tags=RunTags(leaky="true", groups="recover", evidence=("leaky",)), manifest=both, leakage=leakage
        )
    )
    assert "Warning, leaky: " in card
    assert "64 of 64 validation images have a copy in training" in card
    assert "No maximal error is guaranteed" in card
    assert "max\\_error=" not in card


def test_a_promise_is_given_with_what_it_rests_on(facts):
    groups = np.arange(100)
    threshold = threshold_for_error(
        labels=np.zeros(100, int), probabilities=np.tile([0.9, 0.1], (100, 1)), groups=groups, max_error=0.05
    )
    card = model_card(replace(facts, thresholds={0.05: threshold}, n_threshold_sources=100))
    assert "max\\_error=0.05: with 95 % confidence the error is at most 5 %" in card
    assert "predicts 100, 0 of them wrong" in card
    assert "max\\_error=0.05: an error of at most 5 % cannot be guaranteed" in model_card(facts)


def test_facts_that_an_old_run_did_not_log_are_unknown(facts):
    nothing = replace(TRAINING, config=None, tags=RunTags())
    empty = {"predictions": None, "manifest": None, "leakage": None, "date": None, "tested_runs": None, "siblings": 0}
    card = model_card(replace(facts, metrics={"test/accuracy": 0.9}, tags=RunTags(), trainings=[nothing], **empty))
    for text in (
        *("accuracy 0.900 (interval unknown) by image, unknown by photograph", "Date: unknown", "Code: unknown"),
        *("Confused classes: unknown", "Photographs and images by class: unknown", "Source: unknown"),
        *("Leakage between splits: unknown", "No maximal error is guaranteed"),
    ):
        assert text in card


def test_a_card_that_is_too_long_drops_whole_sections_and_links_to_the_full_card(facts):
    card = model_card(facts)
    short = shortened(card, limit=5000, whole="[model_card.md](#/there)")
    assert len(short) <= 5000 < len(card)
    assert short.startswith("# Model card: cells\\_1\n\n**For research only. Not for diagnosis.**")
    assert "## Caveats and recommendations" in short
    assert short.endswith("*Shortened. The whole card: [model_card.md](#/there)*\n")
    assert len(shortened(card, limit=400, whole="there")) <= 400
    assert shortened(card, limit=len(card), whole="there") == card


def test_a_card_has_the_calibration_errors_that_the_run_kept(facts):
    before = {"test/ece": 0.131, "calibrated/test/ece": 0.1}
    card = model_card(replace(facts, metrics={**facts.metrics, **before}))
    assert "test 0.131 before, 0.100 after" in card
    assert "Debiased calibration error" not in card
    kept = {"test/ece_by_chance": 0.12, "calibrated/test/ece_by_chance": 0.12}
    kept |= {"test/calibration_error": 0.05, "calibrated/test/calibration_error": 0.0}
    card = model_card(replace(facts, metrics={**facts.metrics, **before, **kept}))
    assert "test 0.120 before, 0.120 after" in card
    assert "Debiased calibration error: test 0.050 before, 0.000 after." in card
