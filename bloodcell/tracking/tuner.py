"""MLflow for keras-tuner: every trial of any tuner is a run under a parent."""

from typing import Any

from keras_tuner.engine.trial import Trial
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.time import get_current_time_millis

TRIAL_TAG = "trial"
REASON_TAG = "reason"


class MLflowTrials:
    """A mixin for tuners that keeps their trials in MLflow.

    Each trial is a run with its hyperparameters as parameters, the metrics of every epoch, the objective as
    ``objective``, and its status: FINISHED, or FAILED with the reason as a tag. For example:

        class Search(MLflowTrials, keras_tuner.RandomSearch):
            pass

        tuner = Search(build_model, objective="val_accuracy", max_trials=10)
        tuner.track(experiment_id=experiment_id, parent_run_id=parent.info.run_id)
        tuner.search(x, y, validation_data=(x_val, y_val), epochs=5)
    """

    def track(
        self, *, experiment_id: str, parent_run_id: str, client: MlflowClient | None = None, prefix: str = ""
    ) -> None:
        """Set where the trials are kept, and the prefix of their parameters' names; call it before ``search``.

        Without a client, the store is the one that MLflow has by default.
        """
        self._experiment_id, self._parent_run_id, self._prefix = experiment_id, parent_run_id, prefix
        self._client = client or MlflowClient()
        self.trial_runs: dict[str, str] = {}

    def on_trial_begin(self, trial: Trial) -> None:
        """Start the trial's run."""
        super().on_trial_begin(trial)  # type: ignore[misc]
        run = self._client.create_run(
            self._experiment_id,
            run_name=f"trial {trial.trial_id}",
            tags={MLFLOW_PARENT_RUN_ID: self._parent_run_id, TRIAL_TAG: trial.trial_id},
        )
        self.trial_runs[trial.trial_id] = run.info.run_id
        values = trial.hyperparameters.values
        self._client.log_batch(
            run.info.run_id, params=[Param(f"{self._prefix}{name}", str(value)) for name, value in values.items()]
        )

    def on_epoch_end(self, trial: Trial, model: Any, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep an epoch's metrics."""
        super().on_epoch_end(trial, model, epoch, logs=logs)  # type: ignore[misc]
        now = get_current_time_millis()
        metrics = [Metric(f"epoch/{name}", float(value), now, epoch) for name, value in (logs or {}).items()]
        self._client.log_batch(self.trial_runs[trial.trial_id], metrics=metrics)

    def on_trial_end(self, trial: Trial) -> None:
        """End the trial's run with its status."""
        run_id = self.trial_runs[trial.trial_id]
        try:
            super().on_trial_end(trial)  # type: ignore[misc]
        finally:
            ended = self.oracle.get_trial(trial.trial_id)  # type: ignore[attr-defined]
            if ended.status == "COMPLETED":
                self._client.log_metric(run_id, "objective", float(ended.score))
                self._client.set_terminated(run_id, "FINISHED")
            else:
                if REASON_TAG not in self._client.get_run(run_id).data.tags:  # the training may have set it
                    reason = (trial.message or ended.message or "its objective is no number").strip().splitlines()[-1]
                    self._client.set_tag(run_id, REASON_TAG, reason[:500])
                self._client.set_terminated(run_id, "FAILED")
