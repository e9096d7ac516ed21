"""Write the configuration for a folder of images.

The folder has one folder per class; or train, test and optionally val, with one folder per class in each:

  bloodcell init path/to/images
  bloodcell init path/to/images output=conf/data/smears2024.yaml

It checks the images, reports what it finds, and writes only this file. To use it: `bloodcell train -cd conf data=mine`.
An existing file is replaced only with overwrite=true.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.audit.sample_size import IMBALANCE, TYPICAL_ACCURACY, half_width
from bloodcell.config.conf_files import conf_dir
from bloodcell.config.data_file import Groups, data_file
from bloodcell.config.quoting import for_shell, override
from bloodcell.config.schemas import InitConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.file_names import PATTERN, agrees_with_pixels, sources_from_names
from bloodcell.data.folder_layout import FolderLayout, detect_layout
from bloodcell.data.loading import load_folders
from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError
from bloodcell.files import atomic_write, require_output_file
from bloodcell.provenance.recovery import recover_sources
from bloodcell.wording import listed

SMALL = 20
"""With fewer photographs of a class, an accuracy of it is known to no better than 17 points."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of which photographs images were made from.

    Attributes
    ----------
    images
        The images. Their groups are photographs where ``complete``, else files of one content.
    groups
        What the configuration is to say.
    n_looked_at, n_photographs
        How many images were compared, and how many photographs they were found to be made from.
    complete
        Whether the photograph of every image is known.
    """

    images: ImageSet
    groups: Groups
    n_looked_at: int
    n_photographs: int
    complete: bool


def run(config: InitConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - all that is written is the configuration
    """Look at the folder, write the configuration, and show both.

    Raises
    ------
    UserError
        If the folder cannot be used, or the file is there already or cannot be written.
    """
    output = Path(config.output).expanduser()
    _require_free(output, overwrite=config.overwrite)
    layout = detect_layout(Path(config.folder).expanduser())
    images = load_folders(folders=layout.folders, settings=dict.fromkeys(layout.folders, "folder"), on_bad_image="skip")
    look = _look(images, n_images=config.look_at)
    facts = [*_facts(layout, look), *(f"Careful: {line}" for line in _warnings(layout, look))]
    usage = for_shell(["-cd", str(output.parent.parent), override("data", output.stem)])
    text = data_file(
        layout,
        facts=facts,
        groups=look.groups,
        n_unreadable=len(images.unreadable),
        usage=f"bloodcell train {usage}",
    )
    with atomic_write(output) as partial:
        partial.write_text(text, encoding="utf-8")
    set_json_result(
        output=output,
        classes=look.images.classes,
        images=look.images.manifest.groupby("split").size().to_dict(),
        photographs=look.images.manifest["group"].nunique() if look.complete else None,
        groups=look.groups.source,
        unreadable=len(images.unreadable),
        said=facts,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(look))
    for line in facts:
        console.print(line, markup=False)
    console.print(f"Written to  {output}", markup=False)
    console.print(f"Look at it  bloodcell audit {usage}", markup=False)
    console.print(f"Train       bloodcell train {usage}", markup=False)


def _require_free(output: Path, *, overwrite: bool) -> None:
    if (conf_dir() / "data" / output.name).is_file() and output.resolve().parent != conf_dir() / "data":
        raise UserError(f"output={output}: bloodcell has a choice data={output.stem} of its own; take another name")
    if output.is_file() and not overwrite:
        raise UserError(f"output={output}: is there already; give another, or overwrite=true")
    require_output_file(output)


def _look(images: ImageSet, *, n_images: int) -> Look:
    """Find out from names and pixels which photographs images were made from."""
    rows = images.manifest
    # By their digests: without pattern, but the same ones every time.
    looked_at = rows.sort_values("sha256").head(n_images)
    seen = recover_sources(images.files(looked_at), looked_at["sha256"].tolist())
    complete = len(looked_at) == len(rows)
    found = looked_at["path"].map(dict(zip(looked_at["path"], seen, strict=True)))
    names = sources_from_names(rows["path"].tolist())
    groups = _groups(rows, names, seen=found)
    if groups.source == "pattern":
        rows = rows.assign(source=names, group=names)
        complete = True
    elif complete:
        rows = rows.assign(source=found, group=found)
    return Look(
        images=ImageSet(images.root, images.classes, rows, images.unreadable, images.other_files),
        groups=groups,
        n_looked_at=len(looked_at),
        n_photographs=len(set(seen)),
        complete=complete,
    )


def _groups(rows: pd.DataFrame, names: Sequence[str] | None, *, seen: "pd.Series[str]") -> Groups:
    """Choose what tells a photograph: names, where they do and nothing speaks against them, else the pixels."""
    if names is None:
        return Groups(source="recover", pattern=None, reason="found in the pixels, as names do not say")
    named = rows.assign(name=names)
    if (named.groupby("name")[["label", "split"]].nunique() > 1).any(axis=None):
        return Groups(source="recover", pattern=None, reason="found in the pixels, as names come in several folders")
    if not agrees_with_pixels(named.loc[seen.index, "name"].tolist(), seen.tolist()):
        return Groups(source="recover", pattern=None, reason="found in the pixels, which show copies under other names")
    checked = "" if len(seen) == len(rows) else f", which the pixels of {len(seen):,} of them do not contradict"
    return Groups(source="pattern", pattern=PATTERN, reason=f"named by its file, as in slide12_cell3_aug4.jpg{checked}")


def _facts(layout: FolderLayout, look: Look) -> Iterator[str]:
    images, manifest = look.images, look.images.manifest
    where = "one folder per class" if layout.kind == "classes" else f"one folder per class in {listed(layout.folders)}"
    kaggle = "Kaggle's Blood Cell Images: " if layout.kind == "bccd" else ""
    yield f"Folder      {layout.top.resolve()}: {kaggle}{where}"
    yield f"Images      {len(manifest):,} of {len(images.classes)} classes, {_sizes(images)}"
    if look.complete:
        yield f"Photographs {manifest['group'].nunique():,}, {look.groups.reason}"
    else:
        yield f"Photographs {look.n_photographs:,} of a sample of {look.n_looked_at:,} images, {look.groups.reason}"
    if "test" not in layout.folders:
        yield "Test        no folder: data.test_fraction of each class's photographs, the same in every training"
    if n_unreadable := len(images.unreadable):
        first = images.unreadable.iloc[0]
        yield f"Unreadable  {n_unreadable:,}, left out: {first['path']} ({first['reason']}), for one"
    if images.other_files:
        yield f"Other files {len(images.other_files):,}, not used: {images.other_files[0]}, for one"
    if layout.unused:
        yield f"Not used    {', '.join(layout.unused)}"


def _warnings(layout: FolderLayout, look: Look) -> Iterator[str]:
    manifest = look.images.manifest
    # Where photographs are not known, a class has no more of them than images.
    train, test = (_photographs(manifest, side) for side in ("train", "test"))
    n_sides = 3 - ("test" in layout.folders) - ("val" in layout.folders)
    if too_few := [f"{label} ({number})" for label, number in train.items() if number < n_sides]:
        yield f"too few photographs of {', '.join(too_few)} for {n_sides} sides: training will refuse that; add others"
    measured, where = (train, "in all") if test.empty else (test, "for the test")
    if small := [
        f"{label} {number} (±{100 * half_width(number):.0f})" for label, number in measured.items() if number < SMALL
    ]:
        yield f"few photographs {where}, so many points around {TYPICAL_ACCURACY:.0%} right: {', '.join(small)}"
    if (ratio := train.max() / train.min()) >= IMBALANCE:
        yield f"{train.idxmax()} has {ratio:.0f} times as many as {train.idxmin()}: read balanced accuracy"
    for column, said in (("split", "on two sides, which training refuses"), ("label", "of more than one class")):
        several = manifest.groupby("group")[column].nunique()
        if n_several := int((several > 1).sum()):
            photographs = "1 photograph has images" if n_several == 1 else f"{n_several} photographs have images"
            yield f"{photographs} {said}; `bloodcell audit` shows them"


def _photographs(manifest: pd.DataFrame, side: str) -> "pd.Series[int]":
    """Return how many photographs each class has on a side."""
    return manifest[manifest["split"] == side].groupby("label")["group"].nunique()


def _table(look: Look) -> Table:
    table = Table()
    photographs = ["photographs"] if look.complete else []
    for heading in ("split", "class", "images", *photographs):
        table.add_column(heading, justify="left" if heading in ("split", "class") else "right")
    manifest = look.images.manifest
    for split in (split for split in ("train", "val", "test") if (manifest["split"] == split).any()):
        for label, rows in manifest[manifest["split"] == split].groupby("label"):
            numbers = [len(rows), rows["group"].nunique()][: 1 + look.complete]
            table.add_row(split, escape(str(label)), *(f"{number:,}" for number in numbers))
        table.add_section()
    return table


def _sizes(images: ImageSet) -> str:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = Counter(pool.map(_size, images.files(images.manifest)))
    ((width, height), number), *_ = sizes.most_common()
    if len(sizes) == 1:
        return f"all {width} x {height} pixels"
    low, high = (tuple(edge(size[axis] for size in sizes) for axis in (0, 1)) for edge in (min, max))
    return (
        f"{low[0]} to {high[0]} pixels wide and {low[1]} to {high[1]} high, "
        f"most often {width} x {height} ({number / sizes.total():.0%})"
    )


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size
