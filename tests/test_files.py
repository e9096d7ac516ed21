from pathlib import Path

import pytest

from bloodcell.files import atomic_write


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with atomic_write(path) as partial:
        partial.write_text("new, in part")
        assert path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("crash", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", ["old", None])
def test_a_crash_leaves_the_file_as_it_was(tmp_path: Path, crash: type[BaseException], before: str | None) -> None:
    path = tmp_path / "metrics.json"
    if before is not None:
        path.write_text(before)

    def write() -> None:
        with atomic_write(path) as partial:
            partial.write_text("half a li")
            raise crash

    with pytest.raises(crash):
        write()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_block_that_writes_nothing_does_not_lose_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old"


def test_the_temporary_file_is_in_the_same_folder_with_the_same_suffixes(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    with atomic_write(path) as partial:
        assert partial.parent == tmp_path
        assert partial.suffixes == [".weights", ".h5"]
        partial.touch()


def test_the_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.parquet"
    with atomic_write(path) as partial:
        partial.write_bytes(b"table")
    assert path.read_bytes() == b"table"


def test_two_writers_do_not_write_into_one_another(tmp_path: Path) -> None:
    path = tmp_path / "cache.parquet"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() in {"first", "second"}
    assert list(tmp_path.iterdir()) == [path]
