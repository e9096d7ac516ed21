"""The wheel of the package that a saved model carries."""

import subprocess
import sys
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution

import pytest
from commands import REPOSITORY

from bloodcell.serving.wheel import build_wheel


def test_the_same_code_gives_the_same_wheel_and_other_code_another_name(monkeypatch, tmp_path):
    name, content = build_wheel()
    assert build_wheel.__wrapped__() == (name, content)
    monkeypatch.setattr("bloodcell.serving.wheel._code", lambda: [("bloodcell/__init__.py", b"other")])
    other, _ = build_wheel.__wrapped__()
    assert other != name


def test_the_wheel_has_the_package_and_its_configuration(tmp_path):
    name, content = build_wheel()
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / name) as wheel:
        names = wheel.namelist()
        (metadata,) = (each for each in names if each.endswith(".dist-info/METADATA"))
        described = message_from_bytes(wheel.read(metadata))
    code = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "bloodcell").rglob("*.py")}
    conf = {f"bloodcell/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert code | conf | {"hydra_plugins/bloodcell_joblib.py", "bloodcell/experiments/best.yaml"} <= set(names)
    assert not [each for each in names if "__pycache__" in each or each.endswith((".png", ".ipynb"))]
    assert described["Version"] == distribution("bloodcell").version
    assert described.get_all("Requires-Dist") == distribution("bloodcell").requires


@pytest.mark.slow
def test_pip_installs_the_wheel_and_the_loader_is_imported_from_it(tmp_path):
    name, content = build_wheel()
    (tmp_path / name).write_bytes(content)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    python = tmp_path / "empty" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", tmp_path / name], check=True)
    # The dependencies are those of this environment, in which the package is a checkout.
    dependencies = str(next(path for path in sys.path if path.endswith("site-packages")))
    program = (
        f"import sys; sys.path.append({dependencies!r}); import bloodcell.serving.loader as loader; "
        "from bloodcell.config.conf_files import choices_of; print(loader.__file__); print(len(choices_of('backbone')))"
    )
    completed = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    file, n_choices = completed.stdout.split()
    assert file.startswith(str(tmp_path / "empty"))
    assert int(n_choices) == len(list((REPOSITORY / "conf" / "backbone").glob("*.yaml")))
