"""The environment of a run: code, packages, machine."""

import functools
import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bloodcell.comparison.run_tags import VERSIONS

PACKAGES = (
    *("bloodcell", "tensorflow", "keras", "mlflow", "scikit-learn", "hydra-core", "numpy", "pandas", "pillow"),
    "matplotlib",
)
SOURCE = Path(__file__).resolve().parents[2]


def environment_tags() -> dict[str, str]:
    """Return tags with the code, the packages and the machine of this process, as they were at the first call.

    An installed package has no ``git_commit`` and ``git_dirty``.
    """
    return dict(_tags())


@functools.cache
def _tags() -> dict[str, str]:
    versions = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # tables are compared without TensorFlow
            versions.append(f"{name} {version(name)}")
    tags = {VERSIONS: ", ".join([*versions, f"python {platform.python_version()}"])}
    tags["machine"] = f"{platform.node()}: {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    commit = _git("rev-parse", "HEAD") if (SOURCE / ".git").exists() else None
    if commit is None:
        return tags | {"git_commit": "none: an installed package"}
    return tags | {"git_commit": commit, "git_dirty": str(bool(_git("status", "--porcelain"))).lower()}


def _git(*arguments: str) -> str | None:
    try:
        finished = subprocess.run(
            ["git", "-C", str(SOURCE), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()
