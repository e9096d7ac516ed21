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

from bloodcell.audit.sample_size import MAX_IMBALANCE, TYPICAL_ACCURACY, half_width
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
"""With fewer photographs of a class, the 95 % interval of its accuracy is wider than ±17 points."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The images of a folder and their sources.

    Attributes
    ----------
    images
        The images. Their groups are the sources if ``complete``, else files with the same content.
    groups
        How the configuration finds sources.
    n_compared, n_sources
        Number of images that were compared, and of their sources.
    complete
        Whether the source of every image is known.
    """

    images: ImageSet
    groups: Groups
    n_compared: int
    n_sources: int
    complete: bool


def run(config: InitConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - all that is written is the configuration
    """Inspect the folder, write the configuration and print both.

    Raises
    ------
    UserError
        If the folder cannot be used, or the file exists or cannot be written.
    """
    output = Path(config.output).expanduser()
    _require_new(output, overwrite=config.overwrite)
    layout = detect_layout(Path(config.folder).expanduser())
    images = load_folders(folders=layout.folders, settings=dict.fromkeys(layout.folders, "folder"), on_bad_image="skip")
    inspection = _inspect(images, n_images=config.max_images)
    facts = [*_facts(layout, inspection), *(f"Warning: {line}" for line in _warnings(layout, inspection))]
    usage = for_shell(["-cd", str(output.parent.parent), override("data", output.stem)])
    text = data_file(
        layout,
        facts=facts,
        groups=inspection.groups,
        n_unreadable=len(images.unreadable),
        usage=f"bloodcell train {usage}",
    )
    with atomic_write(output) as partial:
        partial.write_text(text, encoding="utf-8")
    set_json_result(
        output=output,
        classes=inspection.images.classes,
        images=inspection.images.manifest.groupby("split").size().to_dict(),
        photographs=inspection.images.manifest["group"].nunique() if inspection.complete else None,
        groups=inspection.groups.source,
        unreadable=len(images.unreadable),
        facts=facts,
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(inspection))
    for line in facts:
        console.print(line, markup=False)
    console.print(f"Written to  {output}", markup=False)
    console.print(f"Check       bloodcell audit {usage}", markup=False)
    console.print(f"Train       bloodcell train {usage}", markup=False)


def _require_new(output: Path, *, overwrite: bool) -> None:
    if (conf_dir() / "data" / output.name).is_file() and output.resolve().parent != conf_dir() / "data":
        raise UserError(f"output={output}: data={output.stem} is one of bloodcell's own choices; use another name")
    if output.is_file() and not overwrite:
        raise UserError(f"output={output}: exists; give another file, or set overwrite=true")
    require_output_file(output)


def _inspect(images: ImageSet, *, n_images: int) -> Inspection:
    """Find the sources of the images, from file names or pixels."""
    rows = images.manifest
    # Sorted by digest: the same random sample every time.
    compared = rows.sort_values("sha256").head(n_images)
    sources = recover_sources(images.files(compared), compared["sha256"].tolist())
    complete = len(compared) == len(rows)
    found = compared["path"].map(dict(zip(compared["path"], sources, strict=True)))
    names = sources_from_names(rows["path"].tolist())
    groups = _groups(rows, names, recovered=found)
    if groups.source == "pattern":
        rows = rows.assign(source=names, group=names)
        complete = True
    elif complete:
        rows = rows.assign(source=found, group=found)
    return Inspection(
        images=ImageSet(images.root, images.classes, rows, images.unreadable, images.other_files),
        groups=groups,
        n_compared=len(compared),
        n_sources=len(set(sources)),
        complete=complete,
    )


def _groups(rows: pd.DataFrame, names: Sequence[str] | None, *, recovered: "pd.Series[str]") -> Groups:
    """Use file names if they give the sources and the pixels agree, else the pixels."""
    if names is None:
        return Groups(source="recover", pattern=None, reason="by comparing pixels; file names do not give them")
    named = rows.assign(name=names)
    if (named.groupby("name")[["label", "split"]].nunique() > 1).any(axis=None):
        return Groups(
            source="recover", pattern=None, reason="by comparing pixels; the same file names are in several folders"
        )
    if not agrees_with_pixels(named.loc[recovered.index, "name"].tolist(), recovered.tolist()):
        return Groups(source="recover", pattern=None, reason="by comparing pixels; file names disagree with the pixels")
    checked = "" if len(recovered) == len(rows) else f"; the pixels of {len(recovered):,} images agree"
    return Groups(source="pattern", pattern=PATTERN, reason=f"by file name, as in slide12_cell3_aug4.jpg{checked}")


def _facts(layout: FolderLayout, inspection: Inspection) -> Iterator[str]:
    images, manifest = inspection.images, inspection.images.manifest
    where = "one folder per class" if layout.kind == "classes" else f"one folder per class in {listed(layout.folders)}"
    kaggle = "Kaggle's Blood Cell Images: " if layout.kind == "bccd" else ""
    yield f"Folder      {layout.top.resolve()}: {kaggle}{where}"
    yield f"Images      {len(manifest):,} of {len(images.classes)} classes, {_sizes(images)}"
    counted = f"{manifest['group'].nunique():,}"
    if not inspection.complete:
        counted = f"{inspection.n_sources:,} of a sample of {inspection.n_compared:,} images"
    yield f"Photographs {counted}, {inspection.groups.reason}"
    if "test" not in layout.folders:
        yield "Test        no folder: data.test_fraction of each class's photographs, the same in every run"
    if n_unreadable := len(images.unreadable):
        first = images.unreadable.iloc[0]
        yield f"Unreadable  {n_unreadable:,}, left out, for example {first['path']} ({first['reason']})"
    if images.other_files:
        yield f"Other files {len(images.other_files):,}, not used, for example {images.other_files[0]}"
    if layout.unused:
        yield f"Not used    {', '.join(layout.unused)}"


def _warnings(layout: FolderLayout, inspection: Inspection) -> Iterator[str]:
    manifest = inspection.images.manifest
    # If sources are unknown, the number of images is an upper bound.
    train, test = (_sources(manifest, split) for split in ("train", "test"))
    n_splits = 3 - ("test" in layout.folders) - ("val" in layout.folders)
    if too_few := [f"{label} ({number})" for label, number in train.items() if number < n_splits]:
        yield f"too few photographs of {', '.join(too_few)} for {n_splits} splits: training refuses them; add some"
    counted, where = (train, "in all") if test.empty else (test, "in test")
    if small := [
        f"{label} {number} (±{100 * half_width(number):.0f} points)"
        for label, number in counted.items()
        if number < SMALL
    ]:
        yield (
            f"few photographs {where}, so the 95 % interval of an accuracy of {100 * TYPICAL_ACCURACY:.0f} % is wide: "
            f"{', '.join(small)}"
        )
    if (ratio := train.max() / train.min()) >= MAX_IMBALANCE:
        yield f"{train.idxmax()} has {ratio:.0f} times as many photographs as {train.idxmin()}; use balanced accuracy"
    for column, where in (
        ("split", "in more than one split, which training refuses"),
        ("label", "with different labels"),
    ):
        several = manifest.groupby("group")[column].nunique()
        if n_several := int((several > 1).sum()):
            photographs = "1 photograph has images" if n_several == 1 else f"{n_several} photographs have images"
            yield f"{photographs} {where}; `bloodcell audit` shows them"


def _sources(manifest: pd.DataFrame, split: str) -> "pd.Series[int]":
    """Return the number of sources of each class in a split."""
    return manifest[manifest["split"] == split].groupby("label")["group"].nunique()


def _table(inspection: Inspection) -> Table:
    table = Table()
    photographs = ["photographs"] if inspection.complete else []
    for heading in ("split", "class", "images", *photographs):
        table.add_column(heading, justify="left" if heading in ("split", "class") else "right")
    manifest = inspection.images.manifest
    for split in (split for split in ("train", "val", "test") if (manifest["split"] == split).any()):
        for label, rows in manifest[manifest["split"] == split].groupby("label"):
            numbers = [len(rows), rows["group"].nunique()][: 1 + inspection.complete]
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
