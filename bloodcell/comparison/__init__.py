"""Which model is better: verdicts, ensembles, leaderboards; all from predictions alone."""

from bloodcell.comparison.comparing import Comparison, compare

__all__ = ["Comparison", "compare"]
