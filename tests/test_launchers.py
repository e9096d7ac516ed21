"""Sweeps past one process: joblib, Ray, Slurm's jobs run locally by Submitit, and Optuna, against real stores."""

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from clusters import (
    PASSWORD,
    documented,
    files_with,
    mlflow_server,
    object_store,
    postgresql,
    ray_cluster,
    wait_until,
)
from commands import REPOSITORY, run, small, start
from documents import BLOODCELL, commands_of
from stores import artifacts_of, runs_at, runs_in

from bloodcell.experiment.recorder import read_run

PAGE = commands_of((REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8"))
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
LAUNCHERS = {
    "joblib": ["launcher=joblib", "launcher.jobs=2"],
    "ray": ["launcher=ray"],
    "slurm": ["launcher=slurm", "launcher.local=true", "launcher.jobs=2"],
}
EPOCHS = 120  # some seconds
TRAIN_LONG = ["head=dense", "hyperparameters.early_stopping.patience=null"]


@pytest.fixture
def short():
    """A folder with a short name, which sockets need, that every user can enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def work(bccd, tmp_path):
    """A working folder with images in it, so that their address can be relative."""
    shutil.copytree(bccd, tmp_path / "work" / "images")
    return tmp_path / "work"


def needs_library_of(extra):
    """Skip a test if the library of a launcher or a sweeper is not installed."""
    library = {"slurm": "submitit"}.get(extra, extra)
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library} (`uv sync --group dev`)")


def started_sweep(launcher, work, short, *, epochs=EPOCHS):
    """Start a sweep of three runs; skip the test if the launcher's library is not installed."""
    needs_library_of(launcher)
    long = [*TRAIN_LONG, f"hyperparameters.epochs={epochs}"]
    words = ["train", "-m", *small("images"), *long, "hyperparameters.seed=0,1,2", *LAUNCHERS[launcher]]
    return start(words, cwd=work, RAY_TMPDIR=str(short))


def running(work, number):
    """Return whether a run of this number has started and not ended, as its folder says."""
    runs = [read_run(path.parent) for path in work.glob(f"multirun/*/*/{number}/run.json")]
    return any(run is not None and run["status"] == "RUNNING" for run in runs)


def process_of(work, number):
    """Return the process of a run."""
    (recorded,) = work.glob(f"multirun/*/*/{number}/run.json")
    return int(read_run(recorded.parent)["tags"]["bloodcell.process"])


def numbered(runs):
    """Return the runs of a sweep, without its parent, by their numbers."""
    return {run.data.tags["sweep_job"]: run for run in runs if "sweep_job" in run.data.tags}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_run_whose_process_is_killed_fails_and_the_others_finish(launcher, work, short):
    command = started_sweep(launcher, work, short)
    wait_until(lambda: running(work, 1))
    os.kill(process_of(work, 1), signal.SIGKILL)
    _, stderr = command.communicate(timeout=250)

    assert command.returncode == 1, stderr
    parent, *_ = runs = runs_in(work)
    children = numbered(runs)
    assert {number: child.info.status for number, child in children.items()} == {
        "0": "FINISHED",
        "1": "FAILED",
        "2": "FINISHED",
    }
    assert children["1"].data.tags["reason"]
    assert parent.data.metrics["runs/failed"] == 1
    assert len(pd.read_csv(artifacts_of(parent) / "leaderboard.csv")) == 2
    assert "Traceback" not in stderr
    if launcher != "slurm":  # its runs print into files
        assert f"2: head: epoch {EPOCHS}/{EPOCHS}" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_that_is_terminated_leaves_no_process(launcher, work, short):
    command = started_sweep(launcher, work, short, epochs=10_000)  # none may finish before it is ended
    wait_until(lambda: running(work, 0) and running(work, 1))
    processes = [process_of(work, number) for number in (0, 1)]
    command.send_signal(signal.SIGTERM)
    _, stderr = command.communicate(timeout=150)

    assert command.returncode == 143, stderr
    wait_until(lambda: not any(Path(f"/proc/{process}/exe").exists() for process in processes), seconds=30)
    wait_until(lambda: not processes_in(short), seconds=30)
    assert {child.info.status for child in runs_in(work)} == {"KILLED"}


def processes_in(folder):
    """Return the processes whose command names a folder, such as those of a Ray that was started in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in process.read_text(errors="replace"):
                found.append(process)
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["a shared folder", "folders of their own"])
def test_runs_on_a_cluster_reach_a_server_and_an_object_store_and_a_node_may_die(shared, work, short):
    needs_library_of("ray")
    with ExitStack() as stack:
        variables = stack.enter_context(object_store(short / "s3"))
        database = stack.enter_context(postgresql(short / "postgresql"))
        address, _ = stack.enter_context(
            mlflow_server(short / "server", database=database, artifacts="s3://runs", **variables)
        )
        cluster = stack.enter_context(ray_cluster(short, work=None if shared else work))
        command = start(
            [
                *(
                    "train",
                    "-m",
                    *small("images"),
                    *TRAIN_LONG,
                    "hyperparameters.epochs=300",
                    "hyperparameters.seed=0,1",
                ),
                *("launcher=ray", f"launcher.address={cluster.address}", "tracking=server"),
                f"tracking.uri={address.replace('://', f'://user:{PASSWORD}@')}",
            ],
            cwd=work,
            **cluster.variables,
        )
        nodes = [work] if shared else [cluster.folder / name / "work" for name in cluster.nodes]
        (folder,) = {*wait_until(lambda: [node for node in nodes if running(node, 0)])}
        wait_until(lambda: running(folder, 0) and len(runs_at(address)) == 3)
        cluster.kill_node_of(process_of(folder, 0))
        stdout, stderr = command.communicate(timeout=250)

        assert command.returncode == 0, stderr
        assert "run 0: its node died; starts again" in stderr
        runs = runs_at(address)
        children = numbered(runs)
        assert [children[number].info.status for number in ("0", "1")] == ["FINISHED", "FINISHED"]
        repeated = [run for run in runs if run.data.tags.get("aside") == "repeated"]
        assert len(repeated) == (0 if shared else 1)  # with the same folder, the run goes on
        assert len(runs) == 3 + len(repeated)
        assert "2 of 2 runs finished" in stdout
        for child in children.values():
            assert child.info.artifact_uri.startswith("mlflow-artifacts:")
            assert "predictions.parquet" in [
                file.path for file in mlflow.MlflowClient().list_artifacts(child.info.run_id)
            ]
        assert files_with(PASSWORD, work, short) == []
        assert PASSWORD not in stdout + stderr


def test_every_command_of_the_page_is_run_or_checked():
    """Those of bloodcell are checked in test_docs.py, those of Ray and MLflow run above."""
    others = [command for command in PAGE if not command.startswith(BLOODCELL)]
    assert [command.split()[:3] for command in others] == [
        ["uv", "sync", "--extra"],
        ["mlflow", "server", "--host"],
        ["export", "RAY_AUTH_MODE=token"],
        ["uv", "run", "ray"],
        ["uv", "run", "ray"],
        ["uv", "run", "ray"],
        ["podman", "build", "--tag"],
    ]
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    installed = others[0].split("--extra ")[1:]
    assert {extra.strip() for extra in installed} == set(extras) - {"export", "formats", "kaggle", "umap"}
    (build,) = [line for line in DOCKERFILE if line.startswith("RUN uv sync")]
    assert build.split("--extra ")[1:] == installed


@pytest.mark.slow
def test_ray_makes_a_token(tmp_path):
    needs_library_of("ray")
    command = documented("uv run ray get-auth-token", {})
    subprocess.run(command, env=os.environ | {"HOME": str(tmp_path)}, check=True, capture_output=True)
    assert len((tmp_path / ".ray" / "auth_token").read_text().strip()) == 64


@pytest.mark.slow
def test_what_the_container_runs_installs_bloodcell(tmp_path):
    """There is no container here: its files are copied and its commands are run, without what takes GB or minutes."""
    if shutil.which("uv") is None:
        pytest.skip("needs uv")
    image = tmp_path / "image"
    ignored = [line.removeprefix("**/") for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()]
    shutil.copytree(REPOSITORY, image, ignore=shutil.ignore_patterns(*ignored, ".pytest_cache", ".*_cache"))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for line in DOCKERFILE:
        if line.startswith("RUN uv "):
            command = line.removeprefix("RUN ").replace(" --extra cuda", "").replace(" --compile-bytecode", "")
            subprocess.run(shlex.split(command), cwd=image, env=environment, check=True, capture_output=True)
    program = [image / ".venv" / "bin" / "bloodcell"]
    shown = subprocess.run(
        [*program, "train", "launcher=ray", "--cfg", "job"], cwd=tmp_path, check=True, capture_output=True
    )
    assert b"name: ray" in shown.stdout
    subprocess.run([image / ".venv" / "bin" / "python", "-c", "import ray, submitit, optuna"], check=True)


@pytest.mark.slow
def test_jobs_of_slurm_get_credentials_through_the_environment_only(work, short):
    needs_library_of("slurm")
    with ExitStack() as stack:
        variables = stack.enter_context(object_store(short / "s3"))
        address, _ = stack.enter_context(mlflow_server(short / "server", artifacts="s3://runs", **variables))
        completed = start(
            [
                *("train", "-m", *small("images"), "head=dense", "hyperparameters.seed=0,1", *LAUNCHERS["slurm"]),
                *("tracking=server", f"tracking.uri={address.replace('://', f'://user:{PASSWORD}@')}"),
            ],
            cwd=work,
        )
        _, stderr = completed.communicate(timeout=250)

        assert completed.returncode == 0, stderr
        assert sorted(run.info.status for run in runs_at(address)) == ["FINISHED"] * 3
        assert [*work.glob("multirun/*/*/.submitit/*_submitted.pkl")]
        assert files_with(PASSWORD, work, short) == []


@pytest.mark.slow
def test_optuna_searches_in_a_sweep_under_one_parent(work):
    needs_library_of("optuna")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2"]
    space = ["head.l2=tag(log,interval(1e-4,1))", "augmentation=none,flips", "hyperparameters.batch_size=range(8,17,8)"]
    completed = run(["train", "-m", *small("images"), *space, *search, *LAUNCHERS["joblib"]], cwd=work)

    assert completed.returncode == 0, completed.stderr
    parent, *_ = runs = runs_in(work)
    children = numbered(runs)
    assert sorted(children) == ["0", "1", "2", "3", "4"]
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent.info.run_id}
    penalties = [float(child.data.params["head.l2"]) for child in children.values()]
    assert len(set(penalties)) == 5
    assert all(1e-4 <= penalty <= 1 for penalty in penalties)
    assert {child.data.params["hyperparameters.batch_size"] for child in children.values()} <= {"8", "16"}
    assert parent.data.metrics["best/val_accuracy"] == max(
        child.data.metrics["val/accuracy"] for child in children.values()
    )


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["launcher=ra"], "launcher=ra"),
        (["launcher=joblib", "launcher.jobs=0"], "launcher.jobs=0"),
        (["launcher=ray", "launcher.cpus=0"], "launcher.cpus=0"),
        (["launcher=ray", "launcher.gpus=-1"], "launcher.gpus=-1"),
        (["launcher=ray", "launcher.partition=long"], "launcher.partition"),
        (["launcher=slurm", "launcher.minutes=soon"], "launcher.minutes=soon"),
        (["launcher=slurm", "launcher.local=true", "launcher.options=[--qos]"], "launcher.options"),
        (["launcher=joblib,ray"], "launcher"),
        (["launcher=joblib", "launcher.jobs=1,2"], "launcher.jobs"),
        (["hydra/sweeper=optuna", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_starts(words, setting, bccd, tmp_path):
    completed = run(["train", "-m", *small(bccd), "hyperparameters.seed=0,1", *words], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert line.startswith(f"bloodcell: {setting}")
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_without_a_sweep_is_refused(bccd, tmp_path):
    completed = run(["train", *small(bccd), "launcher=joblib"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: launcher=joblib: ")


@pytest.mark.parametrize(
    ("choice", "module", "extra"),
    [
        ("launcher=ray", "ray", "ray"),
        ("launcher=slurm", "submitit", "slurm"),
        ("hydra/sweeper=optuna", "optuna", "optuna"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(choice, module, extra, bccd, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    completed = run(["train", "-m", *small(bccd), "hyperparameters.seed=0,1", choice], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert line.startswith(f"bloodcell: {choice}: ")
    assert f"pip install 'bloodcell[{extra}]'" in line
    assert list(tmp_path.iterdir()) == []


def test_slurm_is_refused_where_there_is_none(bccd, tmp_path, monkeypatch):
    needs_library_of("slurm")
    monkeypatch.setenv("PATH", "")
    completed = run(["train", "-m", *small(bccd), "hyperparameters.seed=0,1", "launcher=slurm"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: launcher=slurm: ")
    assert list(tmp_path.iterdir()) == []
