"""Rendered blood smears: photographs of which class, nucleus, cell and slide are known, and augmented copies of them."""

from bloodcell.smears.copies import augmented_copy
from bloodcell.smears.photograph import CLASSES, Photograph, render_photograph

__all__ = ["CLASSES", "Photograph", "augmented_copy", "render_photograph"]
