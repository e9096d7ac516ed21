"""Search hyperparameters with keras-tuner; every trial is a tracked run.

At random; Bayesian, in cross-validation; Hyperband, in two processes; in your own search space:

  bloodcell search data=bccd data.root=~/blood-cells tuner=random tuner.max_trials=50
  bloodcell search data=bccd data.root=~/blood-cells tuner=bayesian split=group_kfold tuner.name=kfold
  bloodcell search data=bccd data.root=~/blood-cells tuner=hyperband tuner.workers=2
  bloodcell search -cd my_conf tuner/space=mine data=bccd data.root=~/blood-cells

The same command resumes an interrupted search. conf/tuner/space/head.yaml explains how to write a search space.
"""

import errno
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError

from bloodcell.comparison.leaderboard import OBJECTIVE
from bloodcell.config.command import Command, chosen_groups
from bloodcell.config.quoting import NAME_LENGTH, setting_label, short_name
from bloodcell.config.search import HyperbandTuner, SearchConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.config.training import TrainConfig
from bloodcell.console.logs import log_errors, log_to
from bloodcell.console.progress import print_status
from bloodcell.errors import UserError, reason_of
from bloodcell.evaluation.evidence import CHOSEN
from bloodcell.experiment.countdown import Countdown
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.side_by_side import Part, train_heads
from bloodcell.experiment.training import Experiment, prepare_experiment
from bloodcell.jobs.train import Role, already_finished, train, train_baselines
from bloodcell.search.folder import SearchFolder, signature_of, trial_number
from bloodcell.search.report import write_search_report
from bloodcell.search.space import overrides_of
from bloodcell.search.trials import Composer, best_trial, check_space, for_training, objective_of, trials_table
from bloodcell.search.tuner import FunctionTuner, build_oracle, silent_stdout
from bloodcell.search.workers import check_environment, distributed, is_worker, stay_with_chief
from bloodcell.tracking.delivery import Delivery
from bloodcell.tracking.experiment_page import EXCLUDED_TAG
from bloodcell.tracking.run import TRIAL_TAG, deliver_all
from bloodcell.tracking.runs import run_or_none
from bloodcell.tracking.store import find_store, open_store
from bloodcell.tracking.study import Study, record_failure, start_study
from bloodcell.tracking.study_report import finish_study

log = logging.getLogger(__name__)


def run(
    config: SearchConfig,
    *,
    output_dir: Path,  # noqa: ARG001 - a search has a folder of its own, which outlasts the command
    command: Command | None = None,
) -> None:
    """Search, train the best configuration again, and show the result.

    Raises
    ------
    UserError
        If the space, the images or the store cannot be used, or the folder has another search.
    SearchFailedError
        If too many consecutive trials failed.
    """
    check_environment()
    find_store(config.tracking)
    folder = SearchFolder(Path(config.tuner.dir).expanduser() / config.tuner.name)
    compose = Composer(tuple((command or Command()).overrides))
    with nullcontext() if is_worker() else folder.lock():
        check_space(config, compose)
        # Errors of a training's configuration are found before the search starts.
        experiment = prepare_experiment(for_training(config))
        backbone = experiment.learner.classifier.backbone
        digests = {"the images' digest": experiment.prepared.digest, "the weights' digest": backbone.digest}
        study = _open(config, folder, signature=signature_of(config, digests=digests))
        choices = chosen_groups((command or Command()).choices)
        search = _Search(config, folder, compose, experiment.prepared, study, choices)
        if is_worker():
            stay_with_chief()
            search.tuner.run(max_failures=config.tuner.max_failures)
        else:
            search.run()


def _open(config: SearchConfig, folder: SearchFolder, *, signature: Mapping[str, str]) -> Study | str:
    """Return the parent run of the search in the folder, or start a new one; in a worker, return its id.

    Raises
    ------
    UserError
        If the folder has another search, or cannot be written.
    """
    if config.tuner.overwrite and not is_worker():
        open_store(config.tracking)  # nothing is removed for a search that cannot start
        folder.clear()
    folder.require_usable()
    folder.require_same(signature)
    before = Delivery(folder.path, store=find_store(config.tracking)).run_id
    if is_worker():
        if before is None:
            raise UserError(
                f"tuner.name={config.tuner.name}: {folder.path} has no search; start the chief first, with the same "
                "tuner.dir"
            )
        return before
    _, experiment_id = open_store(config.tracking)
    found = run_or_none(before) if before is not None else None
    resumes = found is not None and found.experiment_id == experiment_id
    folder.remember(signature=dict(signature))
    overrides = [config.tuner.strategy, *config.tuner.space]
    study = start_study(
        tracking=config.tracking, overrides=overrides, folder=folder.path, kind="search", resume=resumes
    )
    if not resumes:
        folder.remember(final=None)
    return study


class _Search:
    """A search that is ready to run: its configuration, folder, composer of trials, images and parent run."""

    def __init__(
        self,
        config: SearchConfig,
        folder: SearchFolder,
        compose: Composer,
        prepared: Prepared,
        study: Study | str,
        choices: Mapping[str, str],
    ) -> None:
        self._groups = choices
        self._config, self._folder, self._compose = config, folder, compose
        self._prepared, self._study = prepared, study
        self._parent_run = study if isinstance(study, str) else study.run_id
        self._objective = config.tuner.objective
        self._experiments: dict[str, Experiment] = {}
        self._share = 0.0
        with silent_stdout():
            self.tuner = FunctionTuner(
                build_oracle(config.tuner, trial_folder=folder.trial),
                train=self._train,
                prepare=self._train_heads,
                at_once=config.tuner.at_once,
                directory=folder.path.resolve(),
            )
        best = None if is_worker() else best_trial(self.tuner.oracle)
        self._countdown = Countdown(
            noun="trial",
            objective=self._objective,
            total=None if isinstance(config.tuner, HyperbandTuner) else config.tuner.max_trials,
            n_workers=config.tuner.workers,
            sees_all=not is_worker(),
            best=best and best.score,
        )

    def run(self) -> None:
        """Run or resume all trials, the final training and the baselines; end the study also after an error."""
        settings, oracle = self._config.tuner, self.tuner.oracle
        if self._folder.has_trials:
            print_status(f"resumes the search in {self._folder.path}: {len(oracle.end_order)} trials have ended")
        else:
            self.tuner.save()
        status = "FAILED"
        try:
            distributed(
                lambda: self.tuner.run(max_failures=settings.max_failures),
                n_workers=settings.workers,
                # Some strategies would wait for its trial.
                lost=lambda name: oracle.ongoing_trials.pop(name, None),
            )
            if settings.final:
                self._train_best()
            if not self._folder.state.get("baselines"):
                self._train_baselines()
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self._end(status)

    def _train_heads(self, trials: Sequence[Trial]) -> None:
        """Train the heads of several trials side by side; each trial continues from its folder."""
        self._experiments = {}
        for trial in trials if len(trials) > 1 else ():
            with suppress(Exception):  # the trial itself fails with it
                self._experiments[trial.trial_id] = self._prepare(trial)
        self._share = train_heads(
            [
                Part(
                    learner=experiment.learner,
                    prepared=experiment.prepared,
                    config=experiment.config,
                    folder=self._run_folder(trial_id),
                )
                for trial_id, experiment in self._experiments.items()
                if not experiment.prepared.folds  # which a trial trains side by side itself
            ],
            description=f"trials {trial_number(trials[0].trial_id)} to {trial_number(trials[-1].trial_id)}",
            resume=True,
        )

    def _prepare(self, trial: Trial) -> Experiment:
        chosen = self._compose(overrides_of(trial.hyperparameters))
        config = replace(for_training(chosen), tracking=self._tracking(trial))
        return prepare_experiment(config, prepared=self._prepared_for(chosen))

    def _tracking(self, trial: Trial) -> TrackingConfig:
        number = trial_number(trial.trial_id)
        return replace(
            self._config.tracking,
            parent_run=self._parent_run,
            run_name=f"trial {number}: {self._name(trial)}",
            sweep_job=number - 1,
        )

    def _name(self, trial: Trial) -> str:
        first = sorted(overrides_of(trial.hyperparameters), key=lambda each: setting_label(each) != "lr")
        return short_name(first, length=NAME_LENGTH - len("trial 100: "))

    def _run_folder(self, trial_id: str) -> Path:
        return self._folder.trial(trial_id) / "run"

    def _train(self, trial: Trial) -> Mapping[str, float]:
        overrides = overrides_of(trial.hyperparameters)
        number, name, tracking = trial_number(trial.trial_id), self._name(trial), self._tracking(trial)
        values = trial.hyperparameters.values
        role = Role(
            tags={TRIAL_TAG: str(number)},
            parameters={f"trial/{key}": str(value) for key, value in values.items()} | self._choices(overrides),
            objective=lambda outcome: objective_of(outcome, self._objective),
            evidence=(CHOSEN,),
            draws=False,
        )
        output_dir = self._run_folder(trial.trial_id)
        self._countdown.begin(earlier=self._share)
        try:
            with log_to(output_dir / "train.log"), log_errors():
                experiment = self._experiments.pop(trial.trial_id, None) or self._prepare(trial)
                value = already_finished(experiment, output_dir, OBJECTIVE)
                if value is None:
                    result = train(experiment, output_dir=output_dir, quiet=True, role=role, resume=True)
                    value = objective_of(result.outcome, self._objective)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise  # not an error of the trial: it is repeated when the search is resumed
            record_failure(
                output_dir,
                str(tracking.run_name),
                tracking=tracking,
                reason=reason_of(error),
                tags=role.tags,
                parameters=role.parameters,
            )
            log.warning("trial %d failed: %s", number, reason_of(error))
            self._countdown.failed(number, name, reason_of(error))
            raise FailedTrialError(reason_of(error)) from error
        self._countdown.finished(number, name, value)
        return {self._objective: value}

    def _train_best(self) -> None:
        """Train the best configuration again and save its model, unless already done."""
        best, settings, state = best_trial(self.tuner.oracle), self._config.tuner, self._folder.state
        if best is None:
            return
        overrides = overrides_of(best.hyperparameters)
        final = state.get("final") or {}
        if final.get("overrides") == overrides and (final["test"] or not settings.final_test):
            return
        if settings.final_test:
            self._count_reading(state.get("test_readings", 0) + 1)
        tracking = replace(
            self._config.tracking,
            parent_run=self._parent_run,
            run_name=f"trial {trial_number(best.trial_id)}, trained again",
        )
        chosen = replace(
            for_training(self._compose(overrides)),
            tracking=tracking,
            log_model=True,
            evaluate_test=settings.final_test,
        )
        output_dir = self._folder.path / "final" / self._folder.trial(best.trial_id).name
        with log_to(output_dir / "train.log"), log_errors():
            # Not in the leaderboard, which has the trial.
            role = Role(
                tags={EXCLUDED_TAG: f"trial {trial_number(best.trial_id)} again"},
                parameters=self._choices(overrides),
                evidence=(CHOSEN,),
            )
            experiment = prepare_experiment(chosen, prepared=self._prepared_for(chosen))
            train(experiment, output_dir=output_dir, role=role, resume=True)
        final = {"overrides": overrides, "test": settings.final_test, "folder": str(output_dir)}
        self._folder.remember(final=final)

    def _choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return the choice of every group in a trial."""
        chosen = dict(override.split("=", 1) for override in overrides)
        return {group: chosen.get(group, choice) for group, choice in self._groups.items()}

    @property
    def _open_study(self) -> Study:
        """The study, which only the chief writes."""
        if isinstance(self._study, str):
            raise TypeError("a worker does not write the study")
        return self._study

    def _count_reading(self, readings: int) -> None:
        """Log how often the search evaluated on the test set, and warn from the second time on."""
        if readings > 1:
            print_status(
                f"tuner.final_test=true: this search has evaluated {readings} best trials on the test set; "
                "the best of these scores is optimistic"
            )
        self._folder.remember(test_readings=readings)
        self._open_study.tag("test_readings", str(readings))

    def _train_baselines(self) -> None:
        """Train the baselines, once in a search."""
        tracking = replace(self._config.tracking, parent_run=self._parent_run)
        config = replace(for_training(self._config), tracking=tracking)
        role = Role(objective=lambda outcome: objective_of(outcome, self._objective))
        train_baselines([config], folder=self._folder.path / "baselines", role=role)
        self._folder.remember(baselines=True)

    def _prepared_for(self, chosen: TrainConfig) -> Prepared | None:
        """Return the search's images if a trial uses the same ones."""
        config = self._config
        same = (chosen.data, chosen.split, chosen.debug) == (config.data, config.split, config.debug)
        return self._prepared if same else None

    def _end(self, status: str) -> None:
        """End all runs, log the report to the parent run, and print the leaderboard."""
        study, state = self._open_study, self._folder.state
        trials, final = trials_table(self.tuner.oracle), state.get("final") or {}
        deliver_all(patience=self._config.tracking.wait_seconds)
        final_run = Delivery(Path(final["folder"]), store=study.store).run_id if "folder" in final else None
        if len(trials):
            page = f"#/experiments/{study.run.experiment_id}/runs/{final_run}" if final_run else None
            artifacts = study.run.artifacts
            artifacts.mkdir(parents=True, exist_ok=True)
            description, score = write_search_report(
                trials, artifacts, config=self._config, overrides=self._compose.overrides, final_page=page
            )
            study.run.describe(description)
            study.run.log_metrics({} if score is None else {"objective": score}, prefix="best")
        best = best_trial(self.tuner.oracle)
        overrides = overrides_of(best.hyperparameters) if best else []
        finish_study(
            study,
            expected=None,
            interrupted=status == "KILLED",
            status=status,
            objective=self._objective,
            folder=self._folder.path.absolute(),
            best=best
            and {
                "trial": trial_number(best.trial_id),
                "score": best.score,
                "overrides": overrides,
                "trained_again": final_run if final.get("overrides") == overrides else None,
            },
        )
