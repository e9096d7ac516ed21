"""The tags of a run as typed values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, cast

from bloodcell.evaluation import evidence
from bloodcell.wording import PHOTOGRAPH

Leaky = Literal["true", "false", "unknown"]

TRAIN, ENSEMBLE = "train", "ensemble"
"""Jobs whose runs have predictions."""
VERSIONS = "versions"
"""The tag with the versions of packages: ``keras 3.15.1, numpy 2.4.6``."""


@dataclass(frozen=True, kw_only=True)
class RunTags:
    """The tags of a run. None, or empty, if the run has no such tag.

    Attributes
    ----------
    key
        Names the run in its folder, see `bloodcell.experiment.recorder`.
    output_dir
        Its folder on its machine.
    job
        The job that made the run; runs without the tag are of ``train``.
    study, test_readings
        Of a study's parent run: ``sweep`` or ``search``, and how often a search evaluated its best trial on test.
    best_run
        Of a study's parent run: the id of the first of its leaderboard.
    sweep_job, trial, fold
        The number of the run in a sweep, the trial of a search, the number of the fold in a cross-validation.
    excluded
        Why the run is not in its study's leaderboard; else empty.
    reason
        Why the run did not finish.
    leaky
        Whether its split leaks; ``unknown`` if groups of all or some images are unknown.
    groups, group_name
        The origin of its groups (``data.groups``; ``none`` for an ensemble with such a member), and the user's word for
        a group.
    data_digest
        The digest of images, labels, groups and split.
    seed
        The seed of the training.
    evidence
        The names of what limits it, see `bloodcell.evaluation.evidence`.
    weights, weights_digest
        The initial weights.
    method, members
        How an ensemble combines its members, and their ids.
    git_commit, git_dirty, versions
        The commit of the code; whether it had uncommitted changes; versions of packages.
    has_versions_tag
        Whether the versions are in one tag; a run of an earlier version has a tag for each package.
    """

    key: str | None = None
    output_dir: str | None = None
    job: str = TRAIN
    study: str = ""
    test_readings: int | None = None
    best_run: str | None = None
    sweep_job: int | None = None
    trial: str | None = None
    fold: int | None = None
    excluded: str = ""
    reason: str = ""
    leaky: Leaky | None = None
    groups: str | None = None
    group_name: str = PHOTOGRAPH
    data_digest: str | None = None
    seed: int | None = None
    evidence: tuple[str, ...] = ()
    weights: str | None = None
    weights_digest: str | None = None
    method: str = ""
    members: tuple[str, ...] = ()
    git_commit: str | None = None
    git_dirty: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    has_versions_tag: bool = False

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> Self:
        """Return the tags of a run from text."""
        leaky = tags.get("leaky")
        return cls(
            key=tags.get("bloodcell.key"),
            output_dir=tags.get("output_dir"),
            job=tags.get("job", TRAIN),
            study=tags.get("study", ""),
            test_readings=_whole(tags.get("test_readings")),
            best_run=tags.get("best_run"),
            sweep_job=_whole(tags.get("sweep_job")),
            trial=tags.get("trial"),
            fold=_whole(tags.get("fold")),
            excluded=tags.get("aside", ""),
            reason=tags.get("reason", ""),
            leaky=cast(Leaky, leaky) if leaky in ("true", "false", "unknown") else None,
            groups=tags.get("groups"),
            group_name=tags.get("group_name", PHOTOGRAPH),
            data_digest=tags.get("data_digest"),
            seed=_whole(tags.get("seed")),
            evidence=_evidence(tags),
            weights=tags.get("weights"),
            weights_digest=tags.get("weights_digest"),
            method=tags.get("method", ""),
            members=tuple(filter(None, tags.get("members", "").split(", "))),
            git_commit=tags.get("git_commit"),
            git_dirty=None if "git_dirty" not in tags else tags["git_dirty"] == "true",
            versions=_versions(tags),
            has_versions_tag=VERSIONS in tags,
        )

    def version_tag(self, package: str) -> str:
        """Return the name of the tag with the version of a package."""
        return VERSIONS if self.has_versions_tag else f"version.{package}"

    @property
    def has_predictions(self) -> bool:
        """Whether the run can be compared: a training or an ensemble in its study's leaderboard."""
        return self.data_digest is not None and self.job in (TRAIN, ENSEMBLE) and not self.excluded


def _versions(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of packages, also of an earlier version's run, which has a tag for each."""
    each = {name.removeprefix("version."): value for name, value in tags.items() if name.startswith("version.")}
    pairs = (entry.rpartition(" ") for entry in tags.get(VERSIONS, "").split(", ") if entry)
    return each | {name: value for name, _, value in pairs}


def common_group_name(runs: Iterable[RunTags]) -> str:
    """Return the user's word for the groups of runs; ``group`` if the runs differ."""
    names = {run.group_name for run in runs} or {PHOTOGRAPH}
    return names.pop() if len(names) == 1 else "group"


def _evidence(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of a run's limits, also of an earlier version's run, which lacks the tag."""
    names = list(evidence.from_text(tags.get(evidence.TAG, "")))
    names += evidence.of_leakage(tags.get("leaky"))
    names += [evidence.DEBUG] * (tags.get("debug") == "true") + [evidence.CHOSEN] * ("trial" in tags)
    return evidence.ordered(names)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
