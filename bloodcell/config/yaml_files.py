"""Read YAML files that are small, in UTF-8, and without references that grow without end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bloodcell.errors import UserError

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
"""Most values of a file, where each reference (``*name``) counts as what it refers to."""
MAX_DEPTH = 50

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file: plain values, lists and dictionaries.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UserError
        As `require_sound`.
    """
    require_sound(path)
    with _explained(path):
        return yaml.load(path.read_bytes(), Loader=LOADER)


def require_sound(path: Path) -> None:
    """Check that a YAML file can be read without much memory.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UserError
        If it cannot be read, is not YAML in UTF-8, is too large or nested too deeply, or refers to itself.
    """
    with _explained(path):
        _require_sound(path, path.read_bytes())


def _require_sound(path: Path, content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: has {len(content):,} bytes; a file of settings has at most {MAX_BYTES:,}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is not in UTF-8; save the file as UTF-8") from error
    sizes: dict[str, int] = {}
    inside = [("", 0)]  # the open collections, and the values in each
    for event in yaml.parse(text, Loader=LOADER):
        size, anchor = 0, str(getattr(event, "anchor", None) or "")
        match event:
            case yaml.CollectionStartEvent():
                inside.append((anchor, 1))
                if len(inside) > MAX_DEPTH:
                    raise UserError(f"{_where(path, event)}: is nested more than {MAX_DEPTH} levels deep")
            case yaml.CollectionEndEvent():
                anchor, size = inside.pop()
            case yaml.ScalarEvent():
                size = 1
            case yaml.AliasEvent():
                if anchor in [name for name, _ in inside]:
                    raise UserError(f"{_where(path, event)}: *{anchor} refers to itself; remove the reference")
                anchor, size = "", sizes.get(anchor, 1)
        if anchor and size:
            sizes[anchor] = size
        inside[-1] = (inside[-1][0], inside[-1][1] + size)
        if inside[-1][1] > MAX_VALUES:
            raise UserError(f"{_where(path, event)}: has more than {MAX_VALUES:,} values with its references")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UserError(f"{path}{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # a value that looks like a date can be none
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())})") from error


def _where(path: Path, event: Any) -> str:
    return f"{path}, line {event.start_mark.line + 1}"
