"""Screen frozen features: the accuracy of linear heads on them, without a training.

Of one or several backbones, each pooling and 50 strengths of regularisation, every photograph predicted without itself:

  bloodcell screen data=bccd data.root=~/blood-cells
  bloodcell screen data=bccd data.root=~/blood-cells backbone=xception other_backbones=[mobilenetv2,morphology]
  bloodcell screen data=bccd data.root=~/blood-cells method=lda influence=false

It also shows whether the features know more than chance, and which photographs are predicted wrongly or change the
accuracy most. Only training images are used. The best of many is optimistic: train it, and compare.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.config.keywords import train_config
from bloodcell.config.schemas import ScreenConfig
from bloodcell.config.training import TrainConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.progress import phase
from bloodcell.errors import UserError
from bloodcell.evaluation.multiple_testing import holm
from bloodcell.experiment.images import grouped_images, with_test
from bloodcell.experiment.screening import (
    Images,
    Screened,
    features_of,
    influence,
    majority,
    permutation_p_value,
    prepare,
    screen,
)
from bloodcell.files import atomic_write, require_output_folder
from bloodcell.plots.drawing import save_figure
from bloodcell.plots.screening import accuracy_by_strength
from bloodcell.training.closed_form import ClosedForm
from bloodcell.wording import counted, plural

N_LISTED = 8
"""Groups in each of the two tables of influence."""


def run(config: ScreenConfig, *, output_dir: Path) -> None:
    """Screen the features, write the table and the picture, and print the results.

    Raises
    ------
    UserError
        If the images, a backbone or the folder cannot be used.
    """
    output = output_dir / "artifacts" if config.output is None else Path(config.output).expanduser()
    require_output_folder(output)
    settings = _configurations(config)
    found = with_test(grouped_images(config.data), config.data)
    images, noun = Images.of(found), config.data.group_noun
    screened: list[Screened] = []
    best: tuple[Screened, ClosedForm] | None = None
    for each in settings:
        for pooling, rows in features_of(each, found, poolings=config.poolings).items():
            name = f"{each.backbone.name} {pooling}".strip()
            with phase(f"leaving out every {noun}: {name}"):
                prepared = prepare(rows, images, method=config.method)
                result = screen(prepared, images, backbone=each.backbone.name, pooling=pooling)
            if config.permutations:
                p_value = permutation_p_value(rows, images, n=config.permutations, seed=config.seed)
                result = replace(result, p_value=p_value)
            screened.append(result)
            if best is None or result.row["log_loss"] < best[0].row["log_loss"]:
                best = result, prepared
    assert best is not None  # there is at least one backbone and one pooling
    groups = influence(best[1], images, best[0]) if config.influence and config.method == "ridge" else None
    screened.sort(key=lambda each: each.row["log_loss"])
    baseline = majority(images)
    _write(screened, groups, output, baseline=baseline["accuracy"], noun=noun)
    _show(screened, groups, images, config, baseline=baseline)
    Console(highlight=False, soft_wrap=True).print(f"Written to  {output}", markup=False)
    set_json_result(
        folder=output.absolute(),
        picture=(output / "plots" / "accuracy_by_strength.png").absolute(),
        method=config.method,
        images=len(images.table),
        photographs=images.table["source"].nunique(),
        groups=images.table["group"].nunique(),
        majority_class=baseline,
        features=[
            {"backbone": each.backbone, "pooling": each.pooling, "width": each.width, "p_value": each.p_value}
            | {"p_adjusted": adjusted, "best": each.row, "curve": each.curve.to_dict("records")}
            for each, adjusted in zip(screened, _adjusted(screened), strict=True)
        ],
        influence=None if groups is None else groups.to_dict("records"),
    )


def _configurations(config: ScreenConfig) -> list[TrainConfig]:
    """Return a training's configuration for each backbone, with all poolings."""
    shared: dict[str, Any] = {
        "data": config.data,
        "crop": config.crop,
        "features": config.features,
        "head": {"pooling": "both", "dropout": 0.0},
        "finetune": "none",
        "augmentation": "none",
    }
    backbones = [config.backbone]
    for name in config.other_backbones:
        try:
            backbones.append(train_config(backbone=name).backbone)
        except UserError as error:
            raise UserError(f"other_backbones: {error}") from error
    if twice := [each.name for number, each in enumerate(backbones) if each in backbones[:number]]:
        raise UserError(f"other_backbones: {twice[0]} is given twice; give every backbone once")
    return [train_config(backbone=each, **shared) for each in backbones]


def _adjusted(screened: Sequence[Screened]) -> list[float | None]:
    """Return p-values corrected for the number of sets of features (Holm)."""
    known = [each.p_value for each in screened if each.p_value is not None]
    if len(known) < len(screened):
        return [None] * len(screened)
    return [float(each) for each in holm(pd.Series(known).to_numpy(), n_tests=len(known))]


def _write(
    screened: Sequence[Screened], groups: pd.DataFrame | None, output: Path, *, baseline: float, noun: str
) -> None:
    curves = [each.curve.assign(backbone=each.backbone, pooling=each.pooling) for each in screened]
    tables = {"accuracy_by_strength.csv": pd.concat(curves, ignore_index=True)}
    if groups is not None:
        tables["influence.csv"] = groups
    for name, table in tables.items():
        with atomic_write(output / name) as partial:
            table.to_csv(partial, index=False)
    figure = accuracy_by_strength(
        {each.name: each.curve for each in screened},
        {each.name: each.best for each in screened},
        majority=baseline,
        group=noun,
    )
    save_figure(figure, output, "accuracy_by_strength")


def _show(
    screened: Sequence[Screened],
    groups: pd.DataFrame | None,
    images: Images,
    config: ScreenConfig,
    *,
    baseline: dict[str, float],
) -> None:
    console, noun = Console(highlight=False, soft_wrap=True), config.data.group_noun
    size = f"{len(images.table):,} images of {counted(images.table['group'].nunique(), noun)}"
    title = f"Accuracy of {config.method} without each image's {noun}, %: {size}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("features")
    for heading in ("strength", "by image", "by photograph", "p"):
        table.add_column(heading, justify="right")
    for each, p in zip(screened, _adjusted(screened), strict=True):
        accuracies = [_with_interval(each.row, name) for name in ("accuracy", "photograph_accuracy")]
        table.add_row(escape(each.name), f"{each.row['l2']:.3g}", *accuracies, "–" if p is None else f"{p:.3f}")
    table.add_section()
    ends = (_with_interval(baseline, name) for name in ("accuracy", "photograph_accuracy"))
    table.add_row("majority class", "–", *ends, "–")
    console.print(table)
    console.print(
        "Brackets are 95 % intervals. The strength is that of the least log loss; the best of several is optimistic.",
        markup=False,
    )
    if config.permutations:
        what = f"labels of whole {plural(noun)}, {counted(config.permutations, 'permutation')}, corrected for the rows"
        missing = "" if screened[0].p_value is not None else f" (no p: a {noun} has several classes)"
        console.print(f"p: permuted {what}{missing}.", markup=False)
    if groups is not None:
        _show_influence(console, groups, noun=noun, name=screened[0].name)


def _with_interval(row: dict[str, float], name: str) -> str:
    value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} ({low:.0f} to {high:.0f})" if math.isfinite(low) else f"{value:.1f}"


def _show_influence(console: Console, groups: pd.DataFrame, *, noun: str, name: str) -> None:
    wrong = groups[groups["label"] != groups["predicted"]].sort_values("label_probability", kind="stable")
    table = Table(title=escape(f"Most confidently wrong, {name}"), title_justify="left")
    for heading in (noun, "label", "predicted", "probability", "images"):
        table.add_column(escape(heading), justify="right" if heading in ("probability", "images") else "left")
    for row in wrong.head(N_LISTED).to_dict("records"):
        texts = (row["group"], row["label"], row["predicted"], f"{row['probability']:.2f}", str(row["images"]))
        table.add_row(*(escape(str(text)) for text in texts))
    console.print(table)
    known = groups[groups["effect"].notna()]
    known = known.reindex(known["effect"].abs().sort_values(ascending=False, kind="stable").index)
    table = Table(title=escape(f"Accuracy on the others without a {noun}, {name}"), title_justify="left")
    for heading in (noun, "label", "predicted", "change, points", "images"):
        table.add_column(escape(heading), justify="right" if heading in ("change, points", "images") else "left")
    for row in known.head(N_LISTED).to_dict("records"):
        texts = (row["group"], row["label"], row["predicted"], f"{100 * row['effect']:+.2f}", str(row["images"]))
        table.add_row(*(escape(str(text)) for text in texts))
    console.print(table)
