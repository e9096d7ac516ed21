"""``bloodcell data fetch`` as a user would run it, against a server of its own."""

import base64
import hashlib
import io
import shlex
import shutil
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import run
from kagglesdk import kaggle_env
from pictures import DATA

from bloodcell.data import kaggle

VERSION = 7


class Kaggle(ThreadingHTTPServer):
    """Answers as Kaggle does for one public set, and interrupts downloads as often as configured.

    Attributes
    ----------
    starts
        The byte that each answer began with.
    """

    def __init__(self, archive: bytes) -> None:
        super().__init__(("localhost", 0), Answer)
        self.archive = archive
        self.breaks_off = 0
        self.starts: list[int] = []
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        if self.path.endswith("GetDataset"):
            text = f'{{"currentVersionNumber": {VERSION}, "totalBytes": {len(self.server.archive)}}}'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        else:
            self.send_response(302)
            self.send_header("Location", "/archive.zip")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self) -> None:
        whole = self.server.archive
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(whole) - start))
        self.send_header("x-goog-hash", f"md5={base64.b64encode(hashlib.md5(whole).digest()).decode()}")
        self.end_headers()
        end = len(whole)
        if self.server.breaks_off:
            self.server.breaks_off -= 1
            end = (start + end) // 2
        with suppress(OSError):  # kagglehub asks once more, for the rest, when it knows the size
            self.wfile.write(whole[start:end])

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def tiny(bccd: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the tests' few images the set that is expected."""
    for name in kaggle.CONTENTS:
        folder = bccd / name
        content = kaggle.Content(len(list(folder.iterdir())), kaggle.digest_of(folder))
        monkeypatch.setitem(kaggle.CONTENTS, name, content)
    return bccd


@pytest.fixture
def server(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in tiny.glob("*/*/*"):
            archive.write(file, Path("dataset2-master/dataset2-master/images", file.relative_to(tiny)))
    with Kaggle(content.getvalue()) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        at(f"http://localhost:{started.server_port}", monkeypatch)
        yield started
        started.shutdown()


def at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put Kaggle at an address."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLEHUB_CACHE", "")
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)


def test_the_set_is_downloaded_checked_and_ready_to_be_used(server: Kaggle, tmp_path: Path) -> None:
    completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.startswith(f"Download    {len(server.archive) / 1e6:,.0f} MB, ")
    root = completed.stdout.split("data.root=")[1].strip()
    assert len(list(tmp_path.joinpath(root).glob("TRAIN/*/*.jpeg"))) == 40


def test_a_complete_set_is_not_downloaded_again(server: Kaggle, tmp_path: Path) -> None:
    run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    server.asked.clear()
    completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    assert (completed.returncode, server.asked) == (0, [])
    assert completed.stdout.startswith("Already there")
    assert run(["data", "fetch", "dir=cache", "force=true"], cwd=tmp_path).returncode == 0
    assert server.asked != []


def test_an_interrupted_download_is_resumed(server: Kaggle, tmp_path: Path) -> None:
    server.breaks_off = 1
    completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    assert completed.returncode == 2
    line = completed.stderr.splitlines()[-1]
    assert line.startswith("bloodcell: the download was interrupted (")
    server.starts.clear()
    completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    came = len(server.archive) // 2
    assert came - kaggle.CHUNK_BYTES < server.starts[-1] <= came


def test_a_different_set_is_an_error_in_one_line(server: Kaggle, tmp_path: Path) -> None:
    server.archive = server.archive.replace(b"TRAIN/MONOCYTE", b"TRAIN/MONOZYTE")
    completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "images/TRAIN/MONOCYTE: has 0 images, Kaggle's set has 10; " in completed.stderr.splitlines()[-1]


def test_without_a_network_one_line_says_how_to_add_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("localhost", 0))
        at(f"http://localhost:{closed.getsockname()[1]}", monkeypatch)
        completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    (line,) = completed.stderr.splitlines()
    assert completed.returncode == 2
    assert "cannot be reached (" in line
    assert f"download {kaggle.PAGE} in a browser on any machine, unpack it here as blood-cells" in line
    assert "data=bccd data.root=blood-cells" in line
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle, "TIMEOUT_S", 1.0)
    with socket.create_server(("localhost", 0)) as silent:
        at(f"http://localhost:{silent.getsockname()[1]}", monkeypatch)
        completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "cannot be reached (no answer in 1 s)" in completed.stderr


def test_without_kagglehub_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    completed = run(["data", "fetch", "dir=cache"], cwd=tmp_path)
    (line,) = completed.stderr.splitlines()
    assert completed.returncode == 2
    assert "pip install 'bloodcell[kaggle]'" in line


def test_a_folder_that_was_put_in_place_by_hand_is_checked(tiny: Path, tmp_path: Path) -> None:
    completed = run(["data", "fetch", f"root={tiny}"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert (
        f"bloodcell train data=bccd {shlex.quote(f'data.root={tiny}')}" in completed.stdout
    )  # a path with spaces, quoted
    assert "TEST   20 images: EOSINOPHIL 5," in completed.stdout


@pytest.mark.parametrize(
    ("tear", "message"),
    [
        (
            lambda file: file.write_bytes(file.read_bytes()[:-7]),
            "differs from Kaggle's set in the images of TEST/MONOCYTE; ",
        ),
        (lambda file: file.unlink(), "TEST/MONOCYTE: has 4 images, Kaggle's set has 5"),
        (lambda file: shutil.rmtree(file.parents[2]), "no such folder; download https://"),
        (lambda file: shutil.rmtree(file.parents[1]), "has no folders TRAIN and TEST"),
    ],
)
def test_an_incomplete_folder_is_an_error_in_one_line(
    tiny: Path, tmp_path: Path, tear: Callable[[Path], object], message: str
) -> None:
    shutil.copytree(tiny, tmp_path / "by hand")
    tear(next((tmp_path / "by hand" / "TEST" / "MONOCYTE").iterdir()))
    completed = run(["data", "fetch", "root=by hand"], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert message in line


@pytest.mark.real
def test_the_real_set_is_known(tmp_path: Path) -> None:
    completed = run(["data", "fetch", f"root={DATA}"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "TRAIN  9,957 images" in completed.stdout
