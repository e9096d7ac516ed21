"""The set of synthetic blood smears: rendered once, cached, and loaded like any other folder."""

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
from bloodcell.data.loading import STRICTEST, Policy, load_folders
from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError
from bloodcell.files import atomic_write, cache_dir, lock_folder, remove_unused
from bloodcell.processes import exit_with_parent, expect_replaced_workers
from bloodcell.smears import CLASSES, augmented_copy, render_photograph

SHARES = {"EOSINOPHIL": 0.25, "LYMPHOCYTE": 0.2, "MONOCYTE": 0.15, "NEUTROPHIL": 0.4}
"""Class frequencies of the photographs, unequal as in blood and in the Kaggle set."""

SLIDES_PER_SEED = 100_000
"""Number of slides of each seed."""

QUALITY = 90
"""JPEG quality, about that of the Kaggle set."""

NUCLEI = "NUCLEI"
"""The folder of the nuclei's masks: a PNG with the path of each image."""

_LEASES: dict[Path, int] = {}
"""The locks of the sets that this process uses, so that no other removes them."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A photograph to render, and the paths of its copies in the set's folder, without suffix."""

    group: str
    label: str
    slide: int
    seed: int
    copies: Sequence[str]


def load_smears(
    *, train_photographs: int, test_photographs: int, copies: int, slides: int, seed: int, policy: Policy = STRICTEST
) -> ImageSet:
    """Return synthetic blood smears; render them if they are not cached.

    Parameters
    ----------
    train_photographs, test_photographs
        Number of photographs of all classes, see `SHARES`.
    copies
        Mean number of augmented copies of a photograph; every class has the same number of images.
    slides
        Number of slides of the training photographs; test photographs are from half as many other slides.
    seed
        Seed of all photographs.
    policy
        As for `bloodcell.data.loading.load_folders`.

    Returns
    -------
    ImageSet
        ``source`` and ``group`` are the rendered photograph. The folder `NUCLEI` of its root has the nuclei's masks.

    Raises
    ------
    UserError
        If they cannot be written, or cached images are missing.
    """
    folder = smears_folder(train_photographs, test_photographs, copies, slides, seed)
    plan = [
        *_plans("TRAIN", train_photographs, copies=copies, slides=range(slides), seed=seed),
        *_plans("TEST", test_photographs, copies=copies, slides=range(slides, slides + (slides + 1) // 2), seed=seed),
    ]
    while folder not in _LEASES:
        try:
            if not folder.is_dir():
                _render(plan, folder)
            if (lease := lock_folder(folder, "shared")) is not None:  # else another process removed it
                _LEASES[folder] = lease
        except OSError as error:
            raise UserError(
                f"data=smears: cannot be written to {folder} ({error.strerror or error}); free disk space, or set the "
                "environment variable XDG_CACHE_HOME to another folder"
            ) from error
    images = load_folders(
        folders={"train": folder / "TRAIN", "test": folder / "TEST"},
        settings={"train": "data=smears", "test": "data=smears"},
        levels="class",
        policy=policy,
    )
    expected = sum(len(photograph.copies) for photograph in plan)
    if len(images.manifest) + len(images.unreadable) + len(images.excluded) != expected:
        raise UserError(f"data=smears: {folder} lacks some of its {expected} images; remove it to render them again")
    return groups_as_sources(listed_groups(images, file=str(folder / "groups.csv"), column="group"))


def smears_dir() -> Path:
    """Return the folder of all sets of synthetic smears."""
    return cache_dir() / "smears"


def remove_smears() -> list[str]:
    """Remove all sets of synthetic smears that no other process uses; return the names of the others."""
    kept = []
    for folder in sorted(path for path in smears_dir().glob("*") if path.is_dir()):
        if (lease := _LEASES.pop(folder, None)) is not None:
            os.close(lease)
        if not remove_unused(folder):
            kept.append(f"{folder.parent.name}/{folder.name}")
    return kept


def smears_folder(*numbers: int) -> Path:
    """Return the folder of the images of `load_smears` with these arguments.

    Its name is a digest of the arguments, the rendering code and its libraries.
    """
    digest = hashlib.sha256(repr((*numbers, np.__version__, cv2.__version__, PIL.__version__)).encode())
    for file in [*sorted(Path(bloodcell.smears.__file__).parent.glob("*.py")), Path(__file__)]:
        digest.update(file.read_bytes())
    return smears_dir() / digest.hexdigest()[:16]


def _plans(split: str, n_photographs: int, *, copies: int, slides: Sequence[int], seed: int) -> Iterator[_Plan]:
    """Yield the photographs of a split; their copies are numbered at random, as in the Kaggle set."""
    n_images = n_photographs * copies // len(CLASSES)
    number = 0
    for label in CLASSES:
        n_of_class = max(2, round(SHARES[label] * n_photographs))
        rng = np.random.default_rng([seed, *map(ord, split + label)])
        names = rng.permutation(max(n_images, n_of_class))
        for index in range(n_of_class):
            yield _Plan(
                group=f"{split.lower()}-{number:04d}",
                label=label,
                slide=SLIDES_PER_SEED * seed + int(rng.choice(slides)),
                seed=number,
                copies=[f"{split}/{label}/{name:05d}" for name in names[index::n_of_class]],
            )
            number += 1


def _render(plan: Sequence[_Plan], folder: Path) -> None:
    """Render photographs and their copies into a folder that appears when it is complete."""
    partial = folder.with_name(f".{uuid.uuid4().hex}")
    try:
        for top in ("TRAIN", "TEST", f"{NUCLEI}/TRAIN", f"{NUCLEI}/TEST"):
            for label in CLASSES:
                (partial / top / label).mkdir(parents=True)
        expect_replaced_workers()
        few = len(plan) < 4 * (os.cpu_count() or 1)
        rendering = joblib.Parallel(n_jobs=1 if few else -1, return_as="generator_unordered")(
            joblib.delayed(_write)(photograph, partial, parent=None if few else os.getpid()) for photograph in plan
        )
        for _ in track(rendering, "rendering blood smears", total=len(plan)):
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
            if not folder.is_dir():  # otherwise another process has rendered the same images
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(planned: _Plan, folder: Path, *, parent: int | None) -> None:
    if parent is not None:
        exit_with_parent(parent)
    photograph = render_photograph(planned.label, slide=planned.slide, seed=planned.seed)
    for index, name in enumerate(planned.copies):
        copy = augmented_copy(photograph, seed=index)
        Image.fromarray(copy.image).save(folder / f"{name}.jpeg", quality=QUALITY)
        Image.fromarray(copy.nucleus).save(folder / NUCLEI / f"{name}.png")
