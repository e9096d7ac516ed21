"""From the runs of an ensemble to the images that all of them were trained and tested on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bloodcell.comparison.members import Joint
from bloodcell.data.leaks import Leakage, find_shared_groups, shared_groups_in_folds
from bloodcell.data.loading import KAGGLE_FOLDERS
from bloodcell.data.manifest import COLUMNS, ImageSet, digest
from bloodcell.data.smears import smears_folder
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import with_sources
from bloodcell.experiment.images import Prepared
from bloodcell.tracking.members import FinishedRun
from bloodcell.wording import group_name_of

DIFFERENCES = {
    "sha256": "the content",
    "label": "the label",
    "source": "the photograph",
    "group": "the group",
    "split": "the side",
}
"""The columns of two manifests that may differ, and what that is called."""


def prepared_of(runs: Sequence[FinishedRun], joint: Joint, *, fits: bool) -> Prepared:
    """Return the images that all runs were trained on, as a training has them.

    Parameters
    ----------
    runs
        The members.
    joint
        Their predictions.
    fits
        Whether something is fitted to the predictions of ``val``, which then must not leak.

    Raises
    ------
    UserError
        If the runs were trained on different files, a cross-validation left an image out, or a run leaks where
        something is to be fitted.
    """
    manifest = _common_manifest(runs)
    for run in runs:
        _require_all_validated(run)
    leak = _leak(runs, manifest)
    if fits and leak.mark("val") == " *":
        leaky = next(run.member for run in runs if run.tags.get("leaky") == "true")
        raise UserError(f"runs: {leaky} leaks, so that weights would be fitted to what it remembers; use method=soft")
    images = ImageSet(
        root=_root(runs, manifest) or Path(),
        classes=joint.classes,
        manifest=manifest,
        unreadable=pd.DataFrame(columns=["path", "reason"]),
        other_files=(),
    )
    split = " and ".join(sorted({run.parameters.get("split.name", "given") for run in runs}))
    return Prepared(images=images, split=split, leak=leak, left_out=manifest.iloc[:0])


def has_files(prepared: Prepared) -> bool:
    """Say whether all images are where they were."""
    return all(path.is_file() for path in prepared.images.files(prepared.images.manifest))


def digest_of(runs: Sequence[FinishedRun], prepared: Prepared) -> str:
    """Return the members' digest of images and split, or of the images alone where their folds differ."""
    digests = {run.tags.get("data_digest", "") for run in runs}
    return digests.pop() if len(digests) == 1 else digest(prepared.images.manifest)


def groups_of(runs: Sequence[FinishedRun]) -> str:
    """Return where the members' groups came from; ``none`` if any did not look."""
    sources = sorted({run.tags.get("groups", "none") for run in runs})
    return "none" if "none" in sources else ", ".join(sources)


def stopped_by_validation(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return the runs whose epochs were chosen by the images that weights are fitted to.

    A head that is solved has none to choose from.
    """
    return [run for run in runs if stops_by_validation(run.parameters)]


def stops_by_validation(parameters: Mapping[str, str]) -> bool:
    """Say whether a training with these settings chooses its epochs by validation."""
    solved = parameters.get("head.solver") == "lbfgs" and parameters.get("finetune.name") in ("none", "top")
    restored = parameters.get("hyperparameters.early_stopping.restore_best", "False") != "False"
    stopped = parameters.get("hyperparameters.early_stopping.patience", "None") != "None"
    return not solved and (restored or stopped)


def folds_in(validated: pd.DataFrame, manifest: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the manifest of each fold of a cross-validation.

    Parameters
    ----------
    validated
        Its predictions of ``val``, with the fold that each is of.
    manifest
        The images, those of validation in ``train``.
    """
    return [
        manifest.assign(split=manifest["split"].where(~manifest["path"].isin(rows["path"]), "val"))
        for _, rows in validated.groupby("fold")
    ]


def _common_manifest(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    first, *others = runs
    manifest = _sorted(first)
    for other in others:
        theirs = _sorted(other)
        if manifest.equals(theirs):
            continue
        both = f"runs: {first.member} and {other.member}"
        if set(manifest["path"]) != set(theirs["path"]):
            example = min(set(manifest["path"]) ^ set(theirs["path"]))
            raise UserError(f"{both} were trained on different images, {example} by one only; give runs of one set")
        for column, what in DIFFERENCES.items():
            if (rows := np.flatnonzero(manifest[column].to_numpy() != theirs[column].to_numpy())).size:
                raise UserError(
                    f"{both} differ in {what} of {rows.size} images, such as {manifest['path'].iloc[rows[0]]}; give "
                    "runs of the same images and the same split"
                )
    return manifest


def _sorted(run: FinishedRun) -> pd.DataFrame:
    return with_sources(run.manifest)[list(COLUMNS)].sort_values("path", ignore_index=True)


def _require_all_validated(run: FinishedRun) -> None:
    if not run.member.cross_validated:
        return
    predictions = run.member.predictions
    validated = set(predictions.loc[predictions["split"] == "val", "path"])
    if left := set(run.manifest.loc[run.manifest["split"] == "train", "path"]) - validated:
        raise UserError(
            f"runs: {run.member} has no validation prediction of {len(left)} training images, such as {min(left)}; "
            "give a whole cross-validation"
        )


def _leak(runs: Sequence[FinishedRun], manifest: pd.DataFrame) -> Leakage:
    groups_known, name = groups_of(runs) != "none", group_name_of(run.tags for run in runs)
    leaky = [run for run in runs if run.tags.get("leaky") == "true"]
    if not leaky:
        return Leakage(shared=[], split_by_file=False, groups_known=groups_known, group_name=name)
    shared = find_shared_groups(manifest, group_name=name)
    if leaky[0].member.cross_validated:
        predictions = leaky[0].member.predictions
        folds = folds_in(predictions[predictions["split"] == "val"], manifest)
        shared += shared_groups_in_folds(folds, group_name=name)
    return Leakage(shared=shared, split_by_file=not shared, groups_known=groups_known, group_name=name)


def _root(runs: Sequence[FinishedRun], manifest: pd.DataFrame) -> Path | None:
    """Return the folder that the manifest's paths are relative to, if its first file is still there."""
    for run in runs:
        for folder in image_folders(run.parameters):
            if (folder / manifest["path"].iloc[0]).is_file():
                return folder
    return None


def image_folders(parameters: Mapping[str, str]) -> list[Path]:
    """Return the folders that the paths of a run's images may be relative to."""
    if parameters.get("data.source") == "smears":
        numbers = ("train_photographs", "test_photographs", "copies", "slides", "seed")
        return [smears_folder(*(int(parameters[f"data.{name}"]) for name in numbers))]
    if root := parameters.get("data.root"):
        return [Path(root).expanduser() / below for below in KAGGLE_FOLDERS]
    named = [parameters.get(f"data.{split}_dir", "None") for split in ("train", "val", "test")]
    folders = [Path(folder).expanduser().resolve() for folder in named if folder != "None"]
    return [Path(os.path.commonpath(folders))] if folders else []
