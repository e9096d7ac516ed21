"""The report of a search: a table and plots of its trials, and the command that trains the best one."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from bloodcell.config.parameters import as_plain
from bloodcell.config.search import SearchConfig
from bloodcell.evaluation.metrics import direction
from bloodcell.plots.drawing import save_figure
from bloodcell.plots.search import best_so_far, importance_bars, parallel_coordinates
from bloodcell.search.importance import hyperparameter_importance

NOT_HYPERPARAMETERS = ("trial", "status", "score", "overrides")


def write_search_report(
    trials: pd.DataFrame, folder: Path, *, config: SearchConfig, overrides: Sequence[str], final_page: str | None
) -> tuple[str, float | None]:
    """Write the table and plots of the trials, the space, and the command that trains the best configuration.

    Parameters
    ----------
    trials
        From `bloodcell.search.trials.trials_table`, at least one row.
    overrides
        The overrides that the search was started with.
    final_page
        Address of the run that trained the best configuration again, or None.

    Returns
    -------
    description
        In Markdown.
    best
        The best objective; None if no trial has finished.
    """
    objective = config.tuner.objective
    lower_is_better = direction(objective) == "min"
    finished = trials[trials["status"].str.endswith("COMPLETED")].reset_index(drop=True)
    values = finished[[name for name in trials if name not in NOT_HYPERPARAMETERS]]
    trials.to_csv(folder / "trials.csv", index=False)
    (folder / "space.yaml").write_text(yaml.safe_dump(as_plain(config.tuner.space), sort_keys=False), "utf-8")
    save_figure(
        best_so_far(trials["score"], objective=objective, lower_is_better=lower_is_better), folder, "best_so_far"
    )
    lines, best_score = [f"- {len(finished)} of {len(trials)} trials finished"], None
    if len(finished):
        scores = finished["score"]
        best = finished.iloc[int((scores if lower_is_better else -scores).argmin())]
        best_score, settings = float(best["score"]), best["overrides"]
        others = [override for override in overrides if not override.lstrip("+~").startswith("tuner")]
        command = shlex.join(["bloodcell", "train", *others, *settings])
        (folder / "best.txt").write_text(f"{command}\n", encoding="utf-8")
        lines.append(f"- Best: {objective} {best_score:.4f}, trial {best['trial']}: `{' '.join(settings)}`")
        if final_page is not None:
            lines.append(f"- Trained again, with its model kept: [its run]({final_page})")
        figure = parallel_coordinates(values, scores, objective=objective, lower_is_better=lower_is_better)
        save_figure(figure, folder, "parallel_coordinates")
        importance = hyperparameter_importance(values, scores)
        if importance is not None:
            figure = importance_bars(importance, objective=objective, n_trials=len(finished))
            save_figure(figure, folder, "importance")
    lines.append(
        "- The validation score of the best of many trials is optimistic; `tuner.final_test=true` evaluates it on the "
        "test set, which is not used for selection"
    )
    return "\n".join(lines), best_score
