"""A report says what a run knows, each number with the run that holds it, and invents nothing."""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import run, small_network
from mlflow import MlflowClient
from mlflow.entities import Run
from stores import artifacts_of, look_into, runs_in

from bloodcell.cards.report_answers import NOT_STATED

OWN = [
    "data.groups=pattern",
    "data.groups_pattern='(.+)'",
    "data.group_name=photograph",
    "backbone=morphology",
    "head=probe",
]
FILES = {"section.md", "section.tex", "checklist.md", "numbers.json", "flow.png", "flow.svg", "answers.yaml"}
ITEMS = {"claim": 44, "tripod-ai": 27}


@pytest.fixture(scope="module")
def folder(bccd, tmp_path_factory) -> Path:
    """A folder with a run, a cross-validation, a study, a leaky run and an audit."""
    folder = tmp_path_factory.mktemp("reported")
    data = ["data=bccd", f"data.root={bccd}"]
    for words in (
        ["train", *data, *OWN, "tracking.run_name='$single_100%_{a}'"],
        ["train", *data, *OWN, "split=group_kfold", "split.folds=3", "tracking.run_name=folds", "log_model=false"],
        ["train", "-m", *data, *OWN, "head.l2=0.01,1", "log_model=false"],
        ["train", *data, *OWN, "split=random", "tracking.run_name=by file", "log_model=false", "baselines=[]"],
        ["train", *data, *OWN[:3], *OWN[4:], "backbone=colour_histogram", "tracking.run_name=other", "baselines=[]"],
        ["train", *data, *OWN[3:], "data.groups=none", "tracking.run_name=unknown", "baselines=[]", "log_model=false"],
        ["audit", *data, *OWN[:3], "output=audit", "n_permutations=999"],
    ):
        completed = run(words, cwd=folder)
        assert completed.returncode == 0, completed.stderr
    ids = {each.info.run_name: each.info.run_id for each in runs_in(folder)}
    members = f"runs=[{ids['$single_100%_{a}']},{ids['other']}]"
    completed = run(["ensemble", members, "tracking.run_name=both"], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    return folder


@pytest.fixture
def runs(folder) -> dict[str, Run]:
    return {each.info.run_name: each for each in runs_in(folder)}


@pytest.fixture
def single(runs) -> str:
    return runs["$single_100%_{a}"].info.run_id


def study_of(runs: dict[str, Run]) -> str:
    return next(each.info.run_id for each in runs.values() if each.data.tags.get("study") == "sweep")


def reported(folder: Path, output: Path, *words: str) -> dict[str, Any]:
    completed = run(["report", *words, f"output={output}", "--json"], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def numbers_of(output: Path) -> list[dict[str, Any]]:
    return json.loads((output / "numbers.json").read_text(encoding="utf-8"))


def in_mlflow(entry: dict[str, Any]) -> Any:
    """Return what MLflow holds for an entry of numbers.json."""
    client = MlflowClient()
    stored = client.get_run(entry["run_id"])
    if "metric" in entry:
        return stored.data.metrics[entry["metric"]]
    if "tag" in entry:
        return stored.data.tags[entry["tag"]]
    if "param" in entry:
        values = [stored.data.params[name] for name in entry["param"].split(" + ")]
        return values[0].strip("[]") if isinstance(entry["value"], str) else sum(map(float, values))
    if "runs" in entry:
        children = client.search_runs([stored.info.experiment_id], f"tags.mlflow.parentRunId = '{entry['run_id']}'")
        same = f"tags.data_digest = '{stored.data.tags.get('data_digest')}' AND metrics.`test/accuracy` >= 0"
        counts = {
            "finished runs of the study": sum(each.info.status == "FINISHED" for each in children),
            "other runs of the study": sum(each.info.status != "FINISHED" for each in children),
            "members": len(stored.data.tags.get("members", "").split(", ")),
            "runs with its data digest and test metrics": len(client.search_runs([stored.info.experiment_id], same)),
        }
        return counts[entry["runs"]]
    path = artifacts_of(stored) / entry["artifact"]
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        finding = next(each for each in [*content["findings"], *content["clear"]] if each["code"] == entry["finding"])
        return finding["what"] if entry["key"] == "what" else finding["numbers"][entry["key"]]
    table = table_of(path)
    for column, value in entry["where"].items():
        table = table[table[column].astype(str) == value]
    if entry.get("wrong"):
        table = table[table["label"] != table["predicted"]]
    if "sensitivity_by_photograph" in entry:
        counts = {"right": int((table["label"] == table["predicted"]).sum()), "number": len(table)}
        return counts.get(entry["sensitivity_by_photograph"], entry["value"])
    return table[entry["count"]].nunique() if "count" in entry else table[entry["column"]].item()


@functools.cache
def table_of(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return with_predicted(table) if path.name == "predictions.parquet" else table


def with_predicted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean probabilities of each image, and its predicted class."""
    columns = [name for name in table.columns if name.startswith("p_")]
    means = table.groupby(["path", "label", "source", "split"], as_index=False)[columns].mean()
    classes = np.array([name.removeprefix("p_") for name in columns])
    return means.assign(predicted=classes[means[columns].to_numpy().argmax(axis=1)])


def require_numbers_of_mlflow(output: Path) -> list[dict[str, Any]]:
    """Compare every number of a report with MLflow, and with how it is written; return the numbers."""
    numbers = numbers_of(output)
    for entry in numbers:
        stored = in_mlflow(entry)
        if isinstance(entry["value"], str):
            assert entry["text"] == entry["value"], entry
            of_packages = [each.rpartition(" ")[2] for each in stored.split(", ")]
            assert entry["value"] in (of_packages if entry.get("tag") == "versions" else [stored]), entry
            continue
        assert entry["value"] == pytest.approx(stored, rel=1e-6, abs=1e-9), entry
        shown, scale = (entry["text"].rstrip(" %"), 100) if entry["text"].endswith("%") else (entry["text"], 1)
        decimals = len(shown.partition(".")[2])
        assert float(shown.replace(",", "")) == pytest.approx(scale * stored, abs=0.501 * 10**-decimals), entry
    return numbers


@pytest.mark.parametrize("checklist", ITEMS)
def test_a_run_alone_fills_three_of_five_items(folder, single, tmp_path, checklist):
    result = reported(folder, tmp_path, f"run={single}", f"checklist={checklist}")
    assert result["items"] == ITEMS[checklist] == sum(result["counts"].values())
    assert result["share_from_run"] == result["counts"]["run"] / ITEMS[checklist] >= 0.6
    assert result["counts"]["answers"] == 0
    assert {*result["files"]} >= FILES
    page = (tmp_path / "checklist.md").read_text(encoding="utf-8")
    items = {int(number) for number in re.findall(r"^\| (\d+)[a-g]? \|", page, flags=re.MULTILINE)}
    assert items == set(range(1, ITEMS[checklist] + 1))
    assert ("240300" in page) == (checklist == "claim")
    assert ("e078378" in page) == (checklist == "tripod-ai")


@pytest.mark.parametrize("name", ["$single_100%_{a}", "folds", "both", "study"])
def test_each_number_equals_the_one_in_mlflow(folder, runs, tmp_path, name):
    which = f"study={study_of(runs)}" if name == "study" else f"run={runs[name].info.run_id}"
    reported(folder, tmp_path, which, "audit=audit/audit.json", "checklist=tripod-ai")
    look_into(folder)
    numbers = require_numbers_of_mlflow(tmp_path)
    held = {entry.get("metric") for entry in numbers}
    assert {"val/accuracy", "val/accuracy_low", "test/accuracy", "test/majority_class/accuracy", "test/ece"} <= held
    assert any(entry.get("artifact") == "manifest.parquet" for entry in numbers)


def test_no_number_of_the_run_stands_without_a_link(folder, single, bccd, tmp_path):
    reported(folder, tmp_path, f"run={single}")
    content = (tmp_path / "section.md").read_text(encoding="utf-8")
    definitions = set(re.findall(r"^\[(r\d+)\]: ", content, flags=re.MULTILINE))
    assert set(re.findall(r"\]\[(r\d+)\]", content)) == definitions
    _, _, body = re.sub(r"^\[r\d+\]: .*$", "", content, flags=re.MULTILINE).partition("# Methods")
    bare = re.sub(r"\[[^\]]*\](\[r\d+\]|\(<[^>]*>\))|!\[[^\]]*\]\([^)]*\)", "", body)
    bare = re.sub(r"models:/\S+|\w+/[A-Z]+/\S+|[0-9a-f]{32}|^#+", "", bare, flags=re.MULTILINE)
    # What the method is, not what the run found.
    constant = (
        bccd.name,
        "95 %",
        "F1",
        "L2",
        "8 bits",
        "SHA-256",
        "ICML 2017",
        "1998",
        "1979",
        "(0 to 2)",
        "127.0.0.1",
    )
    for each in constant:
        bare = bare.replace(each, "")
    assert re.findall(r"\d+", bare) == []


def test_what_no_run_knows_is_not_stated_until_it_is_answered(folder, single, tmp_path):
    first = reported(folder, tmp_path, f"run={single}")
    section = (tmp_path / "section.md").read_text(encoding="utf-8")
    assert f"Ethics: {NOT_STATED}." in section
    assert {"ethics", "annotators", "eligibility", "intended_use", "reference_standard"} <= set(first["open_questions"])
    template = yaml.safe_load((tmp_path / "answers.yaml").read_text(encoding="utf-8"))
    assert list(template) == first["open_questions"]
    assert set(template.values()) == {None}
    answers = {"ethics": "Approved by *our* committee (no. 12_3), 50 % & more.", "annotators": "1. Two haematologists."}
    (tmp_path / "answers.yaml").write_text(yaml.safe_dump(template | answers), encoding="utf-8")
    second = reported(folder, tmp_path, f"run={single}", f"answers={tmp_path / 'answers.yaml'}")
    assert second["counts"]["answers"] == 1
    assert second["counts"]["run"] == first["counts"]["run"]
    assert set(first["open_questions"]) - set(second["open_questions"]) == set(answers)
    section = (tmp_path / "section.md").read_text(encoding="utf-8")
    assert r"Ethics: Approved by \*our\* committee (no. 12\_3), 50 % \& more." in section
    assert r"committee (no. 12\_3), 50 \% \& more." in (tmp_path / "section.tex").read_text(encoding="utf-8")
    assert yaml.safe_load((tmp_path / "answers.yaml").read_text(encoding="utf-8")) == template | answers


def test_a_template_never_replaces_a_file(folder, single, tmp_path):
    (tmp_path / "answers.yaml").write_text("ethics: mine\n", encoding="utf-8")
    reported(folder, tmp_path, f"run={single}")
    assert (tmp_path / "answers.yaml").read_text(encoding="utf-8") == "ethics: mine\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour: red\n", "answers={file}: colour: there is no such question; the keys are "),
        ("ethics: 12\n", "answers={file}: ethics: must be text, but is int; write it in quotes"),
        ("ethics: [a]\n", "answers={file}: ethics: must be text, but is list; write it in quotes"),
        ("- ethics\n", "answers={file}: must be a list of key: text"),
        ("ethics: [\n", "answers={file}, line "),
    ],
)
def test_answers_that_cannot_be_used_are_refused_before_anything_is_written(folder, single, tmp_path, content, message):
    file, output = tmp_path / "mine.yaml", tmp_path / "paper"
    file.write_text(content, encoding="utf-8")
    completed = run(["report", f"run={single}", f"answers={file}", f"output={output}"], cwd=folder)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: {message.format(file=file)}")
    assert completed.stderr.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run and study: give exactly one"),
        (["run=a", "study=b"], "run and study: give exactly one"),
        (["run=none"], "run=none: "),
        (["study=none"], "study=none: "),
        (["run=none", "answers=no.yaml"], "answers=no.yaml: there is no such file"),
        (["run=none", "checklist=stard"], "checklist"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(folder, tmp_path, words, message):
    completed = run(["report", *words, f"output={tmp_path / 'paper'}"], cwd=folder)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: ")
    assert message in completed.stderr
    assert completed.stderr.count("\n") == 1
    assert not (tmp_path / "paper").exists()


def test_an_audit_of_other_images_is_refused(folder, single, tmp_path):
    audit = json.loads((folder / "audit" / "audit.json").read_text(encoding="utf-8"))
    audit["facts"]["classes"] = "CAT, DOG"
    for name, content in (("other.json", json.dumps(audit)), ("broken.json", "{"), ("list.json", "[]")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        words = ["report", f"run={single}", f"audit={tmp_path / name}", f"output={tmp_path / 'paper'}"]
        completed = run(words, cwd=folder)
        assert completed.returncode == 2
        assert completed.stderr.startswith(f"bloodcell: audit={tmp_path / name}: ")
        assert completed.stderr.count("\n") == 1
    assert not (tmp_path / "paper").exists()


def test_a_study_reports_its_best_run_by_validation_and_all_others(folder, runs, tmp_path):
    study = study_of(runs)
    result = reported(folder, tmp_path, f"study={study}")
    members = [each for each in runs.values() if each.data.tags.get("mlflow.parentRunId") == study]
    best = max(members, key=lambda each: each.data.metrics["val/accuracy"])
    tied = [each for each in members if each.data.metrics["val/accuracy"] == best.data.metrics["val/accuracy"]]
    assert result["run_id"] in {each.info.run_id for each in tied}
    section = (tmp_path / "section.md").read_text(encoding="utf-8")
    assert "best by validation of the" in section
    for each in members:
        assert each.info.run_id in section


def test_a_cross_validation_says_that_metrics_are_out_of_fold(folder, runs, tmp_path):
    reported(folder, tmp_path, f"run={runs['folds'].info.run_id}")
    section = (tmp_path / "section.md").read_text(encoding="utf-8")
    assert "On validation, out of fold, accuracy" in section
    assert section.count("[fold ") == 3


def test_a_leaky_split_is_not_called_disjoint(folder, runs, tmp_path):
    reported(folder, tmp_path, f"run={runs['by file'].info.run_id}")
    section = (tmp_path / "section.md").read_text(encoding="utf-8")
    assert "The splits are not disjoint" in section
    assert "they are disjoint" not in section
    assert "Leaky: this run leaks" in section


def test_unknown_groups_leave_the_item_on_disjointness_open(folder, runs, tmp_path):
    reported(folder, tmp_path, f"run={runs['unknown'].info.run_id}")
    assert "Whether copies of one photograph are in several splits is unknown." in (tmp_path / "section.md").read_text(
        encoding="utf-8"
    )
    (row,) = re.findall(r"^\| 20 \|.*$", (tmp_path / "checklist.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert NOT_STATED in row


def test_an_ensemble_names_its_members(folder, runs, tmp_path):
    reported(folder, tmp_path, f"run={runs['both'].info.run_id}")
    section = (tmp_path / "section.md").read_text(encoding="utf-8")
    assert "The model is an ensemble of [2][r" in section
    assert "measurements of nucleus and cytoplasm" in section
    assert "a colour histogram" in section


def test_names_of_runs_are_escaped_in_latex_and_markdown(folder, single, tmp_path):
    reported(folder, tmp_path, f"run={single}")
    assert r"\$single\_100\%\_\{a\}" in (tmp_path / "section.tex").read_text(encoding="utf-8")
    assert r"[\$single\_100%\_{a}]" in (tmp_path / "section.md").read_text(encoding="utf-8")


def test_without_pandoc_there_is_no_docx_and_a_line_says_so(folder, single, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "section.docx").write_bytes(b"of an earlier section")
    result = reported(folder, tmp_path, f"run={single}")
    assert result["docx"] == "no section.docx, because pandoc is not installed"
    assert not (tmp_path / "section.docx").exists()


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="needs pandoc")
def test_pandoc_reads_the_latex_and_writes_the_docx(folder, single, tmp_path):
    result = reported(folder, tmp_path, f"run={single}")
    assert result["docx"] == "section.docx"
    words = ["pandoc", "--from=latex", "--to=plain", str(tmp_path / "section.tex")]
    read = subprocess.run(words, capture_output=True, check=True).stdout.decode()
    assert "Confusion matrix on test" in read


def test_a_network_is_described_with_its_settings(bccd, tmp_path):
    excluded = "TRAIN/EOSINOPHIL/_0_0.jpeg"
    (tmp_path / "exclude.csv").write_text(f"path,reason\n{excluded},not a cell\n", encoding="utf-8")
    words = ["train", *small_network(bccd), "hyperparameters.early_stopping.patience=3", "explain=none"]
    words.append("data.exclude_file=exclude.csv")
    completed = run(words, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    (trained,) = runs_in(tmp_path)
    result = reported(tmp_path, tmp_path / "paper", f"run={trained.info.run_id}")
    assert result["share_from_run"] >= 0.6
    look_into(tmp_path)
    held = {entry.get("param") for entry in require_numbers_of_mlflow(tmp_path / "paper")}
    assert {"backbone.input_size", "hyperparameters.learning_rate", "images.excluded"} <= held
    assert "not a cell" in (tmp_path / "paper" / "flow.svg").read_text(encoding="utf-8")
    section = (tmp_path / "paper" / "section.md").read_text(encoding="utf-8")
    assert "the convolutional network VGG16" in section
    assert "initialised at random" in section
