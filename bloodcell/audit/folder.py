"""What is in a folder of images, for its configuration."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bloodcell.audit.sample_size import MAX_IMBALANCE, TYPICAL_ACCURACY, half_width
from bloodcell.config.data_file import Groups
from bloodcell.data.file_names import PATTERN, agrees_with_pixels, sources_from_names
from bloodcell.data.folder_layout import FolderLayout, detect_layout
from bloodcell.data.leaks import untextured_sentence
from bloodcell.data.loading import Policy, load_folders
from bloodcell.data.manifest import FOLDER, ImageSet
from bloodcell.images.reading import WHOLE_SLIDES, read_header
from bloodcell.provenance.recovery import recover_sources
from bloodcell.wording import counted, listed, plural

SMALL = 20
"""With fewer photographs of a class, the 95 % interval of its accuracy is wider than ±17 points."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The images of a folder and their sources.

    Attributes
    ----------
    layout
        Of the folder.
    images
        The images. Their groups are the sources if ``complete``, else files with the same content.
    groups
        How the configuration finds sources.
    n_compared, n_sources, n_untextured
        Number of images that were compared, of their sources, and of those with too little texture to be matched.
    complete
        Whether the source of every image is known.
    """

    layout: FolderLayout
    images: ImageSet
    groups: Groups
    n_compared: int
    n_sources: int
    n_untextured: int
    complete: bool


def inspect_folder(folder: Path, *, n_images: int, levels: str | None = None) -> Inspection:
    """Find the images of a folder and their sources, from file names or the pixels of at most ``n_images``.

    Raises
    ------
    UserError
        If the folder cannot be used.
    """
    layout = detect_layout(folder, levels=levels)
    images = load_folders(
        folders=layout.folders,
        settings=dict.fromkeys(layout.folders, "folder"),
        policy=Policy(on_bad_image="skip", rare_classes="train_only"),
        levels=layout.levels.levels,
    )
    rows = images.manifest
    # Sorted by digest: the same random sample every time.
    compared = rows.sort_values("sha256").head(n_images)
    recovered = recover_sources(images.files(compared), compared["sha256"].tolist())
    sources = recovered.names
    complete = len(compared) == len(rows)
    found = compared["path"].map(dict(zip(compared["path"], sources, strict=True)))
    names = sources_from_names(rows["path"].tolist())
    groups = _groups(rows, names, recovered=found)
    if FOLDER in rows:
        noun = layout.levels.noun
        groups = Groups(source="folder", pattern=None, reason=f"the folder of its {noun}", noun=noun)
        rows = rows.assign(source=found if complete else rows["source"], group=rows[FOLDER])
    elif groups.source == "pattern":
        rows = rows.assign(source=names, group=names)
        complete = True
    elif complete:
        rows = rows.assign(source=found, group=found)
    return Inspection(
        layout=layout,
        images=replace(images, manifest=rows),
        groups=groups,
        n_compared=len(compared),
        n_sources=len(set(sources)),
        n_untextured=sum(recovered.untextured),
        complete=complete,
    )


def _groups(rows: pd.DataFrame, names: Sequence[str] | None, *, recovered: "pd.Series[str]") -> Groups:
    """Use file names if they give the sources and the pixels agree, else the pixels."""

    def by_pixels(why: str) -> Groups:
        return Groups(source="recover", pattern=None, reason=f"by comparing pixels; {why}")

    if names is None:
        return by_pixels("file names do not give them")
    named = rows.assign(name=names)
    if (named.groupby("name")[["label", "split"]].nunique() > 1).any(axis=None):
        return by_pixels("the same file names are in several folders")
    if not agrees_with_pixels(named.loc[recovered.index, "name"].tolist(), recovered.tolist()):
        return by_pixels("file names disagree with the pixels")
    checked = "" if len(recovered) == len(rows) else f"; the pixels of {len(recovered):,} images agree"
    return Groups(source="pattern", pattern=PATTERN, reason=f"by file name, as in slide12_cell3_aug4.jpg{checked}")


def facts_of(inspection: Inspection) -> Iterator[str]:
    """Yield what was found, a line each; then warnings."""
    layout, images, manifest = inspection.layout, inspection.images, inspection.images.manifest
    where = "one folder per class"
    if layout.kind != "classes":
        where += f" in {listed([name.removeprefix('test ') for name in layout.folders])}"
    if noun := layout.levels.noun:
        where += f", and one per {noun} ({layout.levels.levels})"
    kaggle = "Kaggle's Blood Cell Images: " if layout.kind == "bccd" else ""
    yield f"Folder      {layout.top.resolve()}: {kaggle}{where}"
    yield f"Images      {len(manifest):,} of {len(images.classes)} classes, {_sizes(images)}"
    number = f"{manifest['source'].nunique():,}"
    if not inspection.complete:
        number = f"{inspection.n_sources:,} of a sample of {inspection.n_compared:,} images"
    by_folder = inspection.groups.source == "folder"
    yield f"Photographs {number}, {'by comparing pixels' if by_folder else inspection.groups.reason}"
    if by_folder:
        yield f"{plural(inspection.groups.noun).capitalize():<11} {manifest['group'].nunique():,}, by folder"
    if "fold" in manifest:
        yield f"Folds       {manifest['fold'].nunique()}, by folder, for split=given"
    if "test" not in layout.splits:
        yield "Test        no folder: data.test_fraction of each class's photographs, the same in every run"
    if n_unreadable := len(images.unreadable):
        first = images.unreadable.iloc[0]
        yield f"Unreadable  {n_unreadable:,}, left out, for example {first['path']} ({first['reason']})"
    if images.other_files:
        yield f"Other files {len(images.other_files):,}, not used, for example {images.other_files[0]}"
    if n_slides := sum(Path(path).suffix.lower() in WHOLE_SLIDES for path in images.other_files):
        yield f"Warning: {counted(n_slides, 'whole-slide image')} are not read; export pictures of cells as PNG or TIFF"
    if layout.unused:
        yield f"Not used    {', '.join(layout.unused)}"
    for note in images.notes:
        yield f"Warning: {note}"
    if inspection.n_untextured:
        yield f"Warning: {untextured_sentence(inspection.n_untextured)}"
    for warning in _warnings(layout, manifest, inspection.groups.noun, by_folder=by_folder):
        yield f"Warning: {warning}"


def _warnings(layout: FolderLayout, manifest: pd.DataFrame, noun: str, *, by_folder: bool) -> Iterator[str]:
    # If sources are unknown, the number of images is an upper bound.
    train, test = (_sources(manifest, split) for split in ("train", "test"))
    names = manifest["label"].unique()
    for split in layout.splits:
        if missing := sorted(set(names) - set(manifest.loc[manifest["split"] == split, "label"])):
            yield f"no images of {listed(missing)} in {split}"
    n_splits = 3 - ("test" in layout.splits) - ("val" in layout.splits)
    if too_few := [f"{label} ({number})" for label, number in train.items() if number < n_splits]:
        yield f"too few {plural(noun)} of {', '.join(too_few)} for {n_splits} splits"
    evaluated, where = (train, "in all") if test.empty else (test, "in test")
    if small := [
        f"{label} {number} (±{100 * half_width(number):.0f} points)"
        for label, number in evaluated.items()
        if number < SMALL
    ]:
        yield (
            f"few {plural(noun)} {where}, so the 95 % interval of an accuracy of {100 * TYPICAL_ACCURACY:.0f} % is "
            f"wide: {', '.join(small)}"
        )
    if (ratio := train.max() / train.min()) >= MAX_IMBALANCE:
        few = f"{plural(noun)} as {train.idxmin()}"
        yield f"{train.idxmax()} has {ratio:.0f} times as many {few}; use balanced accuracy"
    columns = {"split": "in more than one split"} | ({} if by_folder else {"label": "with different labels"})
    for column, where in columns.items():
        several = manifest.groupby("group")[column].nunique()
        if n_several := int((several > 1).sum()):
            has = "has" if n_several == 1 else "have"
            yield f"{counted(n_several, noun)} {has} images {where}; `bloodcell audit` shows them"


def _sources(manifest: pd.DataFrame, split: str) -> "pd.Series[int]":
    """Return the number of sources of each class in a split."""
    return manifest[manifest["split"] == split].groupby("label")["group"].nunique()


def _sizes(images: ImageSet) -> str:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        headers = pool.map(lambda path: read_header(images.root / path), images.manifest["path"])
        sizes = Counter((header.width, header.height) for header in headers)
    ((width, height), number), *_ = sizes.most_common()
    if len(sizes) == 1:
        return f"all {width} x {height} pixels"
    low, high = (tuple(edge(size[axis] for size in sizes) for axis in (0, 1)) for edge in (min, max))
    return (
        f"{low[0]} to {high[0]} pixels wide and {low[1]} to {high[1]} high, "
        f"most often {width} x {height} ({number / sizes.total():.0%})"
    )
