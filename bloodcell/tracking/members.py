"""The runs of an ensemble, and the images that all of them used."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bloodcell.comparison.differing import NOUNS, describe_difference
from bloodcell.comparison.members import EnsembleMember, Joint
from bloodcell.comparison.run_tags import ENSEMBLE, common_group_name
from bloodcell.config.schemas import EnsembleConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.data.csv_files import groups_by_path
from bloodcell.data.leaks import Leakage, find_shared_groups, shared_groups_in_folds, untextured_across
from bloodcell.data.manifest import COLUMNS, ImageSet, digest
from bloodcell.errors import UserError
from bloodcell.experiment.images import Prepared, image_folders
from bloodcell.tracking.experiment_page import BASELINE
from bloodcell.tracking.runs import StoredRun, only_finished, runs_of_study, whole_run
from bloodcell.tracking.store import Store, existing_store
from bloodcell.tracking.table_runs import TableRun, is_table, run_of_table


def read_members(config: EnsembleConfig) -> list[StoredRun]:
    """Return the runs and files of predictions that a configuration names; see `read_runs`.

    Raises
    ------
    UserError
        If a run or a file cannot be used.
    """
    stored = [run for run in config.runs if not is_table(run)]
    runs = read_runs(tracking=config.tracking, run_ids=stored, study=config.study) if stored or config.study else []
    groups = None if config.groups_file is None else groups_by_path(config.groups_file, setting="groups_file")
    known = runs[0].predictions if runs else None
    tables = [
        run_of_table(run, columns=config.columns, classes=config.classes, groups=groups, known=known)
        for run in config.runs
        if is_table(run)
    ]
    return _with_unique_names([*runs, *tables])


def read_runs(*, tracking: TrackingConfig, run_ids: Sequence[str], study: str | None) -> list[StoredRun]:
    """Return runs by their ids, or the finished runs of a study without its baselines and ensembles.

    Equal names get the ids of their runs. The names of a study's unfinished runs are printed.

    Raises
    ------
    UserError
        If the store cannot be opened, has no such run, or a run is not finished or a fold.
    """
    store = existing_store(tracking)
    if study is None:
        runs = [_whole_run(run_id, store) for run_id in run_ids]
    else:
        members = [run for run in runs_of_study(study, store) if _is_member(run)]
        runs = only_finished(members, setting=f"study={study}", advice="give the parent of a sweep or a search")
    return _with_unique_names(runs)


def _with_unique_names(runs: list[StoredRun]) -> list[StoredRun]:
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else replace(run, name=f"{run.name} [{run.id[:8]}]") for run in runs]


def _whole_run(run_id: str, store: Store) -> StoredRun:
    run = whole_run(run_id, store)
    if run.tags.job == ENSEMBLE:
        raise UserError(f"runs={run_id}: is an ensemble; give its members")
    return run


def _is_member(run: StoredRun) -> bool:
    return not (run.tags.excluded or run.tags.job == ENSEMBLE or run.name.startswith(BASELINE))


def member_of(run: StoredRun) -> EnsembleMember:
    """Return a run as a member of an ensemble."""
    return EnsembleMember(name=run.name, run_id=run.id, predictions=run.predictions)


def prepared_of(runs: Sequence[StoredRun], joint: Joint, *, fits: bool) -> Prepared:
    """Return the images that all runs were trained on, in the form of a training's.

    Parameters
    ----------
    runs
        The members.
    joint
        Their predictions.
    fits
        Whether weights are fitted to the predictions of ``val``, which then must not leak.

    Raises
    ------
    UserError
        If the runs were trained on different files, a cross-validation lacks an image, or weights are fitted and a run
        leaks.
    """
    manifest = _common_manifest(runs)
    for run in runs:
        _require_all_validated(run)
    leakage = _leakage(runs, manifest)
    if fits and leakage.mark("val") == " *":
        leaky = next(run for run in runs if run.tags.leaky == "true")
        raise UserError(
            f"runs: {leaky} leaks: weights would be fitted to predictions of training images; use method=soft"
        )
    images = ImageSet(
        root=_root(runs, manifest) or Path(),
        classes=joint.classes,
        manifest=manifest,
        unreadable=pd.DataFrame(columns=["path", "reason"]),
        other_files=(),
    )
    split = " and ".join(sorted({run.config.split.name if run.config else "unknown" for run in runs}))
    return Prepared(images=images, split=split, leakage=leakage, left_out=manifest.iloc[:0])


def has_files(prepared: Prepared) -> bool:
    """Return whether all image files still exist."""
    return all(path.is_file() for path in prepared.images.files(prepared.images.manifest))


def digest_of(runs: Sequence[StoredRun], prepared: Prepared) -> str:
    """Return the members' digest of images and split, or that of the images alone if their folds differ."""
    digests = {run.tags.data_digest for run in runs}
    return digests.pop() or "" if len(digests) == 1 else digest(prepared.images.manifest)


def groups_of(runs: Sequence[StoredRun]) -> str:
    """Return the origin of the members' groups; ``none`` if a member's groups are unknown."""
    sources = sorted({run.tags.groups or "none" for run in runs})
    return "none" if "none" in sources else ", ".join(sources)


def stopped_by_validation(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Return the runs whose epochs were chosen on the images that weights are fitted to."""
    return [run for run in runs if run.config is not None and run.config.stops_by_validation]


def manifests_of_folds(predictions: pd.DataFrame, manifest: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the manifest of each fold of a cross-validation.

    Parameters
    ----------
    predictions
        The run's predictions, with their folds.
    manifest
        The images; those of validation are in ``train``.
    """
    return [
        manifest.assign(split=manifest["split"].where(~manifest["path"].isin(rows["path"]), "val"))
        for _, rows in predictions[predictions["split"] == "val"].groupby("fold")
    ]


def _common_manifest(runs: Sequence[StoredRun]) -> pd.DataFrame:
    runs = [run for run in runs if not isinstance(run, TableRun)] or runs[:1]
    manifest, *others = (run.manifest[list(COLUMNS)].sort_values("path", ignore_index=True) for run in runs)
    for other, theirs in zip(runs[1:], others, strict=True):
        if differs := describe_difference(manifest, theirs, columns=tuple(NOUNS)):
            raise UserError(
                f"runs: {runs[0]} and {other} were trained on different data: {differs}; give runs of the same images "
                "and the same split"
            )
    return manifest


def _require_all_validated(run: StoredRun) -> None:
    if not member_of(run).cross_validated:
        return
    validated = set(run.predictions.loc[run.predictions["split"] == "val", "path"])
    if left := set(run.manifest.loc[run.manifest["split"] == "train", "path"]) - validated:
        raise UserError(
            f"runs: {run} has no validation prediction of {len(left)} training images, such as {min(left)}; "
            "give a whole cross-validation"
        )


def _leakage(runs: Sequence[StoredRun], manifest: pd.DataFrame) -> Leakage:
    groups_known, name = groups_of(runs) != "none", common_group_name(run.tags for run in runs)
    leaky = [run for run in runs if run.tags.leaky == "true"]
    if not leaky:
        untextured = max(untextured_across(part) for run in runs for part in _parts(run))
        return Leakage(
            shared=[], split_by_file=False, groups_known=groups_known, untextured=untextured, group_name=name
        )
    shared = find_shared_groups(manifest, group_name=name)
    if member_of(leaky[0]).cross_validated:
        shared += shared_groups_in_folds(manifests_of_folds(leaky[0].predictions, manifest), group_name=name)
    return Leakage(shared=shared, split_by_file=not shared, groups_known=groups_known, group_name=name)


def _parts(run: StoredRun) -> list[pd.DataFrame]:
    """Return the run's manifest, and that of each fold."""
    folds = manifests_of_folds(run.predictions, run.manifest) if member_of(run).cross_validated else []
    return [run.manifest, *folds]


def _root(runs: Sequence[StoredRun], manifest: pd.DataFrame) -> Path | None:
    """Return the folder that the manifest's paths are relative to, if its first file is still there."""
    for run in runs:
        for folder in image_folders(run.config.data) if run.config else ():
            if (folder / manifest["path"].iloc[0]).is_file():
                return folder
    return None
