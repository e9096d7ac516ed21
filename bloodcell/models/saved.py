"""Load a saved Keras model without running code of its file or folder."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from bloodcell.errors import UserError
from bloodcell.models import preparing

OWN = {
    keras.saving.get_registered_name(each): preparing.__name__
    for each in (preparing.CropImages, preparing.MeasureImages)
}
"""The modules of bloodcell's layers, by their registered names."""
REFUSED = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
"""Classes of Keras that run code, or load other files."""
MAX_CONFIG = 50_000_000
"""Largest description of a model, in bytes."""


def load_saved_model(file: Path) -> keras.Model:
    """Load a ``.keras`` file that consists of Keras's and bloodcell's layers, not compiled.

    Raises
    ------
    UserError
        If it has other classes, which could run any code.
    ValueError, OSError
        If it is not a ``.keras`` file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo("config.json").file_size > MAX_CONFIG:
                raise UserError(f"{file.name}: its config.json is too large; give a model that bloodcell saved")
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{file.name} is not a .keras file") from error
    for foreign in _foreign_classes(config):
        raise UserError(f"{file.name}: has {foreign}, which may run code; give a model that bloodcell saved")
    return keras.saving.load_model(file, compile=False, safe_mode=True)


def _foreign_classes(value: Any) -> Iterator[str]:
    """Yield the classes of a configuration that are neither Keras's nor bloodcell's."""
    if isinstance(value, list):
        for each in value:
            yield from _foreign_classes(each)
    if not isinstance(value, dict):
        return
    module, name = str(value.get("module") or ""), str(value.get("class_name") or "")
    is_own = OWN.get(str(value.get("registered_name"))) == module
    is_keras = module in ("", "builtins", "keras") or module.startswith("keras.")
    if not (is_own or is_keras) or name in REFUSED:
        yield f"{module}.{name}".strip(".")
    for each in value.values():
        yield from _foreign_classes(each)
