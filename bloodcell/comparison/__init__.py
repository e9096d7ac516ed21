"""Which model is better: verdicts, ensembles, leaderboards; all from predictions alone."""

from bloodcell.comparison.comparing import Comparison, compare
from bloodcell.comparison.gate import Answer, Gate

__all__ = ["Answer", "Comparison", "Gate", "compare"]
