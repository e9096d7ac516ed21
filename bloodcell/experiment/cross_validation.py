"""Cross-validation: one training per fold, and the evaluation of their pooled predictions."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bloodcell.config.split import CrossValidation
from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import SHOW_ALL, Reporting, print_status
from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.outcome import FOLD_MEAN, FOLD_STD, Outcome, evaluate_outcome
from bloodcell.experiment.countdown import Countdown
from bloodcell.experiment.evidence import evidence_of
from bloodcell.experiment.finished import load_fold
from bloodcell.experiment.fold import FoldResult, Predicted, build_learner, train_fold
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.inputs import keep_images, tags_of
from bloodcell.experiment.outcome import keep_outcome
from bloodcell.experiment.recorder import Recorder
from bloodcell.experiment.refit import Refit
from bloodcell.experiment.side_by_side import Part, train_heads
from bloodcell.training.learner import Learner


def chosen_fold(config: TrainConfig) -> int | None:
    """Return the number of the only fold to train; None if the configuration chooses none."""
    return config.split.fold if isinstance(config.split, CrossValidation) else None


def whole_split(config: TrainConfig) -> TrainConfig:
    """Return a configuration that trains all folds."""
    if not isinstance(config.split, CrossValidation):
        return config
    return replace(config, split=replace(config.split, fold=None))


def fold_configs(config: TrainConfig, *, n_folds: int) -> list[TrainConfig]:
    """Return the configuration of every fold, with its own seed; without folds, the configuration itself.

    A fold's seed depends on the configuration's seed and the fold's number only.
    """
    if not n_folds:
        return [config]
    seeds = [np.random.SeedSequence([config.hyperparameters.seed, fold]) for fold in range(1, n_folds + 1)]
    return [
        replace(config, hyperparameters=replace(config.hyperparameters, seed=int(seed.generate_state(1)[0])))
        for seed in seeds
    ]


def train_folds(
    recorder: Recorder,
    learner: Learner,
    *,
    prepared: Prepared,
    config: TrainConfig,
    reporting: Reporting = SHOW_ALL,
    resume: bool = False,
) -> list[FoldResult]:
    """Train the folds one by one; finished folds are kept if a later one fails.

    Parameters
    ----------
    recorder
        The recorder of the cross-validation.
    learner
        The learner of the first fold; the others are built here, with the same backbone.
    prepared
        The images and their folds.
    config
        The run's configuration.
    reporting
        How progress is shown.
    resume
        Whether to continue an interrupted cross-validation in the recorder's folder: finished folds are read from their
        folders, an interrupted one is trained from its last saved epoch on.
    """
    configs, backbone_seed = fold_configs(config, n_folds=len(prepared.folds)), config.hyperparameters.seed
    weights_digest = learner.classifier.backbone.digest  # of all folds
    numbered = dict(enumerate(zip(prepared.folds, configs, strict=True), start=1))
    results: dict[int, FoldResult] = {}
    for number, (part, own) in numbered.items() if resume else ():
        folder = recorder.fold_folder(number)
        finished = load_fold(folder, prepared=part, config=own, fold=number, weights_digest=weights_digest)
        if finished is not None:
            results[number] = finished
            if not reporting.quiet:
                print_status(f"{reporting.label}fold {number} of {len(configs)}: is already finished")

    def learner_of(number: int) -> Learner:
        own, n_classes = configs[number - 1], len(prepared.images.classes)
        return learner if number == 1 else build_learner(own, n_classes=n_classes, backbone_seed=backbone_seed)

    left = {number: pair for number, pair in numbered.items() if number not in results}
    together = learner.only_trains_a_head
    learners = {number: learner_of(number) for number in left} if together else {}
    share = train_heads(
        [
            Part(learner=each, prepared=left[number][0], config=left[number][1], folder=recorder.fold_folder(number))
            for number, each in learners.items()
        ],
        description=f"{reporting.label}training heads of folds",
        resume=resume,
    )
    countdown = Countdown(noun=f"{reporting.label}fold", objective="val/accuracy", total=len(configs), chooses=False)
    for number, (part, own) in left.items():
        countdown.begin(earlier=share)
        fold_learner = learners.pop(number) if together else learner_of(number)
        tags = tags_of(own, part, fold_learner.classifier)
        with recorder.fold(number, n_folds=len(configs), tags=tags, resume=resume) as fold:
            keep_images(fold, own, part)
            results[number] = train_fold(
                fold,
                fold_learner,
                prepared=part,
                config=own,
                fold=number,
                reporting=reporting.of(f"fold {number} of {len(configs)}"),
                resume=resume,
                head_is_trained=together,
            )
            fold.log_artifacts()
        if not reporting.quiet:
            countdown.finished(number, "done", results[number].outcome.val.metrics["accuracy"])
    return [results[number] for number in numbered]


def keep_cross_validation(
    recorder: Recorder,
    results: Sequence[FoldResult],
    refitted: Refit | None,
    *,
    prepared: Prepared,
    config: TrainConfig,
) -> Outcome:
    """Pool the folds' predictions, evaluate them, and record the results.

    Validation metrics use out-of-fold predictions. Test metrics use the model that was trained on all training images
    or, without one, the mean of the folds' probabilities.
    """
    outcome = pooled(
        [result.outcome for result in results],
        test=None if refitted is None else refitted.test,
        prepared=prepared,
        config=config,
    )
    table = _folds_table(results)
    keep_outcome(recorder, outcome, images=prepared.images)
    recorder.log_table(table, "folds.json")
    cost = results[0].cost if refitted is None else refitted.cost
    seconds = table["train_seconds"].sum() + (0.0 if refitted is None else refitted.cost["train_seconds"])
    recorder.log_metrics({**cost, "train_seconds": seconds}, prefix="cost")
    return outcome


def pooled(
    outcomes: Sequence[Outcome], *, test: Predicted | None = None, prepared: Prepared, config: TrainConfig
) -> Outcome:
    """Pool the predictions of all folds, in order, and evaluate them.

    Parameters
    ----------
    outcomes
        The outcomes of all folds, in order.
    test
        Predictions of the test images by the model trained on all training images, or None.
    prepared
        All training and test images.
    config
        The run's configuration.

    Returns
    -------
    Outcome
        The predictions of ``val`` are those of all folds, each with the number of its fold. If there are several
        repeats, metrics are of the mean probabilities of each image. The predictions of ``test`` are ``test``, or the
        mean over the folds. The metrics of ``val`` include ``accuracy_fold_mean`` and ``accuracy_fold_std`` (ddof 1).
    """
    classes = prepared.images.classes
    by_split = {split: [outcome.splits[split] for outcome in outcomes] for split in outcomes[0].splits}
    tables = {
        split: mean_by_image([each.table for each in parts], classes=classes) for split, parts in by_split.items()
    }
    views = {
        split: mean_by_image(of_views, classes=classes)
        for split, parts in by_split.items()
        if (of_views := [each.views_table for each in parts if each.views_table is not None])
    }
    if test is not None:
        tables["test"] = test.single
        views |= {} if test.views is None else {"test": test.views}
    outcome = evaluate_outcome(
        tables,
        classes=classes,
        training=prepared.images.part("train"),
        leakage=prepared.leakage,
        evidence=evidence_of(config),
        label_smoothing=config.hyperparameters.label_smoothing,
        views=views,
        test_sets=prepared.images.test_sets,
    )
    accuracies = [each.val.metrics["accuracy"] for each in outcomes]
    spread = {FOLD_MEAN: float(np.mean(accuracies)), FOLD_STD: float(np.std(accuracies, ddof=1))}
    predictions = [each.table for each in by_split["val"]] + ([tables["test"]] if "test" in tables else [])
    return replace(
        outcome,
        predictions=pd.concat(predictions, ignore_index=True),
        splits={**outcome.splits, "val": replace(outcome.val, metrics={**outcome.val.metrics, **spread})},
        folds=tuple(outcomes),
    )


def _folds_table(results: Sequence[FoldResult]) -> pd.DataFrame:
    rows = [
        {
            "fold": number,
            **{
                f"{split}_{name}": evaluation.metrics[name]
                for split, evaluation in result.outcome.splits.items()
                for name in ("accuracy", "photograph_accuracy", "photographs")
            },
            "best_epoch": result.best_epoch + 1,  # as on the terminal
            "train_seconds": result.cost["train_seconds"],
        }
        for number, result in enumerate(results, start=1)
    ]
    return pd.DataFrame(rows)
