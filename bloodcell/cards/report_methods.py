"""Sentences of a methods section, from the facts of a run; None: the run does not know.

A sentence says only what the run, or bloodcell's method, did. Every number of it is linked to what holds it.
"""

from collections.abc import Callable
from functools import wraps

from bloodcell.cards.document import Span, Text, joined, listed_texts, text, words_of
from bloodcell.cards.model_card import GROUPS, METHODS, SPLIT
from bloodcell.cards.model_card_training import POOLING
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.config.data import BccdData, FolderData, SmearsData, TableData
from bloodcell.config.finetune import GradualPlan, StagedPlan, TopPlan
from bloodcell.config.model import CLOSED_FORM
from bloodcell.config.split import CrossValidation
from bloodcell.config.training import DebugConfig, TrainConfig
from bloodcell.models.feature_sets import FEATURE_SETS
from bloodcell.wording import PHOTOGRAPH, listed, plural

CROPS = {"none": "the whole image", "nucleus": "a square around the nucleus, found in the image's colours"}
CLOSED_FORM_HEADS = {
    "ridge": "The head was a least-squares fit of the classes with an L2 penalty",
    "lda": "The head was a linear discriminant analysis, its covariance matrix regularised with a strength",
}
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "stochastic gradient descent"}


def each_member(function: Callable[[ReportFacts], Text | None]) -> Callable[[ReportFacts], Text | None]:
    """Make a function of a single training say the same of each member of an ensemble, once if all are alike."""

    @wraps(function)
    def of_all(facts: ReportFacts) -> Text | None:
        if not facts.method:
            return function(facts)
        said = [(member.run, known) for member in facts.of_members if (known := function(member))]
        if not said:
            return None
        if len(said) == len(facts.trainings) and len({words_of(known) for _, known in said}) == 1:
            return said[0][1]
        return joined([text("Member {link}: {known}", link=run.link, known=known) for run, known in said])

    return of_all


def technology(facts: ReportFacts) -> Text | None:
    """Return the kind of method, as a noun phrase."""
    config = facts.config
    if facts.method:
        return text("an ensemble of {n} classifiers", n=_n_members(facts))
    if config is None:
        return None
    if config.backbone.is_network:
        trained = "as fixed features" if config.stays_frozen else "fine-tuned"
        return (
            f"deep learning: the convolutional network {config.backbone.name}, {trained}, with a classifier on top",
        )
    return (f"machine learning on hand-made image features ({config.backbone.name}), without a neural network",)


def title(facts: ReportFacts) -> Text | None:
    """Suggest a title."""
    method = technology(facts)
    if method is None:
        return None
    evaluated = " and internal evaluation" if facts.splits else ""
    return text(
        "Suggested title: “Classification of images of single blood cells ({classes}) by {method}: "
        "development{evaluated}”.",
        classes=facts.class_list,
        method=method,
        evaluated=evaluated,
    )


def goal(facts: ReportFacts) -> Text | None:
    """Return what the run was for."""
    if not facts.classes:
        return None
    evaluated = listed([PARTS[each] for each in facts.splits]) if facts.splits else ""
    return text(
        "A classifier of images of single blood cells was developed{evaluated}. It assigns one of the classes "
        "{classes}.",
        evaluated=f" and evaluated on held-out images ({evaluated})" if evaluated else "",
        classes=facts.class_list,
    )


def data_source(facts: ReportFacts) -> Text | None:
    """Return where the images are from, as far as the run knows."""
    config, digest = _first_config(facts), facts.run.tags.data_digest
    if config is None or digest is None:
        return None
    match config.data:
        case BccdData(root=root):
            place = text(
                "the Kaggle set “Blood Cell Images”, or images in its layout (folder {root})", root=_name(root)
            )
        case FolderData(train_dir=folder):
            place = text("those of a folder for each class (in {folder})", folder=_name(folder))
        case TableData(table=table):
            place = text("those that a table lists ({table})", table=_name(table))
        case SmearsData():
            place = ("blood smears that a program rendered (no image is of a person)",)
    return text(
        "The images were {place}. The digest of images, labels, groups and split is {digest}.",
        place=place,
        digest=facts.run.tag("data_digest", digest),
    )


def flow(facts: ReportFacts) -> Text | None:
    """Return how many files were read, left out, and used."""
    run = facts.images_run
    if not facts.parts or "images.unreadable" not in run.parameters:
        return None
    names = [f"images.{part}" for part in facts.parts]
    counts, by_list = ["images.unreadable", "images.left_out"], None
    if run.parameters.get("images.excluded", "0") != "0":
        counts.append("images.excluded")
        by_list = text(", {n} were on a list of images to exclude", n=run.parameter("images.excluded"))
    left = text(
        "{unreadable} could not be read{by_list} and {left_out} had a copy, or images of their {group}, in another "
        "split; these were left out",
        unreadable=run.parameter("images.unreadable"),
        by_list=by_list or "",
        left_out=run.parameter("images.left_out"),
        group=facts.group_name,
    )
    return joined(
        [
            text(
                "Of {found} image files, {left}. The other {used} were used: {parts}.",
                found=run.parameter(*names, *counts),
                left=left,
                used=run.parameter(*names),
                parts=listed_texts(
                    [text("{n} for {part}", n=facts.n_images(split=part), part=PARTS[part]) for part in facts.parts]
                ),
            ),
            _other_files(facts),
        ]
    )


def _other_files(facts: ReportFacts) -> Text | None:
    what = facts.audit.what("other-files") if facts.audit else None
    return text("The audit says of other files: {what}", what=what) if what else None


def missing(facts: ReportFacts) -> Text | None:
    """Return how missing data were handled."""
    config, run = _first_config(facts), facts.images_run
    if config is None or "images.unreadable" not in run.parameters:
        return None
    policy = (
        "a file that could not be read would have stopped the run"
        if config.data.on_bad_image == "error"
        else "files that could not be read were left out"
    )
    return text(
        "A missing datum is an image that cannot be read: {policy}; {n} were left out. Every image has a label; no "
        "label and no pixel was imputed.",
        policy=policy,
        n=run.parameter("images.unreadable"),
    )


@each_member
def subsets(facts: ReportFacts) -> Text | None:
    """Return whether all images were used, and which part of each."""
    config = facts.config
    if config is None:
        return None
    parts: list[Text] = []
    if config.backbone.is_network:
        parts.append(text("Of each image, {region} was used.", region=_region(config)))
    if config.debug != DebugConfig():
        limits = [
            text("{name} {value}", name=name, value=facts.run.parameter(f"debug.{name}"))
            for name in ("limit_per_class", "overfit_images", "finetune_epochs", "steps_per_epoch")
            if getattr(config.debug, name) is not None
        ]
        parts.append(text("This is a debug run with limits: {limits}.", limits=listed_texts(limits)))
    else:
        parts.append(("All images that could be read were used; no subset was drawn.",))
    if config.data.without_classes:
        parts.append(text("Left out were the classes {classes}.", classes=listed(config.data.without_classes)))
    return joined(parts)


def _region(config: TrainConfig) -> str:
    return CROPS.get(config.crop.name, f"the crop {config.crop.name}")


@each_member
def preprocessing(facts: ReportFacts) -> Text | None:
    """Return how images become the model's input."""
    config, run = facts.config, facts.run
    if config is None:
        return None
    if config.backbone.is_network:
        size = run.parameter("backbone.input_size")
        shown = text(
            "Each image was read as RGB with 8 bits, cropped to {region}, and resized to {size} × {size} pixels by "
            "{kind} interpolation. The scaling of pixel values that {network} expects is part of the model.",
            region=_region(config),
            size=size,
            kind=config.backbone.interpolation,
            network=config.backbone.name,
        )
    else:
        shown = text(
            "Each image was read as RGB with 8 bits. Features: {features}.",
            features=FEATURE_SETS[config.backbone.name].description,
        )
    extra = [FEATURE_SETS[each].description for each in config.head.extra_features]
    return joined(
        [
            shown,
            text("Features added to the network's: {extra}.", extra="; ".join(extra)) if extra else None,
            ("Features were standardised by their mean and standard deviation in training.",)
            if config.head.standardise
            else None,
            text(
                "Features were projected to their first {n} principal components in training.",
                n=facts.run.parameter("head.projection"),
            )
            if config.head.projection is not None
            else None,
        ]
    )


def quality(facts: ReportFacts) -> Text:
    """Return which checks of the images were made."""
    compared = "" if facts.run.tags.groups in (None, "none") else f" and by their {facts.group_name}"
    parts: list[Text | None] = [
        (f"Every image file was decoded before training. Files were compared by their content (SHA-256){compared}.",)
    ]
    if facts.audit:
        counts = [code for code, each in facts.audit.findings.items() if each.get("severity") in ("error", "warning")]
        parts.append(("An audit checked files, copies, labels, shortcuts and shifts.",))
        parts.extend(
            text("It warns: {what}", what=what) for code in counts if (what := facts.audit.what(code)) is not None
        )
    return joined(parts)


@each_member
def augmentation(facts: ReportFacts) -> Text | None:
    """Return how training images were changed at random."""
    config, run = facts.config, facts.run
    if config is None:
        return None
    if not config.backbone.is_network:
        return ("Training images were not augmented.",)
    values = config.augmentation
    changes: list[Text] = [
        (name.replace("_", " "),) for name in ("horizontal_flip", "vertical_flip") if getattr(values, name)
    ]
    if values.rotation:
        changes.append(text("rotation by up to {n} degrees", n=run.parameter("augmentation.rotation")))
    changes += [
        text("{name} by up to {n}", name=name, n=run.parameter(f"augmentation.{name}", percent=True))
        for name in ("shift", "zoom", "brightness", "contrast", "hue")
        if getattr(values, name)
    ]
    if not changes:
        return ("Training images were not augmented.",)
    sentence = text("Training images were changed at random: {changes}.", changes=listed_texts(changes))
    if config.features.name == "stored":
        n = run.parameter("features.views")
        sentence = joined([sentence, text("{n} versions of each image were stored and drawn from in training.", n=n)])
    mixes = [
        text("{name} (parameter {n})", name=name, n=run.parameter(f"hyperparameters.{name}"))
        for name in ("mixup", "cutmix")
        if getattr(config.hyperparameters, name)
    ]
    return joined([sentence, text("Also used: {mixes}.", mixes=listed_texts(mixes)) if mixes else None])


def model(facts: ReportFacts) -> Text | None:
    """Return the architecture, its input and its output."""
    config, run = facts.config, facts.run
    if facts.method:
        members = [
            text("Member {link}: {known}", link=member.run.link, known=known)
            for member in facts.of_members
            if (known := model(member))
        ]
        return joined([text("The model is an ensemble of {n} members.", n=_n_members(facts)), *members])
    if config is None:
        return None
    if config.backbone.is_network:
        size = run.parameter("backbone.input_size")
        taps = f" up to {listed(config.backbone.taps)}" if config.backbone.taps else ""
        body = text(
            "The model is the convolutional network {name}{taps}. Its input is an RGB image of {size} × {size} pixels.",
            name=config.backbone.name,
            taps=taps,
            size=size,
        )
        pooled = text("{pooling} of its last feature maps, and ", pooling=POOLING[config.head.pooling])
    else:
        body = text(
            "The model is a classifier on hand-made features: {features}.",
            features=FEATURE_SETS[config.backbone.name].description,
        )
        pooled = ()
    layers = (
        text(
            "hidden layers of {units} units and an output layer with softmax",
            units=run.parameter("head.hidden_units"),
        )
        if config.head.hidden_units
        else ("one linear layer with softmax",)
    )
    dropout = text(", with dropout {n}", n=run.parameter("head.dropout")) if config.head.dropout else None
    return joined(
        [
            body,
            text("The head is {pooled}{layers}{dropout}.", pooled=pooled, layers=layers, dropout=dropout or ()),
            text("The model has {n} parameters.", n=run.metric("cost/parameters", ",.0f"))
            if "cost/parameters" in run.metrics
            else None,
            output(facts),
        ]
    )


def output(facts: ReportFacts) -> Text | None:
    """Return what the model answers, and by which rule a class is chosen."""
    if not facts.classes:
        return None
    return text(
        "The output is a probability for each of {classes}; the predicted class is the most probable one. No other "
        "threshold was used for the reported metrics.",
        classes=facts.class_list,
    )


@each_member
def weights(facts: ReportFacts) -> Text | None:
    """Return the initial weights."""
    config, tags = facts.config, facts.run.tags
    if config is None:
        return None
    if not config.backbone.is_network:
        return ("There are no pretrained weights: the features are computed by a program.",)
    if tags.weights is None:
        return None
    if tags.weights == "none":
        return ("The network's weights were initialised at random.",)
    return text(
        "The network started from the weights {weights} (digest {digest}), trained before on other images.{head}",
        weights=facts.run.tag("weights", tags.weights),
        digest=facts.run.tag("weights_digest", tags.weights_digest),
        head=" The head was initialised at random." if config.head.solver == "gradient" else "",
    )


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


def partition(facts: ReportFacts) -> Text | None:
    """Return how images were assigned to training, validation and test."""
    config = _first_config(facts)
    run = facts.images_run if facts.method else facts.run
    if config is None:
        return None
    name = config.split.name
    rule = SPLIT.get(name, name).format(group=facts.group_name, groups=facts.groups)
    parts: list[Text | None] = [text("Validation: {rule}.", rule=rule)]
    if run.tags.fold is not None:
        parts.append(text("This run is fold {n}.", n=run.tag("fold", str(run.tags.fold))))
    if "split.fraction" in run.parameters:
        parts.append(text("The share was {n}.", n=run.parameter("split.fraction", percent=True)))
    if "split.folds" in run.parameters:
        parts.append(
            text(
                "Number of folds: {folds}; of repeats: {repeats}. Validation metrics are of out-of-fold predictions.",
                folds=run.parameter("split.folds"),
                repeats=run.parameter("split.repeats"),
            )
        )
    parts.append(test_origin(facts))
    return joined(parts)


def test_origin(facts: ReportFacts) -> Text | None:
    """Return where the test images are from."""
    config = _first_config(facts)
    if config is None or "test" not in facts.parts:
        return None
    match config.data:
        case BccdData():
            return ("The test images are those in the set's own folder TEST.",)
        case SmearsData():
            return ("The test images are other rendered smears of the same program.",)
        case FolderData(test_dir=None) | TableData():
            given = isinstance(config.data, TableData) and not facts.run.parameters.get("data.test_fraction")
            return None if given else (f"Test images were held out, whole {facts.groups}, from the same collection.",)
        case FolderData():
            several = f"{len(facts.test_sets)} folders" if facts.test_sets else "a folder"
            return (f"The test images are in {several} of their own.",)
    return None


def external(facts: ReportFacts) -> Text | None:
    """Return whether images from elsewhere were used; None if the run cannot know."""
    config = _first_config(facts)
    if config is None:
        return None
    match config.data:
        case FolderData(test_dir=folder) if folder is not None:
            return None
        case TableData():
            return None
    return ("No external data were used: all images are of one collection.",)


def disjoint(facts: ReportFacts) -> Text | None:
    """Return at which level the splits are disjoint, and which copies they share; None if that is unknown."""
    return None if facts.run.tags.leaky in (None, "unknown") else disjointness(facts)


def disjointness(facts: ReportFacts) -> Text | None:
    """Return at which level the splits are disjoint, which copies they share, or that this is unknown."""
    tags = facts.run.tags
    if tags.leaky is None or tags.groups is None:
        return None
    known = ", and ".join(GROUPS.get(each, each) for each in tags.groups.split(", "))
    where = text("Origin of the {groups}: {known}.", groups=facts.groups, known=known)
    match tags.leaky:
        case "false":
            nouns = dict.fromkeys((facts.group_name, PHOTOGRAPH, "file"))
            where_from = "In every fold, training" if facts.folds else "Training"
            found: Text = (
                f"{where_from}, validation and test share {listed([f'no {noun}' for noun in nouns])}: they are "
                f"disjoint by {facts.group_name}.",
            )
        case "true":
            found = _shared(facts)
        case _:
            found = ("Whether copies of one photograph are in several splits is unknown.",)
    left = text(
        "{n} images with a copy in another split were left out.",
        n=facts.images_run.parameter("images.left_out"),
    )
    return joined([where, found, left if facts.images_run.parameters.get("images.left_out", "0") != "0" else None])


def _shared(facts: ReportFacts) -> Text:
    shared = facts.leakage.shared if facts.leakage else []
    if not shared:
        return ("The splits are not disjoint: copies of one photograph can be on both sides.",)
    parts = [
        text(
            "{n} of {total} {second} images have a copy, or images of their {noun}, in {first}",
            n=facts.run.artifact("manifest.parquet", each.images[1], shared=list(each.splits), noun=each.noun),
            total=facts.run.artifact("manifest.parquet", each.totals[1], count="path", where={"split": each.splits[1]}),
            first=PARTS[each.splits[0]],
            second=PARTS[each.splits[1]],
            noun=each.noun,
        )
        for each in shared
    ]
    return text("The splits are not disjoint: {parts}. Metrics may be inflated.", parts=joined(parts, "; "))


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


def ensembling(facts: ReportFacts) -> Text | None:
    """Return how models are combined."""
    if facts.method:
        return text(
            "The members' probabilities are combined: {method}.", method=METHODS.get(facts.method, facts.method)
        )
    if facts.config is None:
        return None
    config = facts.config
    if config.views_at_test != "none":
        return (f"No ensemble; the probabilities of several views of an image ({config.views_at_test}) were averaged.",)
    if isinstance(config.split, CrossValidation) and facts.folds:
        test = (
            "On test, one model that was trained on all training images was evaluated."
            if config.split.refit
            else "On test, the folds' probabilities were averaged."
        )
        return (f"On validation, each image has the prediction of the fold's model that was not trained on it. {test}",)
    return ("No ensemble was used: the predictions are of one model.",)


def measures(facts: ReportFacts) -> Text | None:
    """Return the metrics and their definitions."""
    if not facts.splits:
        return None
    return (
        "Metrics: accuracy by image and by photograph (from the mean probabilities of a photograph's images); balanced "
        "accuracy (mean sensitivity of the classes); macro F1; the area under the ROC curve, one class against the "
        "rest (mean of the classes); log loss; Brier score; Cohen's kappa; sensitivity and precision of each class; "
        "the confusion matrix; and the expected calibration error. The baseline always predicts the majority class of "
        "training.",
    )


def uncertainty(facts: ReportFacts) -> Text | None:
    """Return how intervals were computed."""
    if not any(f"{split}/accuracy_low" in facts.run.metrics for split in facts.splits):
        return None
    return (
        f"Intervals are 95 % confidence intervals of accuracy. They count {facts.groups}, not images: Jeffreys' "
        f"interval at the effective sample size, from the correlation of errors within {facts.groups} (Korn and "
        "Graubard, Survey Methodology 1998; Fleiss and Cuzick, Applied Psychological Measurement 1979). No "
        "significance test was made in this run.",
    )


def clusters(facts: ReportFacts) -> Text | None:
    """Return how images that are not independent were handled."""
    if facts.run.tags.groups in (None, "none"):
        return None
    name = facts.group_name
    whole = "They are in one split. " if facts.run.tags.leaky == "false" else ""
    return (
        f"Images of one {name} are a cluster. {whole}Intervals allow for the correlation within {facts.groups}. "
        "Centres, devices and stains are not known to the run.",
    )


def calibration_method(facts: ReportFacts) -> Text | None:
    """Return how probabilities were calibrated."""
    name = "calibrated/val/temperature"
    if name not in facts.run.metrics:
        return None
    return text(
        "Probabilities were calibrated by temperature scaling (Guo et al., ICML 2017) with the temperature {n}, fitted "
        "to validation with equal weight for each {group}. Calibrated metrics of validation are of temperatures fitted "
        "to other {groups}.",
        n=facts.run.metric(name),
        group=facts.group_name,
        groups=facts.groups,
    )


def explained(facts: ReportFacts) -> Text | None:
    """Return how predictions were explained."""
    run = facts.run
    if "explain/peak_on_cell" in run.metrics:
        return text(
            "Heat maps of the predicted class were computed for {n} validation photographs. Their maximum is on the "
            "white cell in {peak} of them; a random point would be in {area}.",
            n=run.metric("explain/photographs", ",.0f"),
            peak=run.metric("explain/peak_on_cell", ".0%"),
            area=run.metric("explain/cell_area", ".0%"),
        )
    if facts.config is None:
        return None
    return ("No method of explanation was applied.",)


def versions(facts: ReportFacts) -> Text | None:
    """Return the versions of software, and the machine."""
    tags = facts.run.tags
    if not tags.versions:
        return None
    named = [
        text("{name} {version}", name=name, version=facts.run.tag(tags.version_tag(name), version))
        for name, version in sorted(tags.versions.items())
    ]
    dirty = {True: ", with uncommitted changes", False: ", without uncommitted changes", None: ""}[tags.git_dirty]
    commit = facts.run.tag("git_commit", tags.git_commit) if tags.git_commit else None
    return joined(
        [
            text("Software: {named}.", named=listed_texts(named)),
            text("The code is at commit {commit}{dirty}.", commit=commit, dirty=dirty) if commit else None,
        ]
    )


def details(facts: ReportFacts) -> Text | None:
    """Return where every setting is."""
    if not facts.run.parameters:
        return None
    return text(
        "Every setting, the list of images with their split, and every prediction are kept with the MLflow run {link} "
        "({id}).",
        link=facts.run.link,
        id=facts.run.id,
    )


def availability(facts: ReportFacts) -> Text | None:
    """Return where the software and the model are."""
    version = facts.run.tags.versions.get("bloodcell")
    if version is None:
        return None
    return joined(
        [
            text(
                "The analysis was made with the software bloodcell {version} (MIT licence).",
                version=facts.run.tag(facts.run.tags.version_tag("bloodcell"), version),
            ),
            text("The trained model is kept with the run as {models}.", models=listed(facts.models))
            if facts.models
            else ("The trained model was not kept.",),
        ]
    )


def specification(facts: ReportFacts) -> Text | None:
    """Return how others can apply the model."""
    if not facts.models:
        return None
    return text(
        "The full model, with its preprocessing and calibration, is kept with the run as {models}; “bloodcell predict "
        "run={id}” and MLflow apply it to new images.",
        models=listed(facts.models),
        id=facts.run.id,
    )


def poor_input(facts: ReportFacts) -> Text | None:
    """Return how the model answers images that it cannot judge."""
    if not facts.models:
        return None
    return (
        "The saved model gives no class for a file that cannot be read, and marks an image unlike the training images "
        "by its distance from them.",
    )


def _first_config(facts: ReportFacts) -> TrainConfig | None:
    """Return the configuration of the run, or of an ensemble's first member: all have the same images and split."""
    return facts.trainings[0].config if facts.trainings else None


def _n_members(facts: ReportFacts) -> Span:
    return facts.run.count_of_runs("members", len(facts.trainings))


def _name(place: str) -> str:
    """Return the last part of a path, without the folders of the machine."""
    return place.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or place


def abstract_methods(facts: ReportFacts) -> Text | None:
    """Return the methods in the sentences of an abstract."""
    return joined([goal(facts), text("Method: {method}.", method=method) if (method := technology(facts)) else None])
