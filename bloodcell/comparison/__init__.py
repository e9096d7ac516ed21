"""Which model is better: verdicts, ensembles, leaderboards; all from predictions alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloodcell.comparison.comparing import Comparison, compare
    from bloodcell.comparison.gate import Answer, Gate

__all__ = ["Answer", "Comparison", "Gate", "compare"]

MODULES = {"Comparison": "comparing", "compare": "comparing", "Answer": "gate", "Gate": "gate"}


def __getattr__(name: str) -> Any:
    """Import what is used: SciPy's statistics take a second, and most commands need only this package's tables."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
