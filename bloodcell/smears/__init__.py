"""Synthetic blood smears: photographs with known nucleus, cell, class and slide, and augmented copies."""

from bloodcell.smears.augmentation import augmented_copy
from bloodcell.smears.photograph import CLASSES, Photograph, render_photograph

__all__ = ["CLASSES", "Photograph", "augmented_copy", "render_photograph"]
