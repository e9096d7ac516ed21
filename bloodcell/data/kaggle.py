"""Download and verify the Kaggle "Blood Cell Images" set.

kagglehub downloads it without an account, and resumes an interrupted download.
"""

import hashlib
import importlib
import os
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from bloodcell.console.progress import track
from bloodcell.data.folders import folder_errors
from bloodcell.data.loading import find_bccd, require_bccd
from bloodcell.errors import UserError

HANDLE = "paultimothymooney/blood-cells"
PAGE = f"https://www.kaggle.com/datasets/{HANDLE}"
IMAGES_BYTES = 104_326_737
"""Size of the files of TRAIN and TEST."""

TIMEOUT_S = 20.0
"""Time that Kaggle has to answer with the size of the set: kagglehub itself has no timeout."""

CHUNK_BYTES = 16 * 1024
"""Chunk size of kagglehub. A chunk that is interrupted is lost; with its default of 1 MiB, a download over a bad
connection would never end."""


@dataclass(frozen=True)
class Content:
    """The images of a class in a split: their number, and `digest_of` them."""

    n_images: int
    digest: str


CONTENTS = {
    "TRAIN/EOSINOPHIL": Content(2497, "100b598c7093a00f"),
    "TRAIN/LYMPHOCYTE": Content(2483, "338d4d44ed56c10c"),
    "TRAIN/MONOCYTE": Content(2478, "1fb2e390bdf4ef2d"),
    "TRAIN/NEUTROPHIL": Content(2499, "b2983b07e6588a1b"),
    "TEST/EOSINOPHIL": Content(623, "ac6f1caf55f4b035"),
    "TEST/LYMPHOCYTE": Content(620, "6426cd31032bec2a"),
    "TEST/MONOCYTE": Content(620, "841253d82de4acdd"),
    "TEST/NEUTROPHIL": Content(624, "162ff335f129c0c3"),
}
"""The set on which the results in bloodcell's documentation were measured."""


def by_hand(folder: Path) -> str:
    """Return instructions to put the set into a folder without this machine's network."""
    return (
        f"download {PAGE} in a browser on any machine, unpack it here as {folder}, and use "
        f"data=bccd data.root={folder} (`bloodcell data fetch root={folder}` checks it)"
    )


def cache_folder(folder: str | Path | None) -> Path:
    """Return the folder of kagglehub's downloads: the given one, or its default."""
    named = folder or os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub"
    return Path(named).expanduser()


def find_downloaded(cache: Path) -> Path | None:
    """Return the newest complete copy of the set in kagglehub's cache, or None."""
    versions = cache.joinpath("datasets", *HANDLE.split("/"), "versions")
    numbered = sorted((path for path in versions.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    for path in reversed(numbered):
        if (folder := find_bccd(path)) is not None:
            with suppress(UserError):
                return verify(folder)
    return None


def ask_size() -> int | None:
    """Ask Kaggle for the size of the archive in bytes; None if Kaggle does not give it.

    Raises
    ------
    UserError
        If kagglehub is not installed, or Kaggle does not answer within `TIMEOUT_S`.
    """
    _kagglehub()
    from kagglehub.clients import build_kaggle_client
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = HANDLE.split("/")

    def ask() -> int:
        with build_kaggle_client() as client:
            return int(client.datasets.dataset_api_client.get_dataset(request).total_bytes)

    return _with_timeout(ask) or None


def download(cache: Path, *, again: bool) -> Path:
    """Download and unpack the set, or resume an interrupted download.

    The folder of the unpacked archive, in a `cache_folder`, is returned. If it is there, it is downloaded ``again``
    only on request.

    Raises
    ------
    UserError
        If kagglehub is not installed, the download is interrupted, or the file is not an archive.
    """
    os.environ["KAGGLEHUB_CACHE"] = str(cache)
    try:
        return Path(_kagglehub().dataset_download(HANDLE, force_download=again))
    except Exception as error:
        if _is_network_error(error):
            raise UserError(f"the download was interrupted ({_short(error)}); the same command resumes it") from error
        if isinstance(error, zipfile.BadZipFile | ValueError):
            archives = cache.joinpath("datasets", *HANDLE.split("/"))
            raise UserError(
                f"the downloaded file is not an archive ({_short(error)}); remove {archives} and start again"
            ) from error
        raise


def verify(root: str | Path) -> Path:
    """Check that a folder contains the set, complete and unchanged.

    The folder of ``TRAIN`` and ``TEST`` is returned.

    Raises
    ------
    UserError
        If there is no such folder, or it contains other images.
    """
    folder = require_bccd(root, setting="root", advice=by_hand(Path(root).expanduser()))
    with folder_errors(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, content in CONTENTS.items():
            if (n_images := len(_images(folder / name))) != content.n_images:
                raise UserError(
                    f"{folder / name}: has {n_images:,} images, Kaggle's set has {content.n_images:,}; "
                    "download it again with `bloodcell data fetch force=true`, or unpack the archive again"
                )
        digests = pool.map(digest_of, (folder / name for name in CONTENTS))
        checked = track(zip(CONTENTS, digests, strict=True), "checking images", total=len(CONTENTS))
        changed = [name for name, digest in checked if digest != CONTENTS[name].digest]
    if changed:
        raise UserError(
            f"{folder}: differs from Kaggle's set in the images of {', '.join(changed)}; download it again with "
            "`bloodcell data fetch force=true`, or use it as it is and expect other results"
        )
    return folder


def digest_of(folder: Path) -> str:
    """Return 16 hexadecimal digits that change with the name or content of any image in a folder."""
    digest = hashlib.sha256()
    for file in _images(folder):
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.jpeg"))


def _kagglehub() -> ModuleType:
    os.environ.setdefault("KAGGLEHUB_VERBOSITY", "warning")  # only its progress bar
    try:
        kagglehub = importlib.import_module("kagglehub")
        importlib.import_module("kagglehub.clients").CHUNK_SIZE = CHUNK_BYTES  # type: ignore[attr-defined]
    except ImportError as error:
        raise UserError(
            "kagglehub is not installed: `pip install 'bloodcell[kaggle]'`, in a checkout `uv sync --extra kaggle`; or "
            + by_hand(Path("blood-cells"))
        ) from error
    return kagglehub


def _with_timeout(ask: Callable[[], int]) -> int:
    """Return the answer, or raise after a timeout; the waiting thread does not keep the program alive."""
    answer: Future[int] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answer.result(timeout=TIMEOUT_S)
    except NoAnswer as error:
        raise UserError(_unreachable(f"no answer in {TIMEOUT_S:.0f} s")) from error
    except Exception as error:
        if _is_network_error(error):
            raise UserError(_unreachable(_short(error))) from error
        if isinstance(error, ValueError):  # of a file with an account's key
            raise UserError(f"{_short(error)}; fix or remove it") from error
        raise


def _unreachable(reason: str) -> str:
    return f"Kaggle cannot be reached ({reason}); {by_hand(Path('blood-cells'))}"


def _is_network_error(error: BaseException) -> bool:
    from kagglehub.exceptions import DataCorruptionError
    from requests import RequestException

    return isinstance(error, RequestException | DataCorruptionError)


def _short(error: BaseException) -> str:
    """Return the innermost message of an error, shortened."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(error).split())[:120] or type(error).__name__
