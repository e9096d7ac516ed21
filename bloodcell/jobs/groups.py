"""Find the images that were made from one photograph, and write a table of them.

The Kaggle set, and your own folders:

  bloodcell groups data=bccd data.root=~/blood-cells output=groups.csv
  bloodcell groups data=folder data.train_dir=cells/train data.test_dir=cells/test

You may correct the table. To use it, set data.groups=column data.groups_file=groups.csv, and data.group_name=photograph
(or patient, if its groups are patients).
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.config.schemas import GroupsConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.leaks import same_partition, untextured_sentence
from bloodcell.data.manifest import UNTEXTURED, ImageSet
from bloodcell.errors import UserError
from bloodcell.experiment.images import grouped_images, with_test
from bloodcell.files import atomic_write, require_output_file
from bloodcell.wording import PHOTOGRAPH, counted, plural


def run(config: GroupsConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - all that is written is the table
    """Write the group of every image to a CSV and print the numbers.

    The columns are ``path``, ``group`` and, if groups are not the sources, ``photograph``.

    Raises
    ------
    UserError
        If the images cannot be used or the table cannot be written.
    """
    output = Path(config.output).expanduser()
    require_output_file(output)
    images = grouped_images(config.data)
    table = images.manifest.sort_values("path").rename(columns={"source": PHOTOGRAPH})
    levels = not same_partition(table[PHOTOGRAPH], table["group"])
    with atomic_write(output) as partial:
        table.to_csv(partial, columns=["path", "group", *([PHOTOGRAPH] if levels else [])], index=False)
    console = Console(highlight=False, soft_wrap=True)
    try:
        images = with_test(images, config.data)
    except UserError as error:
        console.print(f"Warning: training refuses these images: {error}", markup=False)
    names = {"source": PHOTOGRAPH, "group": config.data.group_noun} if levels else {"source": PHOTOGRAPH}
    _show(images, names, console, output)


def _show(images: ImageSet, names: Mapping[str, str], console: Console, output: Path) -> None:
    """Print the numbers of sources and groups; ``names`` maps columns of the manifest to the words that are printed."""
    manifest = images.manifest
    table = Table(title="Photographs and their images", title_justify="left")
    levels = {column: plural(name) for column, name in names.items()}
    for heading in ("split", "class", *reversed(levels.values()), "images", "without copies"):
        table.add_column(heading, justify="left" if heading in ("split", "class") else "right")
    sizes = manifest["source"].map(manifest["source"].value_counts())
    rows = [
        {
            "split": split,
            "class": label,
            **{name: part[column].nunique() for column, name in reversed(levels.items())},
            "images": len(part),
            "without_copies": (sizes[part.index] == 1).sum(),
        }
        for (split, label), part in manifest.groupby(["split", "label"], sort=True)
    ]
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    n_without_copies = int((sizes == 1).sum())
    table.add_section()
    counts = {name: int(manifest[column].nunique()) for column, name in reversed(levels.items())}
    table.add_row("all", "", *map(str, counts.values()), str(len(manifest)), str(n_without_copies))
    console.print(table)
    if n_without_copies:
        console.print(f"{n_without_copies} images have no copy: each is counted as a photograph.")
    untextured = manifest.loc[manifest[UNTEXTURED], "path"].tolist() if UNTEXTURED in manifest else []
    if untextured:
        console.print(f"Warning: {untextured_sentence(len(untextured))}, for example {untextured[0]}.", markup=False)
    for column, where in (
        ("split", "in more than one split"),
        ("label", "with different labels"),
        ("group", f"in several {plural(names.get('group', PHOTOGRAPH))}"),
    ):
        if several := _with_several(manifest, column):
            names_of = manifest.loc[manifest["source"] == several[0], column].unique()
            console.print(
                f"Warning: {counted(len(several), PHOTOGRAPH)} with images {where}, for example {several[0]} "
                f"({' and '.join(map(str, names_of))}).",
                markup=False,
            )
    console.print(f"Written to  {output}", markup=False)
    set_json_result(
        output=output.absolute(),
        images=len(manifest),
        photographs=counts["photographs"],
        groups=manifest["group"].nunique(),
        without_copies=n_without_copies,
        too_little_texture=untextured,
        by_split_and_class=rows,
        in_several_splits=_with_several(manifest, "split"),
        of_several_classes=_with_several(manifest, "label"),
        in_several_groups=_with_several(manifest, "group"),
    )


def _with_several(manifest: pd.DataFrame, column: str) -> list[str]:
    """Return the sources whose images have several values in a column."""
    counts = manifest.groupby("source")[column].nunique()
    return counts[counts > 1].index.tolist()
