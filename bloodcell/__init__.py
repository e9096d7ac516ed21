"""Image classifiers of blood cells: data without leaks, training by transfer learning, and which model is better.

>>> import bloodcell
>>> result = bloodcell.train(data={"source": "folder", "train_dir": "cells"})  # doctest: +SKIP
>>> study = bloodcell.sweep({"backbone": ["morphology", "mobilenetv2"]}, data="smears")  # doctest: +SKIP
>>> comparison = bloodcell.compare({"a": result.predictions, "b": other.predictions})  # doctest: +SKIP
>>> run = bloodcell.load("4e5f...")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloodcell.comparison import compare
    from bloodcell.experiment.sweep import sweep
    from bloodcell.experiment.training import train
    from bloodcell.tracking.loaded import load

__all__ = ["compare", "load", "sweep", "train"]

_HOMES = {
    "compare": "bloodcell.comparison",
    "load": "bloodcell.tracking.loaded",
    "sweep": "bloodcell.experiment.sweep",
    "train": "bloodcell.experiment.training",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first needed: TensorFlow takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from bloodcell.console.quiet import quiet_libraries, quiet_stderr

    quiet_libraries()
    with quiet_stderr():
        module = import_module(_HOMES[name])
    return getattr(module, name)


def __dir__() -> list[str]:
    """List the functions that are imported when they are needed, too."""
    return sorted({*globals(), *__all__})
