"""What a search starts from: its space checked, its folder opened, and how a trial's configuration is composed."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig

from bloodcell.config.composition import compose_config
from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.config.search import SearchConfig
from bloodcell.config.training import TrainConfig
from bloodcell.errors import UserError
from bloodcell.files import cache_dir, replacing, require_writable
from bloodcell.search.space import probes
from bloodcell.tracking.store import open_store
from bloodcell.tracking.study import Study, resume_study, start_study

STATE = "search.yaml"
CHANGEABLE = ("name", "dir", "overwrite", "max_failures", "workers", "final", "final_test", "max_trials")
"""Settings of the tuner that may be others when a search goes on."""


@dataclass(frozen=True)
class Composer:
    """Composes a trial's configuration: what the search was started with, and the trial's own overrides after it."""

    overrides: tuple[str, ...]

    @classmethod
    def of_this_job(cls) -> "Composer":
        """Return that of the job that Hydra has started."""
        return cls(tuple(HydraConfig.get().overrides.task))

    def __call__(self, overrides: Sequence[str]) -> SearchConfig:
        """Return the configuration of a trial.

        Raises
        ------
        UserError
            If it is refused.
        """
        composed: SearchConfig = compose_config("search", [*self.overrides, *overrides])
        return composed


def for_training(config: SearchConfig) -> TrainConfig:
    """Return the part of a search's configuration that is its trials'."""
    return TrainConfig(**{entry.name: getattr(config, entry.name) for entry in fields(TrainConfig)})


def check_space(config: SearchConfig, compose: Composer) -> None:
    """Compose a configuration with every choice and every end of a range.

    Raises
    ------
    UserError
        If one is refused.
    """
    for key in config.tuner.space:
        if key.partition(".")[0] in ("tuner", "tracking"):
            raise UserError(f"tuner.space: {key} is no setting of a training")
    for overrides in probes(config.tuner.space):
        try:
            compose(overrides)
        except UserError as error:
            raise UserError(f"tuner.space: {error}") from error


def open_search(config: SearchConfig, folder: Path, *, made_from: Mapping[str, str], is_worker: bool) -> Study:
    """Return the search's parent run: that of the search in the folder, which goes on, or a new one.

    Parameters
    ----------
    config
        The search's configuration.
    folder
        Where it is kept.
    made_from
        The digests of what its trials are made from, by name.
    is_worker
        Whether another process has opened it.

    Raises
    ------
    UserError
        If the folder holds another search, or cannot be written.
    """
    setting = f"tuner.name={config.tuner.name}"
    try:
        require_writable(folder)
    except OSError as error:
        raise UserError(f"tuner.dir={config.tuner.dir}: cannot be written ({error.strerror}); give another") from error
    signature = _signature(config) | dict(made_from)
    state = _state(folder)
    if state is None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{setting}: {folder} holds something else than a search; give another name")
    study = None
    if state is not None and config.tuner.overwrite and not is_worker:
        open_store(config.tracking)  # nothing is removed for a search that cannot start
        shutil.rmtree(folder)
    elif state is not None:
        before = state["signature"]
        changed = sorted(key for key in before.keys() | signature.keys() if before.get(key) != signature.get(key))
        if changed:
            more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"{setting}: {folder} holds a search with {changed[0]}={before.get(changed[0])}, "
                f"not {signature.get(changed[0])}{more}; give another tuner.name, or tuner.overwrite=true"
            )
        study = resume_study(tracking=config.tracking, run_id=state["parent_run"])
    if study is None:
        if is_worker:
            raise UserError(f"{setting}: {folder} holds no search; start the chief first, with the same tuner.dir")
        overrides = [config.tuner.strategy, *config.tuner.space]
        study = start_study(tracking=config.tracking, overrides=overrides, kind="search")
        folder.mkdir(parents=True, exist_ok=True)
        remember(folder, signature=signature, parent_run=study.run_id, final=None)
    return study


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second process on this machine from going on with the search in a folder while the block does.

    Raises
    ------
    UserError
        If one is at it.
    """
    path = cache_dir() / "searches" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"tuner.name={folder.name}: this search is under way; give another name") from error
    try:
        yield
    finally:
        lock.release()


def goes_on(folder: Path) -> bool:
    """Say whether a search has begun in the folder."""
    return (folder / "oracle.json").exists()


def remember(folder: Path, **values: Any) -> None:
    """Write values into the search's state, beside those that it has."""
    state = recall(folder) | values
    with replacing(folder / STATE) as partial:
        partial.write_text(yaml.safe_dump(state, sort_keys=False), encoding="utf-8")


def recall(folder: Path) -> dict[str, Any]:
    """Return the search's state."""
    return _state(folder) or {}


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        state: Any = yaml.safe_load((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{folder / STATE}: cannot be read ({error}); remove the folder {folder}") from error
    return state if isinstance(state, dict) else None


def _signature(config: SearchConfig) -> dict[str, str]:
    """Return all that makes a search what it is, as text by name."""
    values = parameters_of(config)
    values["tuner.space"] = as_plain(config.tuner.space)
    own = {f"tuner.{name}" for name in CHANGEABLE}
    return {key: str(value) for key, value in values.items() if key not in own}
