"""Runs of a store are read back as typed records, also those that other versions of bloodcell have made."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from bloodcell.comparison.run_tags import RunTags, common_group_name
from bloodcell.config.composition import compose_config
from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.errors import UserError
from bloodcell.tracking.runs import finished_run, run_or_none
from bloodcell.tracking.store import open_store


@pytest.fixture
def config(tmp_path):
    config = compose_config("train", ["data=bccd", "data.root=/cells", "head=dense", "head.hidden_units=[64,32]"])
    return replace(config, tracking=replace(config.tracking, dir=str(tmp_path / "mlruns")))


def kept(config, values: dict, **tags: str) -> str:
    """Keep a finished run with a configuration; return its id."""
    _, experiment_id = open_store(config.tracking)
    client = MlflowClient()
    run_id = client.create_run(experiment_id, run_name="frozen", tags=tags).info.run_id
    for name, value in parameters_of(config).items():
        client.log_param(run_id, name, value)
    client.log_text(run_id, yaml.safe_dump(values), "config.yaml")
    client.set_terminated(run_id)
    return run_id


def test_a_run_is_read_with_its_configuration_and_tags(config):
    run = run_or_none(kept(config, as_plain(config), leaky="false", seed="3", debug="true", group_name="patient"))
    assert run.config == config
    assert (run.name, run.status, run.tags.job, run.tags.fold) == ("frozen", "FINISHED", "train", None)
    assert (run.tags.leaky, run.tags.seed, run.tags.evidence, run.tags.group_name) == (
        "false",
        3,
        ("debug",),
        "patient",
    )
    assert run.parameters["head.hidden_units"] == "[64, 32]"


def test_a_setting_that_was_called_otherwise_before_is_read(config):
    values = as_plain(config)
    values["head"]["beside"] = values["head"].pop("extra_features")
    assert run_or_none(kept(config, values)).config == config


def test_the_metrics_and_versions_of_an_earlier_version_are_read(config):
    run_id = kept(config, as_plain(config), **{"version.keras": "3.1"})
    MlflowClient().log_metric(run_id, "baseline/test/accuracy", 0.25)
    run = run_or_none(run_id)
    assert run.metrics == {"test/majority_class/accuracy": 0.25}
    assert (run.tags.versions, run.tags.version_tag("keras")) == ({"keras": "3.1"}, "version.keras")
    run = run_or_none(kept(config, as_plain(config), versions="keras 3.15.1, scikit-learn 1.9"))
    assert (run.tags.versions["scikit-learn"], run.tags.version_tag("keras")) == ("1.9", "versions")


def test_of_other_settings_there_is_no_configuration_but_the_run_is_read(config):
    run = run_or_none(kept(config, as_plain(config) | {"of_an_earlier_version": 1}))
    assert run.config is None
    assert run.finished


def test_what_a_run_has_not_kept_is_refused_in_one_line(config):
    store, _ = open_store(config.tracking)
    run = finished_run(kept(config, as_plain(config)), store, setting="run")
    with pytest.raises(UserError, match=rf"runs={run.id}: has no predictions\.parquet"):
        _ = run.predictions
    assert run.models == run.folds == ()


def test_a_file_elsewhere_is_downloaded_without_asking_for_a_list_of_files(config, monkeypatch):
    run = run_or_none(kept(config, as_plain(config)))

    class Elsewhere:
        asked = 0

        def get_local_path(self, file: str) -> None:
            assert file == "config.yaml"

        def _download_file(self, file: str, path: str) -> None:
            self.asked += 1
            Path(path).write_text(yaml.safe_dump(as_plain(config)))

        def list_artifacts(self, path: str | None = None) -> None:
            raise AssertionError(path)

    elsewhere = Elsewhere()
    monkeypatch.setattr("bloodcell.tracking.runs.get_artifact_repository", lambda _: elsewhere)
    assert run.config == config
    assert elsewhere.asked == 1


def test_groups_of_several_names_are_called_groups():
    assert common_group_name([]) == "photograph"
    assert common_group_name([RunTags(group_name="patient")] * 2) == "patient"
    assert common_group_name([RunTags(group_name="patient"), RunTags()]) == "group"
