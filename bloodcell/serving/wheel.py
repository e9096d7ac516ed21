"""A wheel of the installed package, which a saved model carries as one of its requirements."""

import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, version
from pathlib import Path

from bloodcell.config.conf_files import conf_dir, experiments_dir

NAME = "bloodcell"
OLDEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the wheel: the same code gives the same bytes."""
FROM_METADATA = ("METADATA", "entry_points.txt", "licenses/LICENSE")


@cache
def build_wheel() -> tuple[str, bytes]:
    """Return the file name and the content of a wheel of the installed bloodcell.

    The build number in its name is the digest of its code, because MLflow and pip do not install a wheel again whose
    name they know.
    """
    release = f"{NAME}-{version(NAME)}"
    info = f"{release}.dist-info"
    files = dict(sorted(_code())) | {
        f"{info}/{name}": text.encode()
        for name in FROM_METADATA
        if (text := distribution(NAME).read_text(name)) is not None
    }
    digests = [(name, hashlib.sha256(content).hexdigest()) for name, content in files.items()]
    build = f"1_{hashlib.sha256(repr(digests).encode()).hexdigest()[:16]}"  # it must start with a digit
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: {build}\n".encode()
    )
    files[f"{info}/RECORD"] = "".join([*map(_recorded, files, files.values()), f"{info}/RECORD,,\n"]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return f"{release}-{build}-py3-none-any.whl", buffer.getvalue()


def _code() -> Iterator[tuple[str, bytes]]:
    """Yield the files of the package, its launcher, its configuration and its named experiments.

    In a checkout, the last two are next to the package; in the wheel, they are in it.
    """
    package = Path(__file__).resolve().parents[1]
    inside = {folder.name: folder for folder in (conf_dir(), experiments_dir())}
    found = [path for path in package.rglob("*") if path.relative_to(package).parts[0] not in inside]
    found += package.parent.glob(f"hydra_plugins/{NAME}_*.py")
    for path in found:
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(package.parent).as_posix(), path.read_bytes()
    for name, folder in inside.items():
        for path in folder.rglob("*.yaml"):
            yield f"{NAME}/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _recorded(name: str, content: bytes) -> str:
    digest = urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"
