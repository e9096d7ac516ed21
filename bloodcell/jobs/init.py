"""Write the configuration for a folder of images.

The folder has one folder per class; or train, test and optionally val, with one folder per class in each:

  bloodcell init path/to/images
  bloodcell init path/to/images output=conf/data/smears2024.yaml

It checks the images, reports what it finds, and writes only this file. To use it: `bloodcell train -cd conf data=mine`.
An existing file is replaced only with overwrite=true.
"""

from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.audit.folder import Inspection, facts_of, inspect_folder
from bloodcell.config.conf_files import conf_dir
from bloodcell.config.data import FolderData
from bloodcell.config.data_file import data_file
from bloodcell.config.quoting import for_shell, override
from bloodcell.config.schemas import InitConfig
from bloodcell.config.split import GivenSplit, GroupHoldoutSplit
from bloodcell.config.training import TrainConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.loading import Policy, with_classes
from bloodcell.errors import UserError
from bloodcell.experiment.images import split_images, with_test
from bloodcell.files import atomic_write, require_output_file
from bloodcell.wording import plural

REMEDIES: tuple[tuple[str, Any], ...] = (("rare_classes", "train_only"), ("on_shared_groups", "drop"))
"""Settings with which training accepts what it refuses otherwise."""


def run(config: InitConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - all that is written is the configuration
    """Inspect the folder, write the configuration and print both.

    Raises
    ------
    UserError
        If the folder cannot be used, or the file exists or cannot be written.
    """
    output = Path(config.output).expanduser()
    _require_new(output, overwrite=config.overwrite)
    inspection = inspect_folder(Path(config.folder).expanduser(), n_images=config.max_images, levels=config.folders)
    images, facts = inspection.images, list(facts_of(inspection))
    use = ["-cd", str(output.parent.parent), override("data", output.stem)]
    usage, more, refusal = for_shell(use), *_needed(inspection)
    if refusal:
        facts.append(f"Warning: training refuses these images{' without settings' if more else ''}: {refusal}")
    training = for_shell([*use, *more])
    text = data_file(
        inspection.layout,
        facts=facts,
        groups=inspection.groups,
        n_unreadable=len(images.unreadable),
        usage=f"bloodcell train {training}",
    )
    with atomic_write(output) as partial:
        partial.write_text(text, encoding="utf-8")
    set_json_result(
        output=output,
        classes=images.classes,
        images=images.manifest.groupby("split").size().to_dict(),
        photographs=images.manifest["group"].nunique() if inspection.complete else None,
        groups=inspection.groups.source,
        unreadable=len(images.unreadable),
        too_little_texture=inspection.n_untextured,
        facts=facts,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(inspection))
    for line in facts:
        console.print(line, markup=False)
    console.print(f"Written to  {output}", markup=False)
    console.print(f"Check       bloodcell audit {usage}", markup=False)
    if more or not refusal:
        console.print(f"Train       bloodcell train {training}", markup=False)


def _needed(inspection: Inspection) -> tuple[list[str], str]:
    """Return the settings that training needs besides the written file, and why it refuses the images without.

    If there is a reason and there are no settings, it refuses them in any case.
    """
    given = ["split=given"] if "fold" in inspection.images.manifest else []
    why = ""
    for more in chain.from_iterable(combinations(REMEDIES, size) for size in range(len(REMEDIES) + 1)):
        data = replace(FolderData(train_dir=str(inspection.layout.top)), **dict(more))
        config = TrainConfig(data=data, split=GivenSplit() if given else GroupHoldoutSplit())
        try:
            images = inspection.images
            with_classes(
                images.manifest,
                places=dict.fromkeys(inspection.layout.splits, f"folder={inspection.layout.top}"),
                policy=Policy(rare_classes=data.rare_classes),
            )
            split_images(with_test(images, data), config)
        except UserError as error:
            why = why or str(error)
            continue
        return [*(override(f"data.{name}", value) for name, value in more), *given], why
    return [], why


def _require_new(output: Path, *, overwrite: bool) -> None:
    if (conf_dir() / "data" / output.name).is_file() and output.resolve().parent != conf_dir() / "data":
        raise UserError(f"output={output}: data={output.stem} is one of bloodcell's own choices; use another name")
    if output.is_file() and not overwrite:
        raise UserError(f"output={output}: exists; give another file, or set overwrite=true")
    require_output_file(output)


def _table(inspection: Inspection) -> Table:
    table = Table()
    photographs = [plural(inspection.groups.noun)] if inspection.complete else []
    for heading in ("split", "class", "images", *photographs):
        table.add_column(heading, justify="left" if heading in ("split", "class") else "right")
    manifest = inspection.images.manifest
    for split in (split for split in ("train", "val", "test") if (manifest["split"] == split).any()):
        for label, rows in manifest[manifest["split"] == split].groupby("label"):
            numbers = [len(rows), rows["group"].nunique()][: 1 + inspection.complete]
            table.add_row(split, escape(str(label)), *(f"{number:,}" for number in numbers))
        table.add_section()
    return table
