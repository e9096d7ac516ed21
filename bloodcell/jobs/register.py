"""Put a run's model into MLflow's registry, under an alias, with its evidence.

For example:

  bloodcell register run=ID
  bloodcell register run=ID name=smears alias=candidate

It is then asked with `bloodcell predict model=models:/bloodcell@best`, and served with `mlflow models serve`.
"""

from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from rich.console import Console

from bloodcell.config import RegisterConfig
from bloodcell.tracking.kept import existing_store, finished_run, model_of, register, require_answering

EVIDENCE = ("accuracy", "photograph_accuracy")
TAGS = ("leaky", "groups", "data_digest", "weights", "weights_digest", "git_commit")
"""Of the run, which the version takes over."""


def run(config: RegisterConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Register the model of a run.

    Raises
    ------
    UserError
        If the run cannot be used, or MLflow refuses the name or the alias.
    """
    store = existing_store(config.tracking)
    kept = finished_run(config.run, store, setting="run")
    address = model_of(kept, setting="run")
    require_answering(address, setting=f"run={config.run}")
    metrics, tags = kept.data.metrics, kept.data.tags
    lines = [f"Of the run {tags.get(MLFLOW_RUN_NAME, '')} ({kept.info.run_id}).", *_evidence(metrics), *_cautions(kept)]
    version = register(
        address,
        name=config.name,
        alias=config.alias,
        description="\n".join(f"- {line}" for line in lines),
        tags={name: tags[name] for name in TAGS if name in tags}
        | {
            f"{split}_{name}": f"{metrics[f'{split}/{name}']:.4f}"
            for split in ("val", "test")
            for name in EVIDENCE
            if f"{split}/{name}" in metrics
        },
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{config.name}, version {version}, is now models:/{config.name}@{config.alias} in {store.label}", markup=False
    )
    for line in lines[1:]:
        console.print(line, markup=False)
    console.print(
        f"Ask it      bloodcell predict model=models:/{config.name}@{config.alias} images=FOLDER", markup=False
    )


def _evidence(metrics: Mapping[str, float]) -> list[str]:
    lines = []
    for split, name in (("val", "validation"), ("test", "test")):
        if f"{split}/accuracy" not in metrics:
            lines.append(f"{name}: not measured")
            continue
        by_image, by_photograph = (_figure(metrics, f"{split}/{figure}") for figure in EVIDENCE)
        photographs = metrics[f"{split}/photographs"]
        majority = metrics.get(f"baseline/{split}/accuracy", float("nan"))
        lines.append(
            f"{name}: accuracy {by_image} by image, {by_photograph} by photograph ({photographs:.0f} photographs); "
            f"the majority class {majority:.3f} by image"
        )
    return lines


def _figure(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.3f} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f})"


def _cautions(kept: Run) -> list[str]:
    match kept.data.tags.get("leaky"):
        case "true":
            return ["Careful: its split leaks, so that its figures may say too much."]
        case "unknown":
            return ["Careful: groups were not looked for, so that nobody knows if its split leaks."]
        case _:
            return []
