"""Where computed things are kept between runs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder of bloodcell's caches: ``bloodcell`` under ``XDG_CACHE_HOME``, else under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloodcell"
