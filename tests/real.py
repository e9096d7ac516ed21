"""The real images: where they are on this machine, and what they show."""

import os
from pathlib import Path

from commands import REPOSITORY

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


def real_data() -> Path | None:
    """Return the folder of the Kaggle set on this machine, if it is there."""
    named = os.environ.get("BLOODCELL_TEST_DATA")
    root = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "bccd"
    return root if (root / "TRAIN").is_dir() else None
