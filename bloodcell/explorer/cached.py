"""The explorer's folders in bloodcell's cache."""

from pathlib import Path

from bloodcell.files import cache_dir


def thumbnails_dir() -> Path:
    """Return the folder of thumbnails."""
    return cache_dir() / "thumbnails"


def maps_dir() -> Path:
    """Return the folder of maps by UMAP."""
    return cache_dir() / "maps"
