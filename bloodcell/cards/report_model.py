"""Sentences of a report on the model: what it gets, what it is, and what it gives."""

from bloodcell.cards.document import Text, joined, listed_texts, text
from bloodcell.cards.model_card import METHODS
from bloodcell.cards.model_card_training import POOLING
from bloodcell.cards.report_facts import ReportFacts
from bloodcell.cards.report_members import each_member
from bloodcell.config.split import CrossValidation
from bloodcell.config.training import DebugConfig, TrainConfig
from bloodcell.models.feature_sets import FEATURE_SETS
from bloodcell.wording import listed

CROPS = {"none": "the whole image", "nucleus": "a square around the nucleus, found in the image's colours"}


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
        return joined([text("The model is an ensemble of {n} members.", n=facts.n_members), *members])
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
