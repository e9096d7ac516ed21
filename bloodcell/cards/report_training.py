"""Sentences of a report on the training, and on what was chosen by which data."""

from bloodcell.cards.document import Text, joined, text
from bloodcell.cards.report_evaluation import calibration_method
from bloodcell.cards.report_facts import ReportFacts
from bloodcell.cards.report_members import each_member
from bloodcell.config.finetune import GradualPlan, StagedPlan, TopPlan
from bloodcell.config.model import CLOSED_FORM
from bloodcell.config.training import TrainConfig
from bloodcell.wording import PHOTOGRAPH, listed, plural

CLOSED_FORM_HEADS = {
    "ridge": "The head was a least-squares fit of the classes with an L2 penalty",
    "lda": "The head was a linear discriminant analysis, its covariance matrix regularised with a strength",
}
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "stochastic gradient descent"}


@each_member
def training(facts: ReportFacts) -> Text | None:
    """Return how the model was trained: the solver or optimizer, stages, epochs, seed."""
    config = facts.config
    if config is None:
        return None
    parts: list[Text | None] = [_of_head(facts, config)]
    if not config.stays_frozen:
        parts.append(_of_stages(facts, config))
    elif config.backbone.is_network:
        parts.append(("The network stayed frozen.",))
    parts.append(balance(facts))
    smoothing = config.hyperparameters.label_smoothing
    if smoothing:
        parts.append(text("Label smoothing {n}.", n=facts.run.parameter("hyperparameters.label_smoothing")))
    parts.append(seeds(facts))
    return joined(parts)


def _of_head(facts: ReportFacts, config: TrainConfig) -> Text:
    run = facts.run
    if config.head.solver in CLOSED_FORM:
        what = CLOSED_FORM_HEADS[config.head.solver]
        if config.head.l2 == "auto":
            return (f"{what} that was chosen by leaving out groups of the training images.",)
        return text(f"{what} of {{l2}}.", l2=run.parameter("head.l2"))
    if config.head.solver == "lbfgs":
        return text(
            "The head minimised the cross-entropy with an L2 penalty of {l2} by L-BFGS.",
            l2=run.parameter("head.l2"),
        )
    values = config.hyperparameters
    start = text(
        "The head was trained by {optimizer} on the cross-entropy for at most {epochs} epochs, in batches of {size}, "
        "with a {schedule} learning rate of {rate}",
        optimizer=OPTIMIZERS[values.optimizer],
        epochs=run.parameter("hyperparameters.epochs"),
        size=run.parameter("hyperparameters.batch_size"),
        schedule=values.schedule,
        rate=run.parameter("hyperparameters.learning_rate"),
    )
    decay = (
        text(" and a weight decay of {n}", n=run.parameter("hyperparameters.weight_decay"))
        if values.weight_decay
        else ()
    )
    penalty = text(" and an L2 penalty of {n}", n=run.parameter("head.l2")) if config.head.l2 else ()
    return (*start, *decay, *penalty, ".")


def _of_stages(facts: ReportFacts, config: TrainConfig) -> Text | None:
    run = facts.run
    match config.finetune:
        case TopPlan():
            return text(
                "Then the network's top block was trained for {epochs} epochs with a learning rate of {rate}.",
                epochs=run.parameter("finetune.epochs"),
                rate=run.parameter("finetune.learning_rate"),
            )
        case GradualPlan():
            return text(
                "Then the network's top {blocks} blocks were trained, one more in each stage, for {epochs} epochs "
                "each, with a learning rate of {rate}, multiplied by {decay} at each stage.",
                blocks=run.parameter("finetune.blocks"),
                epochs=run.parameter("finetune.epochs"),
                rate=run.parameter("finetune.learning_rate"),
                decay=run.parameter("finetune.learning_rate_decay"),
            )
        case StagedPlan(stages=stages):
            described = []
            for number, stage in enumerate(stages):
                place = f"finetune.stages.{number}"
                start: Text = (stage.layer or stage.block or "",)
                if stage.fraction is not None:
                    start = text("the top {share} of layers", share=run.parameter(f"{place}.fraction", percent=True))
                described.append(
                    text(
                        "from {start} on for {epochs} epochs with a learning rate of {rate}",
                        start=start,
                        epochs=run.parameter(f"{place}.epochs"),
                        rate=run.parameter(f"{place}.learning_rate"),
                    )
                )
            return text("Then the network was trained {stages}.", stages=joined(described, "; then "))
    return None


@each_member
def balance(facts: ReportFacts) -> Text | None:
    """Return how classes of unequal size were handled."""
    config = facts.config
    if config is None:
        return None
    values = config.hyperparameters
    weighted = (
        "Classes were weighted inversely to their size in training."
        if values.class_weights == "balanced"
        else "Classes were neither weighted nor resampled."
    )
    drawn = f" Photographs, not images, were drawn with equal probability ({plural(PHOTOGRAPH)} have several images)."
    return (weighted + drawn if values.sampling == "photographs" else weighted,)


def imbalance(facts: ReportFacts) -> Text | None:
    """Return how unequal the classes are, what was done, and whether probabilities were recalibrated."""
    done = balance(facts)
    if done is None or not facts.parts:
        return None
    if facts.manifest is None:  # `parts` is empty without it
        return None
    counts = facts.manifest.loc[facts.manifest["split"] == "train", "label"].value_counts()
    largest, smallest = str(counts.index[0]), str(counts.index[-1])
    if counts.iloc[0] == counts.iloc[-1]:
        same = facts.n_images(split="train", label=largest)
        return joined([text("Every class of training has {n}.", n=same), done, calibration_method(facts)])
    return joined(
        [
            text(
                "The largest class of training, {large}, has {n_large}, the smallest, {small}, {n_small}.",
                large=largest,
                n_large=facts.n_images(split="train", label=largest),
                small=smallest,
                n_small=facts.n_images(split="train", label=smallest),
            ),
            done,
            calibration_method(facts),
        ]
    )


def seeds(facts: ReportFacts) -> Text | None:
    """Return the seeds of training and split."""
    if facts.run.tags.seed is None:
        return None
    seed = text("The seed of the training was {n}", n=facts.run.tag("seed", str(facts.run.tags.seed)))
    if "split.seed" in facts.run.parameters:
        return text("{seed}, that of the split {n}.", seed=seed, n=facts.run.parameter("split.seed"))
    return (*seed, ".")


def selection(facts: ReportFacts) -> Text | None:
    """Return what validation chose, and from how many runs."""
    if not facts.trainings or all(each.config is None for each in facts.trainings):
        return None
    stopped = any(each.config is not None and each.config.stops_by_validation for each in facts.trainings)
    chosen = ["the number of epochs"] if stopped else []
    chosen += ["the members' weights"] if facts.method not in ("", "soft") else []
    chosen.append("the temperature that calibrates probabilities")
    parts: list[Text | None] = [text("Validation chose {chosen}.", chosen=listed(chosen))]
    config = facts.config
    stopping = config.hyperparameters.early_stopping if config else None
    if stopped and stopping is not None:
        rule = f"by {stopping.monitor.replace('val_', 'validation ')}"
        best = ", and the best epoch was kept" if stopping.restore_best else ""
        parts.append(
            text(
                "Training stopped after {n} epochs without improvement ({rule}){best}.",
                n=facts.run.parameter("hyperparameters.early_stopping.patience"),
                rule=rule,
                best=best,
            )
            if stopping.patience is not None
            else (f"Epochs were compared {rule}{best}.",)
        )
    if not stopped:
        parts.append(("No epoch was chosen by validation.",))
    parts.append(_of_study(facts))
    parts.append(test_use(facts))
    return joined(parts)


def _of_study(facts: ReportFacts) -> Text | None:
    if facts.study is not None:
        run = facts.study.run
        return text(
            "The run is the best by validation of the {n} finished runs of the {kind} {link}, baselines included; "
            "{failed} did not finish. "
            "The choice makes its validation metrics optimistic. The test set did not choose.",
            n=run.count_of_runs("finished runs of the study", len(facts.study.runs)),
            kind=facts.study.kind,
            link=run.link,
            failed=run.count_of_runs("other runs of the study", facts.study.not_finished),
        )
    if facts.siblings > 1:
        return text(
            "The run is one of {n} trainings of a {kind}; if it was chosen by validation, its validation metrics are "
            "optimistic.",
            n=facts.run.count_of_runs("trainings of its study", facts.siblings),
            kind=facts.study_kind,
        )
    return ("This text is about one run; how many other configurations were tried is not known to it.",)


def test_use(facts: ReportFacts) -> Text | None:
    """Return how often the test set was used."""
    if "test" not in facts.splits:
        return ("The test set was not used.",)
    parts: list[Text | None] = [("The test set was evaluated after training and chose nothing.",)]
    if facts.tested_runs is not None and facts.tested_runs > 1:
        parts.append(
            text(
                "{n} runs in the store, this one included, were evaluated on the same test images; the best of them "
                "has optimistic test metrics.",
                n=facts.run.count_of_runs("runs with its data digest and test metrics", facts.tested_runs),
            )
        )
    return joined(parts)
