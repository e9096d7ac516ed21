"""What came out of a search: kept with its parent run."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import yaml
from mlflow import MlflowClient

from bloodcell.config.parameters import as_plain
from bloodcell.config.search import SearchConfig
from bloodcell.evaluation.metrics import direction
from bloodcell.plots.drawing import save_figure
from bloodcell.plots.search import best_so_far, importance_bars, parallel_coordinates
from bloodcell.search.importance import hyperparameter_importance
from bloodcell.tracking.study import Study

OWN = ("trial", "status", "score", "overrides")


def keep_search(
    study: Study, trials: pd.DataFrame, *, config: SearchConfig, given: Sequence[str], final_run: str | None
) -> None:
    """Keep the trials as a table and as pictures, the space, and the command that trains the best configuration.

    Parameters
    ----------
    study
        The search's parent run.
    trials
        One row for each trial: ``trial, status, score, overrides`` and its hyperparameters by their names.
    config
        The search's.
    given
        The overrides that it was started with.
    final_run
        The run that trained the best configuration once more; None: there is none.
    """
    if trials.empty:
        return
    client, objective = MlflowClient(), config.tuner.objective
    less_is_better = direction(objective) == "min"
    finished = trials[trials["status"].str.endswith("COMPLETED")].reset_index(drop=True)
    values = finished[[name for name in trials if name not in OWN]]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trials.to_csv(folder / "trials.csv", index=False)
        (folder / "space.yaml").write_text(yaml.safe_dump(as_plain(config.tuner.space), sort_keys=False), "utf-8")
        save_figure(
            best_so_far(trials["score"], objective=objective, less_is_better=less_is_better), folder, "best_so_far"
        )
        lines = [f"- {len(finished)} of {len(trials)} trials finished"]
        if len(finished):
            scores = finished["score"]
            place = int((scores if less_is_better else -scores).argmin())
            best = finished.iloc[place]
            settings = best["overrides"]
            others = [override for override in given if not override.lstrip("+~").startswith("tuner")]
            command = shlex.join(["bloodcell", "train", *others, *settings])
            (folder / "best.txt").write_text(f"{command}\n", encoding="utf-8")
            lines.append(f"- Best: {objective} {best['score']:.4f}, trial {best['trial']}: `{' '.join(settings)}`")
            if final_run is not None:
                page = f"#/experiments/{study.experiment_id}/runs/{final_run}"
                lines.append(f"- Trained once more, its model kept: [its run]({page})")
            save_figure(parallel_coordinates(values, scores, objective=objective), folder, "parallel_coordinates")
            importance = hyperparameter_importance(values, scores)
            if importance is not None:
                figure = importance_bars(importance, objective=objective, n_trials=len(finished))
                save_figure(figure, folder, "importance")
            client.log_metric(study.run_id, "best/objective", float(best["score"]))
        lines.append(
            "- The best of many is partly luck: its figure on validation is too good by as much; "
            "`tuner.final_test=true` measures it on images that chose nothing"
        )
        client.log_artifacts(study.run_id, scratch)
    client.set_tag(study.run_id, "mlflow.note.content", "\n".join(lines))
