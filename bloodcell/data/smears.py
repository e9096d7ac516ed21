"""Rendered blood smears as a set of images: drawn once, kept, and read like any other folder."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd
import PIL
from PIL import Image

import bloodcell.smears
from bloodcell.console.progress import track
from bloodcell.data.groups import groups_as_sources, listed_groups
from bloodcell.data.loading import load_folders
from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError
from bloodcell.files import atomic_write, cache_dir
from bloodcell.smears import CLASSES, augmented_copy, render_photograph

SHARES = {"EOSINOPHIL": 0.25, "LYMPHOCYTE": 0.2, "MONOCYTE": 0.15, "NEUTROPHIL": 0.4}
"""Of the photographs that show each class: unequal, as in blood and in the Kaggle set."""

SLIDES_APART = 100_000
"""Slides of two sets' seeds are as many numbers apart, so that they share none."""

QUALITY = 90
"""Of the JPEG files, as PIL counts it: about that of the Kaggle set's."""

NUCLEI = "NUCLEI"
"""The folder of the masks: for each image a PNG of the same path, white where the cell's nucleus is."""


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A photograph that is to be rendered, and the files of its copies, below the set's folder and without a suffix."""

    group: str
    label: str
    slide: int
    seed: int
    copies: Sequence[str]


def load_smears(
    *, train_photographs: int, test_photographs: int, copies: int, slides: int, seed: int, on_bad_image: str
) -> ImageSet:
    """Return rendered blood smears; they are rendered where this machine has not kept them.

    Parameters
    ----------
    train_photographs, test_photographs
        How many there are, of all classes together, see `SHARES`.
    copies
        How many augmented copies a photograph has on average; every class has the same number of images.
    slides
        How many slides the training photographs are of; the test photographs are of half as many others.
    seed
        Of everything.
    on_bad_image
        As for `bloodcell.data.loading.load_folders`.

    Returns
    -------
    ImageSet
        ``group`` is the photograph that an image is a copy of. The nuclei's masks are in the folder `NUCLEI` of its
        root.

    Raises
    ------
    UserError
        If they cannot be kept, or what was kept is not whole any more.
    """
    folder = smears_folder(train_photographs, test_photographs, copies, slides, seed)
    plan = [
        *_plan("TRAIN", train_photographs, copies=copies, slides=range(slides), seed=seed),
        *_plan("TEST", test_photographs, copies=copies, slides=range(slides, slides + (slides + 1) // 2), seed=seed),
    ]
    if not folder.is_dir():
        try:
            _render(plan, folder)
        except OSError as error:
            raise UserError(
                f"data=smears: cannot be kept in {folder} ({error.strerror or error}); make room there, or choose "
                "another place with the environment variable XDG_CACHE_HOME"
            ) from error
    images = load_folders(
        folders={"train": folder / "TRAIN", "test": folder / "TEST"},
        settings={"train": "data=smears", "test": "data=smears"},
        on_bad_image=on_bad_image,
    )
    expected = sum(len(photograph.copies) for photograph in plan)
    if len(images.manifest) + len(images.unreadable) != expected:
        raise UserError(f"data=smears: {folder} has lost some of its {expected} images; remove it to have it made anew")
    return groups_as_sources(listed_groups(images, file=str(folder / "groups.csv"), column="group"))


def smears_dir() -> Path:
    """Return the folder of all that is rendered."""
    return cache_dir() / "smears"


def smears_folder(*numbers: int) -> Path:
    """Return where the images of `load_smears` with these numbers are kept, or will be.

    Its name changes with the numbers, and with the code and the libraries that draw.
    """
    digest = hashlib.sha256(repr((*numbers, np.__version__, cv2.__version__, PIL.__version__)).encode())
    for file in [*sorted(Path(bloodcell.smears.__file__).parent.glob("*.py")), Path(__file__)]:
        digest.update(file.read_bytes())
    return smears_dir() / digest.hexdigest()[:16]


def _plan(split: str, n_photographs: int, *, copies: int, slides: Sequence[int], seed: int) -> Iterator[_Planned]:
    """Yield the photographs of a split; files are numbered in no order, as in the Kaggle set."""
    n_images = n_photographs * copies // len(CLASSES)
    number = 0
    for label in CLASSES:
        n_of_class = max(2, round(SHARES[label] * n_photographs))
        rng = np.random.default_rng([seed, *map(ord, split + label)])
        names = rng.permutation(max(n_images, n_of_class))
        for index in range(n_of_class):
            yield _Planned(
                group=f"{split.lower()}-{number:04d}",
                label=label,
                slide=SLIDES_APART * seed + int(rng.choice(slides)),
                seed=number,
                copies=[f"{split}/{label}/{name:05d}" for name in names[index::n_of_class]],
            )
            number += 1


def _render(plan: Sequence[_Planned], folder: Path) -> None:
    """Render photographs and their copies into a folder that is not there before it is whole."""
    partial = folder.with_name(f".{uuid.uuid4().hex}")
    try:
        for top in ("TRAIN", "TEST", f"{NUCLEI}/TRAIN", f"{NUCLEI}/TEST"):
            for label in CLASSES:
                (partial / top / label).mkdir(parents=True)
        few = len(plan) < 4 * (os.cpu_count() or 1)
        rendering = joblib.Parallel(n_jobs=1 if few else -1, return_as="generator_unordered")(
            joblib.delayed(_write)(photograph, partial) for photograph in plan
        )
        for _ in track(rendering, "Rendering blood smears, once", total=len(plan)):
            pass
        rows = [
            (f"{copy}.jpeg", photograph.group, photograph.slide) for photograph in plan for copy in photograph.copies
        ]
        table = pd.DataFrame(rows, columns=["path", "group", "slide"])
        with atomic_write(partial / "groups.csv") as file:
            table.sort_values("path").to_csv(file, index=False)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same images
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(planned: _Planned, folder: Path) -> None:
    photograph = render_photograph(planned.label, slide=planned.slide, seed=planned.seed)
    for index, name in enumerate(planned.copies):
        copy = augmented_copy(photograph, seed=index)
        Image.fromarray(copy.image).save(folder / f"{name}.jpeg", quality=QUALITY)
        Image.fromarray(copy.nucleus).save(folder / NUCLEI / f"{name}.png")
