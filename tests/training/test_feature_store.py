"""The store returns exactly what was stored, whatever happens to its files."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bloodcell.training.feature_store import RECORD, FeatureStore, FeatureTable, StoreFullError, release_pages

WIDTH = 6
RECIPE = {"backbone": "Tiny", "boundary": "pooled"}


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", max_bytes=1e9)


def table_of(store: FeatureStore, **changes) -> FeatureTable:
    return store.table(RECIPE | changes, width=WIDTH, dtype="float32")


def keys(*numbers: int) -> list[tuple[bytes, int]]:
    return [(bytes([number]) * 32, number % 3) for number in numbers]


def rows(*numbers: int) -> np.ndarray:
    return np.array([np.arange(WIDTH) + 10 * number for number in numbers], np.float32)


def fill(table: FeatureTable, *numbers: int) -> None:
    with table.adding():
        table.add(keys(*numbers), rows(*numbers))


def held(table: FeatureTable, *numbers: int) -> list[bool]:
    """Return which rows are stored, after checking their values."""
    found, places = table.find(keys(*numbers))
    for number, place in zip(numbers, places, strict=True):
        if place >= 0:
            np.testing.assert_array_equal(found[place], rows(number)[0])
    return (places >= 0).tolist()


def folder_of(store: FeatureStore, table: FeatureTable):
    return store._folder / table.name


def test_rows_are_found_by_image_and_view_in_any_order(store):
    table = table_of(store)
    fill(table, 1, 2)
    fill(table, 3)
    assert held(table_of(store), 3, 9, 1, 2) == [True, False, True, True]
    assert table.find([(keys(1)[0][0], 7)])[1].tolist() == [-1]


def test_rows_are_memory_mapped(store):
    fill(table_of(store), 1)
    assert isinstance(table_of(store).find([])[0], np.memmap)


def test_recipes_have_separate_tables(store):
    fill(table_of(store), 1)
    assert held(table_of(store, boundary="block_3"), 1) == [False]
    assert store.table(RECIPE, width=WIDTH, dtype="float16").name != table_of(store).name


@pytest.mark.parametrize("part", ["rows", "index"])
@pytest.mark.parametrize("left", [0, 1, 30, 60])
def test_a_truncated_file_keeps_complete_rows_and_the_rest_can_be_added_again(store, part, left):
    table = table_of(store)
    fill(table, 1, 2, 3)
    file = folder_of(store, table) / part
    os.truncate(file, min(left, file.stat().st_size))
    whole = left // (WIDTH * 4 if part == "rows" else RECORD.itemsize)
    assert held(table, 1, 2, 3) == [number <= whole for number in (1, 2, 3)]
    fill(table, 1, 2, 3)
    assert held(table, 1, 2, 3) == [True] * 3


@pytest.mark.parametrize("part", ["rows", "index", "recipe.json"])
def test_a_missing_file_is_created_again(store, part):
    table = table_of(store)
    fill(table, 1)
    (folder_of(store, table) / part).unlink()
    assert held(table_of(store), 1) == [part == "recipe.json"]
    fill(table, 1)
    assert held(table, 1) == [True]


@pytest.mark.parametrize("part", ["rows", "index"])
def test_a_wrong_bit_invalidates_only_its_row(store, part):
    table = table_of(store)
    fill(table, 1, 2, 3)
    file = folder_of(store, table) / part
    intact = file.read_bytes()
    size = len(intact) // 3
    for place in range(size, 2 * size):
        file.write_bytes(intact[:place] + bytes([intact[place] ^ 16]) + intact[place + 1 :])
        assert held(table, 1, 2, 3) == [True, False, True]
    fill(table, 2)
    assert held(table, 1, 2, 3) == [True] * 3


def test_rows_without_records_are_ignored(store):
    table = table_of(store)
    fill(table, 1)
    with (folder_of(store, table) / "rows").open("ab") as file:
        file.write(b"torn" * 9)
    fill(table, 2)
    assert held(table, 1, 2) == [True, True]


ADD = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_feature_store import FeatureStore, fill, held, keys, rows, table_of
table = table_of(FeatureStore(Path(sys.argv[1]), max_bytes=1e9))
with table.adding() as waited:
    print("in", flush=True)
    if not all(held(table, 1, 2)):
        table.add(keys(1), rows(1))
        print("half", flush=True)
        time.sleep(float(sys.argv[2]))
        table.add(keys(2), rows(2))
print("waited" if waited else "did not wait", flush=True)
"""


def start_adding(folder, *, seconds: float) -> subprocess.Popen:
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", ADD, str(folder), str(seconds), here], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_add_in_turn_and_nothing_twice(tmp_path):
    store = FeatureStore(tmp_path / "features", max_bytes=1e9)
    first = start_adding(tmp_path / "features", seconds=3)
    assert [first.stdout.readline() for _ in range(2)] == ["in\n", "half\n"]
    second = start_adding(tmp_path / "features", seconds=0)
    output = second.communicate(timeout=60)[0].split("\n")
    first.communicate(timeout=60)
    assert "half" not in output
    assert "waited" in output
    assert held(table_of(store), 1, 2) == [True, True]
    assert store.usage()[0].rows == 2


def test_a_killed_process_leaves_its_rows_and_no_lock(tmp_path):
    first = start_adding(tmp_path / "features", seconds=60)
    assert [first.stdout.readline() for _ in range(2)] == ["in\n", "half\n"]
    first.kill()
    first.communicate()
    table = table_of(FeatureStore(tmp_path / "features", max_bytes=1e9))
    assert held(table, 1, 2) == [True, False]
    fill(table, 2)
    assert held(table, 1, 2) == [True, True]


def test_the_least_recently_used_table_is_removed(store):
    tables = [table_of(store, boundary=name) for name in "abc"]
    for age, table in zip((30, 10, 20), tables, strict=True):
        fill(table, 1, 2)
        os.utime(folder_of(store, table) / "recipe.json", (1e9 - age, 1e9 - age))
    assert [use.name for use in store.usage()] == [tables[place].name for place in (1, 2, 0)]
    new = table_of(store, boundary="new")
    store._max_bytes = sum(use.n_bytes for use in store.usage()) + 200
    store.make_room(300, for_table=new)
    assert {use.name for use in store.usage()} == {new.name, tables[1].name, tables[2].name}


def test_features_that_can_never_fit_remove_nothing(store):
    fill(table_of(store), 1)
    store._max_bytes = 1000
    with pytest.raises(StoreFullError, match=r"0\.0 GB allowed"):
        store.make_room(2000, for_table=table_of(store, boundary="new"))
    assert held(table_of(store), 1) == [True]


def test_a_table_that_is_being_added_to_is_not_removed(store):
    table = table_of(store)
    fill(table, 1)
    inside, done = threading.Event(), threading.Event()

    def add() -> None:
        with table_of(store).adding():
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=add)
    thread.start()
    inside.wait(30)
    assert not store.remove(table.name)
    done.set()
    thread.join()
    assert store.remove(table.name)
    assert store.usage() == []
    fill(table, 2)
    assert held(table, 1, 2) == [False, True]


def test_other_files_are_neither_counted_nor_removed(tmp_path):
    for name in ("photographs", "0123456789abcdef"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious.tif").write_bytes(bytes(900))
    store = FeatureStore(tmp_path, max_bytes=500)
    table = table_of(store)
    fill(table, 1)
    store.make_room(100, for_table=table)
    assert [use.name for use in store.usage()] == [table.name]
    assert not store.remove("photographs")
    assert not store.remove("0123456789abcdef")
    assert len(list(tmp_path.glob("*/precious.tif"))) == 2


def test_mapped_rows_remain_valid_without_the_index(store):
    table = table_of(store)
    fill(table, 1, 2)
    mapped, places = table.find(keys(1, 2))
    (folder_of(store, table) / "index").unlink()
    fill(table, 3)
    np.testing.assert_array_equal(mapped[places], rows(1, 2))
    assert held(table, 1, 2, 3) == [False, False, True]


def test_a_table_that_another_process_removed_is_not_an_error(store):
    table = table_of(store)
    fill(table, 1)
    assert store.remove(table.name)
    assert store.remove(table.name)
    assert held(table, 1) == [False]
    fill(table, 1)
    assert held(table, 1) == [True]


def test_a_table_that_another_reads_is_not_removed(store):
    fill(table_of(store), 1)
    other = FeatureStore(store._folder)
    name = table_of(other).name
    assert not store.remove(name)
    assert held(table_of(store), 1) == [True]
    del other
    assert store.remove(name)
    assert store.usage() == []


def test_no_room_is_made_of_a_table_that_another_process_reads(store):
    fill(table_of(store), *range(20))
    program = (
        "import sys; from pathlib import Path; from bloodcell.training.feature_store import FeatureStore\n"
        f"store = FeatureStore(Path(sys.argv[1])); store.table({RECIPE!r}, width={WIDTH}, dtype='float32')\n"
        "print('reading', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(store._folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout.readline() == b"reading\n"
        new = table_of(store, boundary="new")
        store._max_bytes = sum(use.n_bytes for use in store.usage()) + 10
        with pytest.raises(StoreFullError):
            store.make_room(20, for_table=new)
        assert len(store.usage()) == 2
        reader.stdin.close()
    store.make_room(20, for_table=new)
    assert [use.name for use in store.usage()] == [new.name]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, to become another user")
def test_a_store_that_cannot_be_written_is_read(store, tmp_path):
    fill(table_of(store), 1)
    program = f"""
import sys
from pathlib import Path
from bloodcell.training.feature_store import FeatureStore, require_usable
folder = Path(sys.argv[1])
require_usable(folder)
table = FeatureStore(folder).table({RECIPE!r}, width={WIDTH}, dtype="float32")
print(table.find({keys(1)!r})[1][0])
try:
    with table.adding():
        print("written")
except OSError as error:
    print(error.filename)
try:
    require_usable(folder.parent / "none")
except OSError as error:
    print(error.errno)
"""
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(0o755)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    command = [*nobody, sys.executable, "-c", program, str(store._folder)]
    completed = subprocess.run(command, capture_output=True, text=True)
    if completed.returncode == 126:
        pytest.skip("this Python is not for other users")
    shown = completed.stdout.splitlines()
    assert shown[0] == "0"
    assert shown[1].startswith(str(store._folder))
    assert shown[2] == "13"


def test_rows_can_be_read_after_their_pages_were_released(store):
    table = table_of(store)
    fill(table, 1, 2)
    mapped, places = table.find(keys(1, 2))
    release_pages()
    np.testing.assert_array_equal(mapped[places], rows(1, 2))
