"""What a card says of how a model was made, from the settings of its training."""

from collections.abc import Mapping
from dataclasses import dataclass

from bloodcell.cards.model_card_metrics import listed

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
    parameters, tags
        As they were kept by their dotted names; empty where they are not known.
    weight
        What it counts in an ensemble; None: it is none, or that was not kept.
    stops_by_validation
        Whether validation chose its epochs.
    """

    name: str
    run_id: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    weight: float | None = None
    stops_by_validation: bool


def made_of(training: Training) -> list[tuple[str, str]]:
    """Return facts on what a training made, each with its name."""
    parameters = training.parameters
    if "backbone.name" not in parameters:
        return [("What it is", f"settings {NOT_KEPT}")]
    name, size = parameters["backbone.name"], parameters.get("backbone.input_size", "?")
    extra = parameters.get("head.extra_features", parameters.get("head.beside"))  # what it was called before
    beside = [MEASURED.get(each, each) for each in _entries(extra)]
    if name in MEASURED:
        facts = [("What it is", "a classifier without a network"), ("Looks at", MEASURED[name])]
    else:
        crop = {"none": "the whole image", "nucleus": "a square around the nucleus"}
        named = parameters.get("crop.name", NOT_KEPT)
        looks_at = crop.get(named, f"crop {named}")
        taps = _entries(parameters.get("backbone.taps"))
        facts = [
            ("What it is", f"{name}, a convolutional network{f', up to {listed(taps)}' if taps else ''}, and a head"),
            ("Weights that it started from", weights_of(training)),
            ("Looks at", f"{looks_at}, at {size} × {size} pixels"),
        ]
    if beside:
        facts.append(("And beside it", "; ".join(beside)))
    return [*facts, ("Head", _head(parameters, network=name not in MEASURED)), ("Trained", _trained(parameters))]


def made_in_short(training: Training) -> str:
    """Return in a phrase what a training made."""
    facts = dict(made_of(training))
    chosen = (facts.get(key) for key in ("What it is", "Looks at", "And beside it"))
    return "; ".join(each for each in chosen if each)


def weights_of(training: Training) -> str:
    """Return what the weights before training are called, and their digest."""
    weights, digest = (training.tags.get(name, NOT_KEPT) for name in ("weights", "weights_digest"))
    return weights if weights in ("none", NOT_KEPT) else f"{weights}, digest {digest}"


def _head(parameters: Mapping[str, str], *, network: bool) -> str:
    hidden = _entries(parameters.get("head.hidden_units"))
    layers = f"{len(hidden)} hidden ({', '.join(hidden)} units) and the last" if hidden else "linear"
    pooled = [POOLING.get(parameters.get("head.pooling", ""), "")] if network else []
    standardised = ["standardised features"] if parameters.get("head.standardise") == "True" else []
    return "; ".join([layers, *filter(None, pooled), *standardised])


def _trained(parameters: Mapping[str, str]) -> str:
    solved = parameters.get("head.solver") == "lbfgs"
    head = f"the head, solved (L2 {parameters.get('head.l2', '?')})" if solved else "the head, in epochs"
    if parameters.get("backbone.name") in MEASURED:
        return head
    match parameters.get("finetune.name"):
        case "none":
            return f"{head}; the network stays as it came"
        case "top" if solved:
            return f"{head}; the network stays as it came"
        case "top":
            return f"{head}; then the network's top block"
        case "gradual":
            return f"{head}; then the top {parameters.get('finetune.blocks', '?')} blocks, one after the other"
        case "staged":
            return "; then ".join([head, *_stages(parameters)])
        case _:
            return f"{head}; tuning {NOT_KEPT}"


def _stages(parameters: Mapping[str, str]) -> list[str]:
    said: list[str] = []
    while f"finetune.stages.{len(said)}.epochs" in parameters:
        stage = {
            name: parameters.get(f"finetune.stages.{len(said)}.{name}", "None")
            for name in ("layer", "block", "fraction", "learning_rate")
        }
        start = next((stage[name] for name in ("layer", "block") if stage[name] != "None"), None)
        start = start or f"the top {stage['fraction']} of layers"
        said.append(f"the network from {start} on, at a learning rate of {stage['learning_rate']}")
    return said


def _entries(value: str | None) -> list[str]:
    """Return the entries of a list of plain values that was kept as text."""
    return [entry.strip().strip("'\"") for entry in (value or "").strip("[]()").split(",") if entry.strip()]
