"""Galleries for the image grid of the MLflow UI, which compares them across runs."""

import os
import shutil
import uuid
from pathlib import Path

from mlflow.tracking.multimedia import compress_image_size
from PIL import Image

GALLERIES = ("errors_", "explanations_", "augmentation", "crops")
"""The start of the names of plots that are galleries."""
SECTION = "gallery"
"""The section of the charts that shows them."""


def log_galleries(artifacts: Path) -> int:
    """Write the galleries among the plots as ``MlflowClient.log_image`` names its files; return their number.

    They are files of the run's folder, so that they are delivered once also after an outage.
    """
    plots = [path for path in sorted((artifacts / "plots").glob("*.png")) if path.name.startswith(GALLERIES)]
    for path in plots:
        # The grid opens at step 0, and shows runs side by side that have the same step. A plot that is drawn again
        # replaces its image.
        name = f"{SECTION}~{path.stem}+step+0+timestamp+0+{uuid.uuid5(uuid.NAMESPACE_URL, path.stem)}"
        image = artifacts / "images" / f"{name}.png"
        image.parent.mkdir(exist_ok=True)
        image.unlink(missing_ok=True)
        try:
            os.link(path, image)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, image)
        with Image.open(path) as pixels:
            compress_image_size(pixels).save(image.with_name(f"{name}+compressed.webp"))
    return len(plots)
