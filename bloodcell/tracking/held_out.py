"""Predictions of two models for the same images, none of which either was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.differing import describe_difference, describe_set_difference
from bloodcell.console.progress import track
from bloodcell.data.leaks import connected_components
from bloodcell.data.manifest import bits_by_path
from bloodcell.errors import UserError
from bloodcell.evaluation.intervals import FEWEST_GROUPS
from bloodcell.evaluation.predictions import classes_of, predictions_table
from bloodcell.images.reading import MAX_PIXELS, UnreadableImage, decode_image
from bloodcell.serving.prediction import BATCH, ServingParameters, raw_probabilities
from bloodcell.tracking.comparison_facts import RecordedImage, folders_of, recorded_images
from bloodcell.tracking.models import StoredModel, load_model
from bloodcell.tracking.runs import StoredRun, run_or_none
from bloodcell.wording import counted

Find = Callable[[str], RecordedImage | None]
"""From the path of an image to its content; see `bloodcell.tracking.comparison_facts.recorded_images`."""
OF_MANIFEST = ["path", "source", "group", "sha256"]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out predictions of a candidate and a champion.

    Attributes
    ----------
    candidate, champion
        See `bloodcell.evaluation.predictions`; those of ``val`` are of the same images.
    note
        Where the champion's are from, and how many images were left out, as a sentence.
    """

    candidate: pd.DataFrame
    champion: pd.DataFrame
    note: str


def held_out_predictions(candidate: StoredRun, champion: StoredRun, *, address: str) -> HeldOut:
    """Return held-out predictions of both for the same images of validation, never of the test set.

    If both runs were validated on the same images, these are what they recorded. Otherwise the champion predicts those
    of the candidate's validation images that it was not trained on, see `unseen_images`.

    Parameters
    ----------
    candidate, champion
        Finished runs.
    address
        Of the champion's model.

    Raises
    ------
    UserError
        If a run has no validation predictions, too few images are left, their files are not on this machine, or the
        champion has other classes.
    """
    setting = f"candidate={candidate.id}"
    validated = _validated(candidate, setting=setting)
    if not _differs(validated, _validated(champion, setting=f"{address}, run {champion.id}")):
        return HeldOut(
            candidate=candidate.predictions,
            champion=champion.predictions,
            note=f"Both were validated on the same {len(validated):,} images; their recorded predictions are compared.",
        )
    unseen = unseen_images(candidate, champion)
    rows = validated[validated["path"].isin(unseen)].reset_index(drop=True)
    groups, noun = int(rows["group"].nunique()), candidate.tags.group_name
    if groups < FEWEST_GROUPS:
        raise UserError(
            f"{setting}: of its {len(validated):,} validation images, the champion ({address}, run {champion.id}) was "
            f"not trained on {len(rows):,}, of {counted(groups, noun)}, which are too few; train it on more images, or "
            "with the champion's validation images"
        )
    paths = rows["path"].tolist()
    # The settings of an ensemble and of a fold, with the folder of images, are those of other runs.
    related = [*candidate.tags.members, *([candidate.parent] if candidate.parent and candidate.tags.fold else [])]
    owners = [candidate, *(owner for each in related if (owner := run_or_none(each)))]
    find = recorded_images(owners)
    _require_files(find, paths, runs=owners, setting=setting)
    classes = classes_of(candidate.predictions)

    def check(serving: ServingParameters) -> None:
        if differs := describe_set_difference(serving.classes, classes):
            raise UserError(f"has other classes than {setting}: {differs}; compare models with the same classes")

    model = load_model(address, setting=address, check=check)
    probabilities = _predicted(model, find, paths, setting=setting)
    left_out = len(validated) - len(rows)
    return HeldOut(
        candidate=candidate.predictions[
            (candidate.predictions["split"] == "val") & candidate.predictions["path"].isin(rows["path"])
        ].reset_index(drop=True),
        champion=predictions_table(
            manifest=rows.assign(split="val"), probabilities=probabilities, classes=model.serving.classes
        ),
        note=(
            f"The champion predicted {len(rows):,} of the {len(validated):,} validation images of the candidate; "
            f"{left_out:,} are left out, because it was trained on them or on others of their {noun}."
        ),
    )


def unseen_images(candidate: StoredRun, champion: StoredRun) -> set[str]:
    """Return the paths of the candidate's images that the champion was not trained on.

    Nor was it trained on an image of the same content, source or group. Groups and sources of either run join images,
    also through others; those with the same name in both runs are the same.

    Raises
    ------
    UserError
        If a run has no manifest, or the runs use different bits of the same images, so that their digests differ.
    """
    ours, theirs = candidate.manifest, champion.manifest
    bits, others = (set(bits_by_path(each).values()) for each in (ours, theirs))
    if bits and others and bits != others:
        raise UserError(
            f"candidate={candidate.id}: uses {_listed(bits)} bits a channel and the champion {_listed(others)}, so "
            "which images both have is unknown; train it with data.bit_depth of the champion"
        )
    both = pd.concat([ours[OF_MANIFEST], theirs[OF_MANIFEST]], ignore_index=True)
    numbers = connected_components(both, "group", "source", "sha256")
    own, trained = numbers[: len(ours)], numbers[len(ours) :][theirs["split"].to_numpy() == "train"]
    return set(ours["path"][~np.isin(own, trained)])


def _listed(bits: set[int]) -> str:
    return " and ".join(map(str, sorted(bits)))


def _validated(run: StoredRun, *, setting: str) -> pd.DataFrame:
    """Return the images of a run's validation predictions, sorted by path: ``path, label, source, group, sha256``."""
    table = run.predictions
    val = table[table["split"] == "val"].drop_duplicates("path").sort_values("path", ignore_index=True)
    if val.empty:
        raise UserError(f"{setting}: has no validation predictions; give a run with some")
    digests = run.manifest.drop_duplicates("path").set_index("path")["sha256"]
    return val[["path", "label", "source", "group"]].assign(sha256=val["path"].map(digests).fillna(""))


def _differs(one: pd.DataFrame, other: pd.DataFrame) -> str:
    return describe_difference(one, other, columns=("label", "source", "group", "sha256"))


def _require_files(find: Find, paths: Sequence[str], *, runs: Sequence[StoredRun], setting: str) -> None:
    if missing := [path for path in track(paths, "looking for images", total=len(paths)) if find(path) is None]:
        place = next((str(folder.absolute()) for folder in folders_of(runs)), "an unknown folder")
        raise UserError(
            f"{setting}: {len(missing):,} of {len(paths):,} validation images that the champion must predict are not "
            f"on this machine as they were recorded, such as {missing[0]} in {place}; run the command where they are, "
            "or train the candidate with the champion's validation images"
        )


def _predicted(model: StoredModel, find: Find, paths: Sequence[str], *, setting: str) -> NDArray[np.float64]:
    """Return the probabilities of images, not calibrated, as those in tables of predictions."""
    parts: list[NDArray[np.float32]] = []
    pixels: list[NDArray[np.uint8]] = []

    def predict() -> None:
        parts.append(raw_probabilities(model.model, pixels, len(model.serving.classes)))
        pixels.clear()

    for path in track(paths, "the champion predicts", total=len(paths)):
        image = find(path)
        if image is None:
            raise UserError(f"{setting}: {path} was changed during this command; run it again")
        try:
            decoded = decode_image(image.content, page=image.page, bits=model.serving.bits)
        except UnreadableImage as error:
            raise UserError(f"{setting}: {path} cannot be read ({error}); run the command where it can") from error
        if pixels and (len(pixels) == BATCH or sum(each.size for each in (*pixels, decoded)) > 3 * MAX_PIXELS):
            predict()
        pixels.append(decoded)
    predict()
    return np.concatenate(parts).astype(np.float64)
