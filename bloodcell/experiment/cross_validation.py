"""Cross-validation: a training for every fold, each in a run within the run, and what they come to together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bloodcell.config.training import TrainConfig
from bloodcell.evaluation.folds import mean_by_image
from bloodcell.experiment.countdown import Countdown
from bloodcell.experiment.fold import FoldResult, Learner, Predicted, build_learner, train_fold
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.inputs import keep_inputs, tags_of, write_manifests
from bloodcell.experiment.outcome import FOLD_MEAN, FOLD_STD, Outcome, keep_outcome, measure, write_outcome
from bloodcell.experiment.refit import Refit
from bloodcell.files import replacing
from bloodcell.plots.drawing import Pictures
from bloodcell.tracking.run import TrackedRun, fold_run


def fold_configs(config: TrainConfig, *, n_folds: int) -> list[TrainConfig]:
    """Return the configuration of every fold's training, each with a seed of its own; without folds the one there is.

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
    tracked: TrackedRun,
    learner: Learner,
    *,
    prepared: Prepared,
    configs: Sequence[TrainConfig],
    backbone_seed: int,
    label: str,
    quiet: bool,
) -> list[FoldResult]:
    """Train fold after fold; what is finished stays on disk and in MLflow if a later one fails.

    Parameters
    ----------
    tracked
        The cross-validation's run.
    learner
        The first fold's; the others' are built when it is their turn.
    prepared
        The images and their folds.
    configs
        One for each fold.
    backbone_seed
        As for `build_learner`.
    label
        What stands before the fold's name where progress is shown.
    quiet
        As for `bloodcell.training.trainer.train`.
    """
    results: list[FoldResult] = []
    countdown = Countdown(noun=f"{label}fold", objective="val/accuracy", total=len(configs))
    for number, (part, config) in enumerate(zip(prepared.folds, configs, strict=True), start=1):
        countdown.begin()
        if number > 1:
            learner = build_learner(config, n_classes=len(part.images.classes), backbone_seed=backbone_seed)
        with fold_run(
            tracked,
            number=number,
            n_folds=len(configs),
            tags=tags_of(config, part, learner.classifier),
            folder=tracked.folder / "folds" / str(number),
        ) as fold:
            artifacts = fold.folder / "artifacts"
            write_manifests(part, artifacts)
            keep_inputs(fold, config, part)
            with Pictures(artifacts) as pictures:
                result = train_fold(
                    fold,
                    learner,
                    prepared=part,
                    config=config,
                    pictures=pictures,
                    fold=number,
                    label=f"{label}fold {number} of {len(configs)}: ",
                    quiet=quiet,
                )
            fold.log_folder(artifacts)
            results.append(result)
        if not quiet:
            countdown.finished(number, "done", result.outcome.metrics["val"]["accuracy"])
    return results


def keep_cross_validation(
    tracked: TrackedRun,
    results: Sequence[FoldResult],
    refitted: Refit | None,
    *,
    prepared: Prepared,
    config: TrainConfig,
    pictures: Pictures,
) -> Outcome:
    """Write and keep what the folds come to together, but for what is kept as files.

    Validation's figures are of every training image's prediction by the model that was not trained on it, test's of
    the model that was trained on all of them, or without one of the mean of all models' probabilities.
    """
    images, artifacts = prepared.images, tracked.folder / "artifacts"
    smoothing = config.hyperparameters.label_smoothing
    outcome = pooled(
        [result.outcome for result in results],
        test=None if refitted is None else refitted.test,
        prepared=prepared,
        label_smoothing=smoothing,
    )
    table = _folds_table(results)
    write_outcome(outcome, images=images, folder=artifacts, pictures=pictures)
    with replacing(artifacts / "folds.csv") as partial:
        table.to_csv(partial, index=False)
    keep_outcome(tracked, outcome, classes=images.classes)
    tracked.log_table(table, "folds.json")
    cost = results[0].cost if refitted is None else refitted.cost
    seconds = table["train_seconds"].sum() + (0.0 if refitted is None else refitted.cost["train_seconds"])
    tracked.log_metrics({**cost, "train_seconds": seconds}, prefix="cost")
    return outcome


def pooled(
    outcomes: Sequence[Outcome], *, test: Predicted | None = None, prepared: Prepared, label_smoothing: float
) -> Outcome:
    """Put the folds' predictions together and measure them.

    Parameters
    ----------
    outcomes
        Of all folds, in order.
    test
        Predictions of the test images by the model that was trained on all training images, if there is one.
    prepared
        All training and test images.
    label_smoothing
        As the models were trained with.

    Returns
    -------
    Outcome
        Its predictions of ``val`` are those of all folds, each with its fold's number; where an image was validated on
        in several repeats its figures are of the mean of its probabilities. Those of ``test`` are ``test``, or the mean
        over the folds, and so are those of several views of an image. The metrics of ``val`` have
        ``accuracy_fold_mean`` and ``accuracy_fold_std`` (ddof 1) besides.
    """
    by_split = {split: [outcome.tables[split] for outcome in outcomes] for split in outcomes[0].tables}
    tables = {split: mean_by_image(parts, classes=prepared.images.classes) for split, parts in by_split.items()}
    views = {
        split: mean_by_image([outcome.views[split] for outcome in outcomes], classes=prepared.images.classes)
        for split in outcomes[0].views
    }
    if test is not None:
        tables["test"] = test.single
        views |= {} if test.views is None else {"test": test.views}
    outcome = measure(tables, views=views, prepared=prepared, label_smoothing=label_smoothing)
    accuracies = [outcome.metrics["val"]["accuracy"] for outcome in outcomes]
    spread = {FOLD_MEAN: float(np.mean(accuracies)), FOLD_STD: float(np.std(accuracies, ddof=1))}
    return replace(
        outcome,
        # Of test no fold's.
        predictions=pd.concat([*by_split["val"], *([tables["test"]] if "test" in tables else [])], ignore_index=True),
        metrics={**outcome.metrics, "val": {**outcome.metrics["val"], **spread}},
        folds=[fold.metrics for fold in outcomes],
    )


def _folds_table(results: Sequence[FoldResult]) -> pd.DataFrame:
    rows = [
        {
            "fold": number,
            **{
                f"{split}_{name}": result.outcome.metrics[split][name]
                for split in result.outcome.tables
                for name in ("accuracy", "photograph_accuracy", "photographs")
            },
            "best_epoch": result.best_epoch,
            "train_seconds": result.cost["train_seconds"],
            "run_id": result.run_id,
            "model_uri": result.model_uri,
        }
        for number, result in enumerate(results, start=1)
    ]
    return pd.DataFrame(rows)
