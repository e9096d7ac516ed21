"""The facts of a comparison's report, from its runs."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import pandas as pd
from PIL import Image

from bloodcell.cards.comparison_errors import Picture
from bloodcell.cards.comparison_report import RunFacts, known_costs
from bloodcell.comparison.candidates import Aligned
from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.decision import split_name
from bloodcell.comparison.run_tags import TRAIN
from bloodcell.data.manifest import addressed, bits_by_path
from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import CHOSEN, LIMITS, SINGLE
from bloodcell.experiment.images import image_folders
from bloodcell.images.address import address_of
from bloodcell.images.reading import UnreadableImage, decode_image, read_file
from bloodcell.tracking.pooling import Pooled
from bloodcell.tracking.runs import MANIFEST, StoredRun
from bloodcell.tracking.store import Store

SIZE, QUALITY = (320, 240), 75
"""The size of a report's pictures in pixels, at most, and their JPEG quality."""


def run_facts(several: Pooled, *, with_curve: bool = True) -> RunFacts:
    """Return the facts on runs of one configuration; costs and curve, which is one more request, are the first's."""
    if not several.stored:
        return RunFacts()
    first = several.stored[0]
    measured = {name.removeprefix("cost/"): value for name, value in first.metrics.items()}
    return RunFacts(
        configuration=several.configuration,
        costs=known_costs(measured),
        curve=first.curve if with_curve else (),
        run_ids=[each.id for each in several.stored],
    )


def report_facts(comparison: Comparison, store: Store) -> dict[str, str]:
    """Return the origin of a comparison, for its report."""
    return {
        "predictions of": split_name(comparison),
        "classes": ", ".join(comparison.aligned.classes),
        "store": store.label,
        "digest of images and labels": images_digest(comparison),
        "simulations": f"{comparison.n_resamples:,}, seed {comparison.seed}",
        "practical equivalence": f"within ±{comparison.equivalence:g}",
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by bloodcell {version('bloodcell')}",
    }


def images_digest(comparison: Comparison) -> str:
    """Return a digest of the compared images and labels."""
    images = comparison.aligned.images
    lines = "\n".join(images["path"] + "\t" + images["label"])
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def limitations(aligned: Aligned, pooled: Mapping[str, Pooled], *, times: int) -> list[str]:
    """Return what limits the results, a sentence each; ``times``: how often the images were compared on before."""
    sentences = []
    if aligned.split == "test" and times:
        sentences.append(
            f"These test images have been compared on {times} {'times' if times > 1 else 'time'} before: if that chose "
            "a model, its test results are optimistic."
        )
    stored = {name: several.stored for name, several in pooled.items()}
    configs = {name: [run.config for run in runs if run.tags.job == TRAIN] for name, runs in stored.items()}
    sentences += [f"{each.name} cannot win: it {each.barred}." for each in aligned.candidates if each.barred]
    if unknown := [name for name, runs in configs.items() if None in runs]:
        sentences.append(
            f"The settings of {'; '.join(unknown)} are those of another version of bloodcell: whether validation chose "
            "their epochs is unknown."
        )
    models = [each for each in aligned.candidates if not each.trivial]
    for name, limit in LIMITS.items():
        having = [each.name for each in models if name in each.evidence]
        said = (name == SINGLE and len(having) == len(models)) or not limit.can_win  # by every verdict, or above
        if having and not said and (name != CHOSEN or aligned.split == "val"):
            which = "All runs: each" if len(having) == len(models) > 1 else "; ".join(having)
            sentences.append(f"{which} {limit.why}.")
    return sentences


@dataclass(frozen=True, kw_only=True)
class RecordedImage:
    """An image whose content is what a run recorded.

    Attributes
    ----------
    content
        The bytes of its file.
    page, bits
        See `bloodcell.images.address.Address`.
    """

    content: bytes
    page: int
    bits: int | None


def pictures_of(pooled: Mapping[str, Pooled]) -> Picture:
    """Return a function from the path of an image to a small JPEG; None if the image no longer exists."""
    find = recorded_images([run for several in pooled.values() for run in several.stored])

    def picture(path: str) -> bytes | None:
        found = find(path)
        if found is None:
            return None
        try:
            small = Image.fromarray(decode_image(found.content, page=found.page, bits=found.bits))
        except UnreadableImage:
            return None
        small.thumbnail(SIZE)
        kept = BytesIO()
        small.save(kept, "JPEG", quality=QUALITY)
        return kept.getvalue()

    return picture


def recorded_images(runs: Sequence[StoredRun]) -> Callable[[str], RecordedImage | None]:
    """Return a function from the path of an image of runs to its content; None if the image no longer exists.

    A run of a shared store may name any folder and file of this machine: only files with the content that its manifest
    recorded are read.
    """
    folders = folders_of(runs)

    @cache
    def recorded_by(number: int) -> dict[str, tuple[int, str]]:
        """Return the bits and the digest of each path in the manifest of a run; the first's if they are the same."""
        try:
            found = runs[number].read(MANIFEST, _digests)
        except UserError:
            return {}
        return recorded_by(0) if number and found == recorded_by(0) else found

    def recorded(path: str) -> Iterator[tuple[int, str]]:
        """Yield the bits and digests of a path; the first manifest usually has that of the image, so few are read."""
        for number in range(len(runs)):
            if path in recorded_by(number):
                yield recorded_by(number)[path]

    def find(path: str) -> RecordedImage | None:
        for folder in folders:
            file = Path(os.path.normpath(folder / path))
            if not file.is_relative_to(folder):  # a table of predictions may name any file
                continue
            with suppress(UnreadableImage):
                return _recorded_image(file, recorded(path))
        return None

    return find


def _digests(manifest: Path) -> dict[str, tuple[int, str]]:
    """Return the bits and the digest of each path in a manifest."""
    table = pd.read_parquet(manifest)
    bits, (paths, digests) = bits_by_path(table), (table[column].to_numpy(object) for column in ("path", "sha256"))
    return {path: (bits.get(path, 0), digest) for path, digest in zip(paths, digests, strict=True)}


def folders_of(runs: Sequence[StoredRun]) -> list[Path]:
    """Return the folders to which the paths in the manifests of runs may be relative."""
    found = (folder for run in runs if run.config for folder in image_folders(run.config.data))
    return [Path(os.path.normpath(folder)) for folder in dict.fromkeys(found)]


def _recorded_image(file: Path, recorded: Iterable[tuple[int, str]]) -> RecordedImage:
    """Return the image with one of the recorded bits and digests; UnreadableImage if there is none."""
    address = address_of(file)
    content = read_file(address.file)
    sha256 = hashlib.sha256(content).hexdigest()
    for bits, digest in recorded:
        part = address_of(addressed(file, bits))
        if part.digest(sha256) == digest:
            return RecordedImage(content=content, page=part.page, bits=part.bits)
    raise UnreadableImage("not the image of the run")
