"""The section of a model card on training, from its settings."""

from dataclasses import dataclass, field

from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.finetune import GradualPlan, StageConfig, StagedPlan, TopPlan
from bloodcell.config.model import HeadConfig
from bloodcell.config.training import TrainConfig
from bloodcell.models.feature_sets import FEATURE_SETS
from bloodcell.wording import counted, listed

UNKNOWN = "unknown"
POOLING = {
    "average": "averages over the image",
    "max": "maxima over the image",
    "both": "averages and maxima over the image",
    "cell": "averages over the nucleus and its surroundings",
}

SOLVERS = {"lbfgs": "L-BFGS", "ridge": "ridge regression", "lda": "linear discriminant analysis"}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of the model, or of a member of it.

    Attributes
    ----------
    config
        Its settings; None: not logged, or of a version of bloodcell with other settings.
    weight
        Its weight in an ensemble; None: no ensemble, or unknown.
    n_unreadable, n_excluded, n_left_out
        The numbers of unreadable images, of those that the user excluded, and of those with a copy in another split.
    """

    name: str
    run_id: str
    config: TrainConfig | None
    tags: RunTags = field(default_factory=RunTags)
    weight: float | None = None
    n_unreadable: int = 0
    n_excluded: int = 0
    n_left_out: int = 0


def training_facts(training: Training) -> list[tuple[str, str]]:
    """Return the facts on a trained model, each with its name."""
    config = training.config
    if config is None:
        return [("Model", UNKNOWN)]
    name = config.backbone.name
    extra = [FEATURE_SETS[each].description for each in config.head.extra_features]
    if not config.backbone.is_network:
        facts = [("Model", "a non-neural classifier"), ("Features", FEATURE_SETS[name].description)]
    else:
        crop = {"none": "the whole image", "nucleus": "a square around the nucleus"}
        region = crop.get(config.crop.name, f"crop {config.crop.name}")
        up_to = f", up to {listed(config.backbone.taps)}" if config.backbone.taps else ""
        size = config.backbone.input_size
        facts = [
            ("Model", f"{name}, a convolutional network{up_to}, and a head"),
            ("Initial weights", weights_of(training)),
            ("Image region", f"{region}, at {size} × {size} pixels"),
        ]
    if extra:
        facts.append(("Extra features", "; ".join(extra)))
    return [*facts, ("Head", _head(config.head, network=config.backbone.is_network)), ("Training", _trained(config))]


def training_summary(training: Training) -> str:
    """Return the facts on a trained model in a phrase."""
    facts = dict(training_facts(training))
    chosen = (facts.get(key) for key in ("Model", "Features", "Image region", "Extra features"))
    return "; ".join(each for each in chosen if each)


def weights_of(training: Training) -> str:
    """Return the name and digest of the initial weights."""
    weights, digest = training.tags.weights or UNKNOWN, training.tags.weights_digest or UNKNOWN
    return weights if weights in ("none", UNKNOWN) else f"{weights}, digest {digest}"


def _head(head: HeadConfig, *, network: bool) -> str:
    hidden = ", ".join(map(str, head.hidden_units))
    layers = (
        f"{counted(len(head.hidden_units), 'hidden layer')} ({hidden} units) and the output layer"
        if hidden
        else "linear"
    )
    pooled = [POOLING[head.pooling]] if network else []
    standardised = ["standardised features"] if head.standardise else []
    projected = [f"{head.projection} principal components"] if head.projection is not None else []
    return "; ".join([layers, *pooled, *standardised, *projected])


def _trained(config: TrainConfig) -> str:
    solver = f"{SOLVERS[config.head.solver]} (L2 {config.head.l2})" if config.head.is_solved else "gradient descent"
    head = f"the head by {solver}"
    if not config.backbone.is_network:
        return head
    if config.stays_frozen:
        return f"{head}; the network is frozen"
    match config.finetune:
        case TopPlan():
            return f"{head}; then the top block"
        case GradualPlan():
            return f"{head}; then the top {config.finetune.blocks} blocks, one after another"
        case StagedPlan():
            return "; then ".join([head, *map(_stage, config.finetune.stages)])
    return head


def _stage(stage: StageConfig) -> str:
    start = stage.layer or stage.block or f"the top {stage.fraction} of layers"
    return f"the network from {start} on with learning rate {stage.learning_rate}"
