"""The folder of a search: its settings, its state, and a lock."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.config.search import SearchConfig
from bloodcell.config.yaml_files import read_yaml
from bloodcell.errors import UserError
from bloodcell.files import atomic_write, cache_dir, require_writable

STATE, ORACLE = "search.yaml", "oracle.json"
CHANGEABLE = ("name", "dir", "overwrite", "max_failures", "workers", "at_once", "final", "final_test", "max_trials")
"""Settings of the tuner that may change when a search is resumed."""


class SearchFolder:
    """The folder of a search, from which it can be resumed; its name is ``tuner.name``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._setting = f"tuner.name={path.name}"

    @property
    def state(self) -> dict[str, Any]:
        """Values that `remember` wrote, by name; empty before the search begins."""
        return self._read() or {}

    @property
    def has_trials(self) -> bool:
        """Whether the strategy has written its state: then the search is resumed."""
        return (self.path / ORACLE).exists()

    def trial(self, trial_id: str) -> Path:
        """Return the folder of a trial of keras-tuner, which counts from 0: it is named after its number, from 1.

        A search of an earlier version, whose first trial has the number 0, keeps its folders.
        """
        counts_from_0 = any(re.fullmatch("trial_0+", path.name) for path in self.path.glob("trial_0*"))
        return self.path / f"trial_{trial_id if counts_from_0 else trial_number(trial_id)}"

    def remember(self, **values: Any) -> None:
        """Write values into the search's state."""
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path / STATE) as partial:
            partial.write_text(yaml.safe_dump(self.state | values, sort_keys=False), encoding="utf-8")

    def clear(self) -> None:
        """Remove the search in this folder."""
        if self._read() is not None:
            shutil.rmtree(self.path)

    def require_usable(self) -> None:
        """Check that the folder can be written, and has a search or nothing.

        Raises
        ------
        UserError
            If not.
        """
        try:
            require_writable(self.path)
        except OSError as error:
            raise UserError(
                f"tuner.dir={self.path.parent}: cannot be written ({error.strerror}); give another folder"
            ) from error
        if self._read() is not None and (damaged := damaged_searches(self.path)):
            raise UserError(
                f"{damaged[0]}: cannot be read; give another tuner.name, or start again with tuner.overwrite=true"
            )
        if self._read() is None and self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"{self._setting}: {self.path} has files that are not of a search; give another name")

    def require_same(self, signature: Mapping[str, str]) -> None:
        """Check that a search in this folder has the same settings.

        Parameters
        ----------
        signature
            From `signature_of`.

        Raises
        ------
        UserError
            If the folder has a search with other settings.
        """
        before = self.state.get("signature", signature)
        changed = sorted(key for key in before.keys() | signature.keys() if before.get(key) != signature.get(key))
        if changed:
            more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"{self._setting}: {self.path} has a search with {changed[0]}={before.get(changed[0])}, not "
                f"{signature.get(changed[0])}{more}; give another tuner.name, or tuner.overwrite=true"
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the search against other processes on this machine.

        Raises
        ------
        UserError
            If another process has the lock.
        """
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:16]
        path = cache_dir() / "searches" / f"{digest}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"{self._setting}: another process runs this search; give another name") from error
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> dict[str, Any] | None:
        try:
            state = read_yaml(self.path / STATE)
        except FileNotFoundError:
            return None
        except UserError as error:
            raise UserError(f"{error}; remove the folder {self.path}") from error
        return state if isinstance(state, dict) else None


def trial_number(trial_id: str) -> int:
    """Return the number of a trial, from 1, by which people know it; keras-tuner counts from 0."""
    return int(trial_id) + 1


def damaged_searches(root: Path) -> list[Path]:
    """Return the files of searches in a folder, at any depth, that cannot be read."""
    damaged = []
    for state in root.glob(f"**/{STATE}"):
        try:
            SearchFolder(state.parent)._read()
        except UserError:
            damaged.append(state)
        damaged += [
            path for path in (state.parent / ORACLE, *state.parent.glob("trial_*/trial.json")) if not _is_json(path)
        ]
    return sorted(damaged)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def signature_of(config: SearchConfig, *, digests: Mapping[str, str]) -> dict[str, str]:
    """Return all settings that must not change when a search is resumed, as text by name.

    Parameters
    ----------
    config
        The search's configuration.
    digests
        Digests of its images and weights, by name.
    """
    values = parameters_of(config)
    values["tuner.space"] = as_plain(config.tuner.space)
    changeable = {f"tuner.{name}" for name in CHANGEABLE}
    return {key: str(value) for key, value in values.items() if key not in changeable} | dict(digests)
