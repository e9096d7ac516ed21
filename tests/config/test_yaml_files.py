"""YAML files that are broken, or that would take all memory, are refused in one line."""

import pytest
from commands import run

from bloodcell.config.yaml_files import MAX_BYTES, MAX_DEPTH, read_yaml
from bloodcell.errors import UserError
from bloodcell.search.folder import SearchFolder

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
HOSTILE = {
    "latin": (b"a: 1\nname: caf\xe9\n", ", line 2: "),
    "itself": (b"a: 1\nb: &b [*b]\n", ", line 2: "),
    "laughs": (LAUGHS.encode(), ", line 6: "),
    "merged": (LAUGHS.replace("[x, x]", "{x: 1, y: 2}").encode(), ", line 6: "),
    "deep": (b"a: " + b"[" * 5000 + b"]" * 5000, ", line 1: "),
    "open": (b"a: [1\nb: 2\n", ", line 2: "),
    "control": (b"a: \x00\n", ": "),
    "unhashable": (b"? [a]\n: 1\n", ", line 1: "),
    "no date": (b"a: 2020-99-99\n", ": "),
    "large": (b"a" * (MAX_BYTES + 1), ": "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_line(tmp_path, name):
    content, where = HOSTILE[name]
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_yaml(file)
    assert str(refused.value).startswith(f"{file}{where}")
    assert "\n" not in str(refused.value)


def test_references_and_depth_within_the_limits_are_read(tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text(f"a: &a [1, 2]\nb: [*a, *a]\nc: {'[' * (MAX_DEPTH - 2)}{']' * (MAX_DEPTH - 2)}\n")
    values = read_yaml(file)
    assert (values["a"], values["b"]) == ([1, 2], [[1, 2], [1, 2]])


@pytest.mark.parametrize("group", ["data", "experiment"])
@pytest.mark.parametrize("name", ["latin", "itself", "laughs", "deep", "unhashable"])
def test_a_hostile_choice_in_a_folder_of_ones_own_is_refused(tmp_path, group, name):
    file = tmp_path / "own" / group / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(HOSTILE[name][0])
    completed = run(["train", "-cd", str(tmp_path / "own"), f"{group}=mine"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: {file}, line ")
    assert completed.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("name", ["latin", "itself", "laughs", "deep"])
def test_a_hostile_state_of_a_search_is_refused(tmp_path, name):
    (tmp_path / "search.yaml").write_bytes(HOSTILE[name][0])
    with pytest.raises(UserError, match=rf"^{tmp_path / 'search.yaml'}, line \d: .*; remove the folder {tmp_path}$"):
        SearchFolder(tmp_path).require_usable()
