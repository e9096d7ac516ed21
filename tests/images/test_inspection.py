import hashlib
import logging
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from bloodcell.files import cache_dir
from bloodcell.images import file_digests, inspection
from bloodcell.images.inspection import inspect
from bloodcell.images.reading import decode_image, read_file


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return a red, a bad and a blue image."""
    (tmp_path / "cells").mkdir()
    files = [tmp_path / "cells" / name for name in ("red.png", "bad.png", "blue.png")]
    Image.new("RGB", (4, 4), "red").save(files[0])
    files[1].write_bytes(b"not an image")
    Image.new("RGB", (4, 4), "blue").save(files[2])
    return files


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what has been decoded, as it grows."""
    seen: list[bytes] = []

    def decode(data: bytes) -> object:
        seen.append(data)
        return decode_image(data)

    monkeypatch.setattr(inspection, "decode_image", decode)
    return seen


def memory() -> Path:
    (file,) = (path for path in cache_dir().iterdir() if path.is_file())
    return file


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that have been read, as it grows; no file counts as recently changed."""
    seen: list[Path] = []

    def read(file: Path) -> bytes:
        seen.append(file)
        return read_file(file)

    monkeypatch.setattr(inspection, "read_file", read)
    return seen


def test_a_file_that_has_not_changed_is_not_read_again(
    files: list[Path], read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "TICK", -(10**10))
    first = inspect(files)
    assert set(read) == set(files)
    read.clear()
    assert inspect(files).equals(first)
    assert read == []


def test_a_file_changed_in_place_is_read_again_even_if_size_and_time_of_change_are_the_same(
    files: list[Path], read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "TICK", -(10**10))
    inspect(files)
    before = files[0].stat()
    content = bytearray(files[0].read_bytes())
    content[-1] ^= 1
    time.sleep(0.02)  # longer than a tick of the file system's clock
    files[0].write_bytes(content)
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    read.clear()
    table = inspect(files)
    assert read == files[:1]
    assert table["sha256"][0] == hashlib.sha256(content).hexdigest()


def test_a_file_that_was_changed_just_before_it_was_read_is_read_again(files: list[Path], read: list[Path]) -> None:
    inspect(files)
    read.clear()
    inspect(files)
    assert set(read) == set(files)


def test_a_torn_table_of_digests_is_made_again(
    files: list[Path], read: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_digests, "TICK", -(10**10))
    first = inspect(files)
    (table,) = (cache_dir() / "files").iterdir()
    table.write_bytes(b"PAR1")
    read.clear()
    assert inspect(files).equals(first)
    assert set(read) == set(files)
    (record,) = caplog.records
    assert str(table) in record.message
    read.clear()
    inspect(files)
    assert read == []


def test_every_file_has_its_digest_and_its_flaw(files: list[Path]) -> None:
    table = inspect(files)
    assert table["sha256"].tolist() == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert table["reason"].tolist() == ["", "not an image", ""]


def test_no_image_is_decoded_twice(files: list[Path], decoded: list[bytes]) -> None:
    first = inspect(files)
    assert len(decoded) == 3
    decoded.clear()
    assert inspect(files).equals(first)
    assert inspect(files[::-1])["reason"].tolist() == ["", "not an image", ""]
    assert decoded == []


def test_only_new_content_is_decoded_whatever_its_name(files: list[Path], decoded: list[bytes]) -> None:
    inspect(files)
    decoded.clear()
    files[0].rename(files[0].with_name("moved.png"))
    files[1].write_bytes(files[2].read_bytes())
    files[2].write_bytes(b"cut off")
    table = inspect([files[0].with_name("moved.png"), *files[1:]])
    assert table["reason"].tolist() == ["", "", "not an image"]
    assert decoded == [b"cut off"]


def test_what_was_known_before_is_kept_when_more_is_found(files: list[Path], decoded: list[bytes]) -> None:
    inspect(files[:1])
    inspect(files[1:])
    decoded.clear()
    inspect(files)
    assert decoded == []


def test_a_file_that_cannot_be_opened_is_tried_again_next_time(files: list[Path]) -> None:
    content = files[0].read_bytes()
    files[0].unlink()
    assert inspect(files)["reason"].tolist() == ["No such file or directory", "not an image", ""]
    files[0].write_bytes(content)
    assert inspect(files)["reason"].tolist() == ["", "not an image", ""]


@pytest.mark.parametrize("torn", [b"", b"PAR1", None])
def test_a_torn_cache_is_noticed_and_made_again(
    files: list[Path], decoded: list[bytes], torn: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    first = inspect(files)
    whole = memory().read_bytes()
    memory().write_bytes(whole[: len(whole) // 2] if torn is None else torn)
    decoded.clear()
    assert inspect(files).equals(first)
    assert len(decoded) == 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(memory()) in record.message
    decoded.clear()
    assert inspect(files).equals(first)
    assert decoded == []
    assert len(caplog.records) == 1


def test_a_cache_that_cannot_be_written_only_warns(
    files: list[Path], decoded: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_path: Path, *_: object, **__: object) -> None:  # taking the right away would not stop a superuser
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    for _ in range(2):
        assert inspect(files)["reason"].tolist() == ["", "not an image", ""]
    assert len(decoded) == 6
    assert len(caplog.records) == 2
    assert "cannot be written" in caplog.text
    assert "Permission denied" in caplog.text


def test_a_cache_folder_that_is_a_file_only_warns(
    files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert inspect(files)["reason"].tolist() == ["", "not an image", ""]
    assert "cannot be written" in caplog.text


def test_another_version_of_pillow_inspects_again(
    files: list[Path], decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect(files)
    decoded.clear()
    monkeypatch.setattr("PIL.__version__", "99.0.0")
    inspect(files)
    assert len(decoded) == 3


def test_no_files_are_an_empty_table() -> None:
    assert inspect([]).empty
