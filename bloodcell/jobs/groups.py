"""Find out which images were made from one photograph, and write it down.

For example, for the Kaggle set as it is unpacked, and for your own folders:

  bloodcell groups data=bccd data.root=~/blood-cells output=groups.csv
  bloodcell groups data=folder data.train_dir=cells/train data.test_dir=cells/test

A table that was written, and perhaps mended by hand, is used with data.groups=column data.groups_file=groups.csv.
"""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.config import GroupsConfig
from bloodcell.data.manifest import ImageSet
from bloodcell.files import replacing
from bloodcell.jobs._images import load_images
from bloodcell.jobs._writing import require_output_file
from bloodcell.output import tell


def run(config: GroupsConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - all that is written is the table
    """Write the group of every image to a CSV with the columns ``path`` and ``group``, and show how many there are.

    Raises
    ------
    UserError
        If the images cannot be used or the table cannot be written.
    """
    output = Path(config.output).expanduser()
    require_output_file(output)
    images = load_images(config.data)
    table = images.manifest.sort_values("path")
    with replacing(output) as partial:
        table.to_csv(partial, columns=["path", "group"], index=False)
    _show(images, Console(highlight=False, soft_wrap=True), output)


def _show(images: ImageSet, console: Console, output: Path) -> None:
    manifest = images.manifest
    table = Table(title="Photographs, and the images made from them", title_justify="left")
    for heading in ("split", "class", "photographs", "images", "alone"):
        table.add_column(heading, justify="left" if heading in ("split", "class") else "right")
    sizes = manifest["group"].map(manifest["group"].value_counts())
    parts = [
        {
            "split": split,
            "class": label,
            "photographs": rows["group"].nunique(),
            "images": len(rows),
            "alone": (sizes[rows.index] == 1).sum(),
        }
        for (split, label), rows in manifest.groupby(["split", "label"], sort=True)
    ]
    for part in parts:
        table.add_row(*(escape(str(value)) for value in part.values()))
    n_alone = int((sizes == 1).sum())
    table.add_section()
    table.add_row("all", "", str(manifest["group"].nunique()), str(len(manifest)), str(n_alone))
    console.print(table)
    if n_alone:
        console.print(f"{n_alone} images match no other: each is a group of its own.")
    for column, said in (("split", "on both sides of a split"), ("label", "of more than one class")):
        several = _groups_with_several(manifest, column)
        if several:
            console.print(
                f"Careful: {len(several)} photographs have images {said}, {several[0]} for one.", markup=False
            )
    console.print(f"Written to  {output}", markup=False)
    tell(
        output=output.absolute(),
        images=len(manifest),
        photographs=manifest["group"].nunique(),
        alone=n_alone,
        parts=parts,
        on_both_sides=_groups_with_several(manifest, "split"),
        of_several_classes=_groups_with_several(manifest, "label"),
    )


def _groups_with_several(manifest: pd.DataFrame, column: str) -> list[str]:
    counts = manifest.groupby("group")[column].nunique()
    return counts[counts > 1].index.tolist()
