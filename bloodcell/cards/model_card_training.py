"""What a card says of how a model was made, from the settings of its training."""

from dataclasses import dataclass, field

from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.finetune import GradualPlan, StageConfig, StagedPlan, TopPlan
from bloodcell.config.model import HeadConfig
from bloodcell.config.training import TrainConfig
from bloodcell.wording import listed

NOT_KEPT = "not kept"
MEASURED = {
    "majority": "nothing of the image: how frequent the classes are in training",
    "colour_histogram": "the colours of the square around the nucleus, measured",
    "morphology": "nucleus and cytoplasm, measured",
}
"""What takes a network's place, or stands beside it."""
POOLING = {
    "average": "averages over the image",
    "max": "maxima over the image",
    "both": "averages and maxima over the image",
    "cell": "averages over the nucleus and over what is around it",
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of the model, or of a member of it.

    Attributes
    ----------
    name, run_id
        Of its run.
    config
        Its settings; None: not kept, or of a version of bloodcell with other settings.
    tags
        Facts about its run.
    weight
        Its weight in an ensemble; None: it is of none, or the weight was not kept.
    n_unreadable, n_left_out
        How many images could not be read, and how many had a copy on another side.
    """

    name: str
    run_id: str
    config: TrainConfig | None
    tags: RunTags = field(default_factory=RunTags)
    weight: float | None = None
    n_unreadable: int = 0
    n_left_out: int = 0


def made_of(training: Training) -> list[tuple[str, str]]:
    """Return facts about the model of a training, each with its name."""
    config = training.config
    if config is None:
        return [("What it is", f"settings {NOT_KEPT}")]
    name = config.backbone.name
    extra = [MEASURED[each] for each in config.head.extra_features]
    if name in MEASURED:
        facts = [("What it is", "a classifier without a network"), ("Looks at", MEASURED[name])]
    else:
        crop = {"none": "the whole image", "nucleus": "a square around the nucleus"}
        looks_at = crop.get(config.crop.name, f"crop {config.crop.name}")
        up_to = f", up to {listed(config.backbone.taps)}" if config.backbone.taps else ""
        size = config.backbone.input_size
        facts = [
            ("What it is", f"{name}, a convolutional network{up_to}, and a head"),
            ("Weights that it started from", weights_of(training)),
            ("Looks at", f"{looks_at}, at {size} × {size} pixels"),
        ]
    if extra:
        facts.append(("And beside it", "; ".join(extra)))
    return [*facts, ("Head", _head(config.head, network=name not in MEASURED)), ("Trained", _trained(config))]


def made_in_short(training: Training) -> str:
    """Return the facts about the model of a training in one phrase."""
    facts = dict(made_of(training))
    chosen = (facts.get(key) for key in ("What it is", "Looks at", "And beside it"))
    return "; ".join(each for each in chosen if each)


def weights_of(training: Training) -> str:
    """Return the name of the weights before training, and their digest."""
    weights, digest = training.tags.weights or NOT_KEPT, training.tags.weights_digest or NOT_KEPT
    return weights if weights in ("none", NOT_KEPT) else f"{weights}, digest {digest}"


def _head(head: HeadConfig, *, network: bool) -> str:
    hidden = ", ".join(map(str, head.hidden_units))
    layers = f"{len(head.hidden_units)} hidden ({hidden} units) and the last" if hidden else "linear"
    pooled = [POOLING[head.pooling]] if network else []
    standardised = ["standardised features"] if head.standardise else []
    return "; ".join([layers, *pooled, *standardised])


def _trained(config: TrainConfig) -> str:
    head = f"the head, solved (L2 {config.head.l2})" if config.head.solver == "lbfgs" else "the head, in epochs"
    if config.backbone.name in MEASURED:
        return head
    if config.stays_frozen:
        return f"{head}; the network stays as it came"
    match config.finetune:
        case TopPlan():
            return f"{head}; then the network's top block"
        case GradualPlan():
            return f"{head}; then the top {config.finetune.blocks} blocks, one after the other"
        case StagedPlan():
            return "; then ".join([head, *map(_stage, config.finetune.stages)])
    return head


def _stage(stage: StageConfig) -> str:
    start = stage.layer or stage.block or f"the top {stage.fraction} of layers"
    return f"the network from {start} on, at a learning rate of {stage.learning_rate}"
