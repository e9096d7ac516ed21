import errno
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from bloodcell.cli.main import main, task
from bloodcell.config.jobs import jobs
from bloodcell.errors import UserError

HEAVY = ("tensorflow", "keras", "mlflow", "pandas", "sklearn")
ROOT = ("data=bccd", "data.root=/cells")
WITHOUT_STUDY = "~hydra.callbacks.study"  # MLflow's part in a sweep has tests of its own


@dataclass
class Result:
    code: object
    out: str
    err: str


@pytest.fixture
def bloodcell(capsys, monkeypatch, tmp_path):
    """The command line, run here in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("HYDRA_FULL_ERROR", "COMP_LINE"):
        monkeypatch.setenv(name, "")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(*words):
        code = 0
        try:
            main(words)
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield run
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


@pytest.fixture
def train(monkeypatch):
    """Put a function in the place of the job ``train``; what it was called with is returned."""

    def put(work=lambda config: None):
        calls = []

        def run(config, *, output_dir, **_):
            calls.append((config, output_dir))
            return work(config)

        module = ModuleType("bloodcell.jobs.train")
        module.run = run
        monkeypatch.setitem(sys.modules, "bloodcell.jobs.train", module)
        return calls

    return put


def imported_by(folder, *words):
    """Run the command line in a process of its own and return its exit code, error stream and imported modules."""
    code = (
        "import sys; from bloodcell.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as error: code = error.code\n"
        "else: code = 0\n"
        "open('modules', 'w').write(' '.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, set((folder / "modules").read_text().split())


def test_help_lists_every_job_and_what_it_does(bloodcell):
    for words in ([], ["--help"], ["-h"]):
        result = bloodcell(*words)
        assert result.code == 0
        for name, docstring in jobs().items():
            assert f"  {name} " in result.out
            assert docstring.partition("\n")[0] in result.out


def test_help_imports_nothing_heavy(tmp_path):
    code, _, modules = imported_by(tmp_path, "--help")
    assert code == 0
    assert not modules & {*HEAVY, "hydra", "omegaconf", "pydantic", "numpy"}


def test_version_is_the_packages(bloodcell):
    assert bloodcell("--version").out.startswith("bloodcell 0.")


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "bloodcell", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train?" in done.stderr
    assert ", ".join(jobs()) in done.stderr


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["data"], "data fetch?"),
        (["data", "ftch"], "data fetch?"),
        (["fetch"], "data fetch?"),
        (["data", "root=x"], "data fetch?"),
        (["data", "fetch", "rot=x"], "root?"),
        (["data", "fetch", "--frobnicate"], "bloodcell data fetch --help"),
        (["data", "fetch", "-m", "root=a,b"], "data fetch"),
    ],
)
def test_a_mistake_in_a_job_of_two_words_is_one_line(bloodcell, words, advice):
    result = bloodcell(*words)
    assert result.code == 2
    assert advice in result.err
    assert result.err.count("\n") == 1


def test_a_job_of_two_words_has_its_help(bloodcell):
    assert "Usage: bloodcell data fetch " in bloodcell("data", "fetch", "--help").out


def test_a_jobs_help_has_a_description_and_the_choices(bloodcell):
    out = bloodcell("train", "--help").out
    assert out.startswith(jobs()["train"].partition("\n")[0])
    assert "[mobilenetv2]" in out
    assert "Usage: bloodcell train " in out
    assert "[mobilenetv2]" not in bloodcell("ui", "--help").out


def test_what_hydra_offers_works(bloodcell):
    assert "learning_rate: 0.01\n" in bloodcell("train", "hyperparameters.learning_rate=1e-2", "--cfg", "job").out
    assert "name: Xception" in bloodcell("train", "--cfg", "job", "-p", "backbone", "backbone=xception").out
    assert "Config search path" in bloodcell("train", *ROOT, "--info", "searchpath").out
    assert "See https://hydra.cc" in bloodcell("train", "--hydra-help").out


def test_overrides_and_flags_come_in_any_order(bloodcell):
    out = bloodcell("train", "backbone=xception", "--cfg", "job", "hyperparameters.seed=7", "--resolve").out
    assert "name: Xception" in out
    assert "seed: 7" in out


def test_a_home_folder_is_found(bloodcell, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert "root: /home/someone/cells\n" in bloodcell("train", "data=bccd", "data.root=~/cells", "--cfg", "job").out


def test_a_folder_of_the_users_own_choices_is_used(bloodcell, tmp_path):
    folder = tmp_path / "own" / "head"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("pooling: both\nhidden_units: [7]\ndropout: 0.1\n", encoding="utf-8")
    assert "hidden_units:\n- 7\n" in bloodcell("train", "-cd", "own", "head=mine", "--cfg", "job", "-p", "head").out


def test_a_setting_that_the_users_own_file_leaves_out_has_its_default_and_can_be_given(bloodcell, tmp_path):
    folder = tmp_path / "own files" / "head"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("hidden_units: [7]\n", encoding="utf-8")
    own = ["train", "-cd", "own files", "head=mine"]
    refused = bloodcell(*own, "head.dropout=0.3")
    assert refused.code == 2
    assert refused.err.startswith("bloodcell: head.dropout: ")
    assert "head=mine" in refused.err
    assert "++head.dropout=" in refused.err
    assert "dropout: 0.3\n" in bloodcell(*own, "++head.dropout=0.3", "--cfg", "job", "-p", "head").out
    assert bloodcell(*own, "head.dropot=0.3").err.startswith("bloodcell: head.dropot is not a setting")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "data=bccd"], "data.root "),
        (["train", *ROOT, "split.fraction=2"], "split.fraction=2: "),
        (["train", "hyperparameters.epoch=2"], "hyperparameters.epoch "),
        (["train", "head=null"], "head=null: "),
        (["train", "--config-dir", "nowhere"], "Additional config directory "),
        (["train", "--config-name", "nothing"], "--config-name=nothing: "),
        (["train", "--frobnicate"], "--frobnicate: "),
        (["train", "--cfg", "all", "-m"], "--run, --multirun, --cfg, --info and --shell-completion: "),
        (["train", "--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs'"),
        (["train", "--resolve"], "--resolve: "),
        (["-sc", "install=tcsh"], "-sc: "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(bloodcell, tmp_path, words, message):
    result = bloodcell(*words)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith(f"bloodcell: {message}")
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["head=dense,linaer"], ["head=linaer: ", "linear?"]),
        (["head.dropout=0.1,0.2,1.5"], ["head.dropout=1.5: "]),
        (["backbone=mobilenetv2,application"], ["backbone.name ", "backbone=application)"]),
        (["finetune=gradual,none", "finetune.blocks=2"], ["finetune.blocks ", "finetune=gradual"]),
        (["head.dropout=interval(0,0.5)"], ["interval", "sweeper"]),
        (["hydra.sweeper._target_=a.Searcher", "head.dropout=interval(0,1.5)"], ["head.dropout=1.5: "]),
        (["hydra.sweeper._target_=a.Searcher", "head=dense,linear", "split.seed=0,-1"], ["split.seed=-1: "]),
    ],
)
def test_a_sweep_with_a_mistake_anywhere_does_not_start(bloodcell, train, tmp_path, words, parts):
    calls = train()
    result = bloodcell("train", "-m", *ROOT, *words)
    assert result.code == 2
    assert result.err.startswith(f"bloodcell: {parts[0]}")
    assert result.err.count("\n") == 1
    assert [part for part in parts if part not in result.err] == []
    assert calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_what_an_experiment_sweeps_is_found(bloodcell, train, tmp_path):
    folder = tmp_path / "own" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      head.dropout: 0.1,2\n"
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    calls = train()
    result = bloodcell("train", "-m", *ROOT, "-cd", "own", "experiment=mine")
    assert result.code == 2
    assert result.err.startswith("bloodcell: head.dropout=2: ")
    assert calls == []


def test_a_message_has_no_characters_that_a_terminal_obeys(bloodcell):
    result = bloodcell("train\x1b]0;title\x07\x9b31m")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.rstrip("\n").isprintable()


def test_a_mistake_is_refused_before_anything_heavy_is_imported(tmp_path):
    code, err, modules = imported_by(tmp_path, "train", *ROOT, "backbone=application", "backbone.name=Xcepton")
    assert code == 2
    assert "Xception" in err
    assert not modules & set(HEAVY)
    assert not (tmp_path / "outputs").exists()


def test_a_job_gets_its_checked_configuration_and_a_folder(bloodcell, train, tmp_path):
    calls = train()
    assert bloodcell("train", *ROOT, "backbone=xception", "hyperparameters.epochs=2").code == 0
    [(config, output_dir)] = calls
    assert (config.backbone.name, config.hyperparameters.epochs) == ("Xception", 2)
    assert output_dir.is_relative_to(tmp_path / "outputs")
    assert (output_dir / ".hydra" / "overrides.yaml").is_file()


def test_a_sweep_runs_every_combination(bloodcell, train, tmp_path):
    calls = train()
    words = (
        WITHOUT_STUDY,
        "baselines=[]",
        "head=dense,linear",
        "split.seed=1,2",
        "tracking.run_name=run-${hydra:job.num}",
    )
    assert bloodcell("train", "-m", *ROOT, *words).code == 0
    assert [(bool(config.head.hidden_units), config.split.seed) for config, _ in calls] == [
        (True, 1),
        (True, 2),
        (False, 1),
        (False, 2),
    ]
    assert [config.tracking.run_name for config, _ in calls] == ["run-0", "run-1", "run-2", "run-3"]
    assert [folder.name for _, folder in calls] == ["0", "1", "2", "3"]


def test_what_launchers_send_to_their_workers_is_found_by_its_name():
    assert pickle.loads(pickle.dumps(task)) is task


def raising(error):
    def work(config):
        raise error

    return work


def test_an_error_that_the_user_can_fix_is_one_line_also_inside_a_job(bloodcell, train):
    train(raising(UserError("/cells: no such folder\nat all")))
    result = bloodcell("train", *ROOT)
    assert result.code == 2
    assert result.err == "bloodcell: /cells: no such folder at all\n"


def test_a_full_disk_is_one_line_that_names_it(bloodcell, train):
    train(raising(OSError(errno.ENOSPC, "No space left on device", "/store/mlflow.db")))
    result = bloodcell("train", *ROOT)
    assert result.code == 1
    assert result.err.startswith("bloodcell: /store/mlflow.db: ")
    assert result.err.count("\n") == 1


def test_a_full_disk_is_recognised_behind_another_error(bloodcell, train, tmp_path):
    error = RuntimeError("cannot write")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    train(raising(error))
    result = bloodcell("train", *ROOT)
    assert result.code == 1
    assert "disk is full" in result.err


def test_any_other_error_keeps_its_traceback(bloodcell, train):
    train(raising(ValueError("a mistake in the program")))
    with pytest.raises(ValueError, match="a mistake in the program"):
        bloodcell("train", *ROOT)


@pytest.fixture
def interruptible():
    """Let Ctrl-C interrupt, as it does not where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
@pytest.mark.parametrize("flags", [(), ("-m", WITHOUT_STUDY)])
@pytest.mark.usefixtures("interruptible")
def test_a_signal_unwinds_the_job(bloodcell, train, number, code, line, flags):
    closed = []

    def work(config):
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            closed.append(True)

    train(work)
    before = signal.getsignal(signal.SIGTERM)
    result = bloodcell("train", *flags, *ROOT)
    assert (result.code, result.err) == (code, f"bloodcell: {line}\n")
    assert closed == [True]
    assert signal.getsignal(signal.SIGTERM) is before


BASH = """
eval "$(bloodcell -sc install=bash)"
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    COMP_WORDS=($COMP_LINE)
    [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    COMPREPLY=()
    hydra_bash_completion
    echo "${COMPREPLY[*]}"
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_jobs_groups_choices_and_settings(tmp_path):
    head = tmp_path / "own" / "head"
    head.mkdir(parents=True)
    (head / "denser.yaml").write_text("pooling: both\n", encoding="utf-8")
    expected = {
        "bloodcell tr": "train",
        "bloodcell da": "data",
        "bloodcell data ": "fetch",
        "bloodcell data fetch ro": "root=",
        "bloodcell train back": "backbone. backbone=",
        "bloodcell train backbone=mob": "backbone=mobilenetv2 backbone=mobilenetv2_inner backbone=mobilenetv3large",
        "bloodcell train hyperparameters.le": "hyperparameters.learning_rate=",
        f"bloodcell train -cd {tmp_path}/own head=d": "head=dense head=denser",
        "bloodcell train head=de(nse hyper": "",
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", BASH],
        input="\n".join(expected) + "\n",
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(zip(expected, done.stdout.split("\n"), strict=False)) == expected
    assert done.stderr == ""


def test_fish_and_zsh_are_answered_in_their_own_way(bloodcell, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "bloodcell ")
    first_words = dict.fromkeys(name.partition(" ")[0] for name in jobs())
    assert bloodcell("-sc", "query=fish").out.split("\n")[:-1] == list(first_words)
    monkeypatch.setenv("COMP_LINE", "bloodcell train data=")
    assert bloodcell("-sc", "query=fish").out == "data=bccd\ndata=folder\ndata=smears\ndata=table\n"
    monkeypatch.setenv("COMP_LINE", "bloodcell train data=")
    assert bloodcell("-sc", "query=zsh").out == "data=bccd data=folder data=smears data=table\n"
    assert "complete -c bloodcell " in bloodcell("-sc", "install=fish").out
