"""The Kaggle "Blood Cell Images" set: getting it, and seeing that it is whole.

kagglehub downloads it; an account is not needed. It keeps the archive until all of it has come, so that a download
which broke off goes on where it stopped.
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
from bloodcell.data.loading import find_bccd
from bloodcell.errors import UserError

HANDLE = "paultimothymooney/blood-cells"
PAGE = f"https://www.kaggle.com/datasets/{HANDLE}"
IMAGES_BYTES = 104_326_737
"""What the files of TRAIN and TEST come to."""

PATIENCE_S = 20.0
"""How long Kaggle may take to say how large the set is: kagglehub itself would wait for as long as the system does."""

CHUNK_BYTES = 16 * 1024
"""How much kagglehub reads at a time. What it has not read to the end when a connection breaks is lost, and it reads
1 MiB at a time: on a line that breaks more often than that, a download would never end."""


@dataclass(frozen=True)
class Content:
    """What a class of one side holds: how many images, and the first digits of `digest_of` them."""

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
"""The set that every figure of bloodcell's pages was measured on."""


def by_hand(folder: Path) -> str:
    """Say in a sentence how to put the set into a folder without this machine's network."""
    return (
        f"download {PAGE} in a browser on any machine, unpack it here as {folder}, and go on with "
        f"data=bccd data.root={folder} (`bloodcell data fetch root={folder}` checks it)"
    )


def cache_folder(folder: str | Path | None) -> Path:
    """Return where kagglehub keeps what it downloads: the folder that is given, else its own."""
    named = folder or os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub"
    return Path(named).expanduser()


def find_downloaded(cache: Path) -> Path | None:
    """Return the newest whole copy of the set in kagglehub's cache, if there is one."""
    versions = cache.joinpath("datasets", *HANDLE.split("/"), "versions")
    numbered = sorted((path for path in versions.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    for path in reversed(numbered):
        if (folder := find_bccd(path)) is not None:
            with suppress(UserError):
                return verify(folder)
    return None


def ask_size() -> int | None:
    """Ask Kaggle how large the archive is.

    Returns
    -------
    int or None
        In bytes; None where Kaggle does not say.

    Raises
    ------
    UserError
        If kagglehub is not installed, or Kaggle does not answer within `PATIENCE_S`.
    """
    _kagglehub()
    from kagglehub.clients import build_kaggle_client
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = HANDLE.split("/")

    def ask() -> int:
        with build_kaggle_client() as client:
            return int(client.datasets.dataset_api_client.get_dataset(request).total_bytes)

    return _in_time(ask) or None


def download(cache: Path, *, again: bool) -> Path:
    """Download and unpack the set, going on where an earlier download broke off.

    Parameters
    ----------
    cache
        Where kagglehub is to keep it, see `cache_folder`.
    again
        Whether to download what is there already.

    Returns
    -------
    Path
        The folder that the archive was unpacked in.

    Raises
    ------
    UserError
        If kagglehub is not installed, the download breaks off, or what came is no archive.
    """
    os.environ["KAGGLEHUB_CACHE"] = str(cache)
    try:
        return Path(_kagglehub().dataset_download(HANDLE, force_download=again))
    except Exception as error:
        if _is_of_network(error):
            raise UserError(
                f"the download broke off ({_short(error)}); the same command goes on where it stopped"
            ) from error
        if isinstance(error, zipfile.BadZipFile | ValueError):
            archives = cache.joinpath("datasets", *HANDLE.split("/"))
            raise UserError(
                f"what Kaggle sent is no archive ({_short(error)}); remove {archives} and start again"
            ) from error
        raise


def verify(root: str | Path) -> Path:
    """See that a folder holds the set, whole and unchanged.

    Parameters
    ----------
    root
        As for `bloodcell.data.loading.load_bccd`.

    Returns
    -------
    Path
        The folder that holds ``TRAIN`` and ``TEST``.

    Raises
    ------
    UserError
        If there is no such folder, or it holds other images.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UserError(f"root={root}: no such folder; {by_hand(top)}")
    folder = find_bccd(top)
    if folder is None:
        raise UserError(f"root={root}: holds no folders TRAIN and TEST; give the folder that holds them")
    with folder_errors(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, content in CONTENTS.items():
            if (n_images := _count(folder / name)) != content.n_images:
                raise UserError(
                    f"{folder / name}: holds {n_images:,} images where Kaggle's set has {content.n_images:,}; "
                    "get it anew: `bloodcell data fetch force=true`, or unpack the archive again"
                )
        digests = pool.map(digest_of, (folder / name for name in CONTENTS))
        checked = track(zip(CONTENTS, digests, strict=True), "checking images", total=len(CONTENTS))
        changed = [name for name, digest in checked if digest != CONTENTS[name].digest]
    if changed:
        raise UserError(
            f"{folder}: as many images as Kaggle's set has, but other ones in {', '.join(changed)}; get it anew: "
            "`bloodcell data fetch force=true`, or train on it as it is, knowing that figures will differ"
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


def _count(folder: Path) -> int:
    return len(_images(folder))


def _kagglehub() -> ModuleType:
    os.environ.setdefault("KAGGLEHUB_VERBOSITY", "warning")  # it shows its bar, and says nothing
    try:
        kagglehub = importlib.import_module("kagglehub")
        importlib.import_module("kagglehub.clients").CHUNK_SIZE = CHUNK_BYTES  # type: ignore[attr-defined]
    except ImportError as error:
        raise UserError(
            "kagglehub is not installed: `pip install 'bloodcell[kaggle]'`, in a checkout `uv sync --extra kaggle`; or "
            + by_hand(Path("blood-cells"))
        ) from error
    return kagglehub


def _in_time(ask: Callable[[], int]) -> int:
    """Return the answer, or raise where none comes: a thread that waits for ever must not keep the program."""
    answer: Future[int] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answer.result(timeout=PATIENCE_S)
    except NoAnswer as error:
        raise UserError(_no_way_out(f"no answer in {PATIENCE_S:.0f} s")) from error
    except Exception as error:
        if _is_of_network(error):
            raise UserError(_no_way_out(_short(error))) from error
        if isinstance(error, ValueError):  # of a file with an account's key
            raise UserError(f"{_short(error)}; mend or remove it") from error
        raise


def _no_way_out(reason: str) -> str:
    return f"Kaggle cannot be reached ({reason}); {by_hand(Path('blood-cells'))}"


def _is_of_network(error: BaseException) -> bool:
    from kagglehub.exceptions import DataCorruptionError
    from requests import RequestException

    return isinstance(error, RequestException | DataCorruptionError)


def _short(error: BaseException) -> str:
    """Say the innermost reason of an error in a few words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(error).split())[:120] or type(error).__name__
