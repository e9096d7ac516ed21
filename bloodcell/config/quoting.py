"""Quote settings for Hydra and for shells."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

_PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)$)[a-z/][\w./ -]*(?<! )", flags=re.ASCII | re.IGNORECASE)
"""Text that Hydra reads without quotes."""


def override(name: str, value: str | Path) -> str:
    """Return ``NAME=VALUE`` for Hydra, with any value quoted as text: brackets, commas, quotes, ``${``."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{name}={text}"
    text = text.replace("${", r"\${")
    if "'" in text and not set(text) & set('"\\'):
        return f'{name}="{text}"'
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"{name}='{text}'"


def for_shell(words: Iterable[str]) -> str:
    """Return a command's words quoted for a shell."""
    return " ".join(map(_quoted, words))


def readable_overrides(overrides: str) -> str:
    """Make a name of overrides: ``backbone=xception,hyperparameters.seed=1`` becomes ``backbone=xception, seed=1``."""
    return ", ".join(short_override(override.strip()) for override in overrides.split(","))


def short_override(override: str) -> str:
    """Leave out plus signs and the groups that a setting is in: ``hyperparameters.seed=1`` becomes ``seed=1``."""
    return re.sub(r"\+*(?:[\w/@]+\.)+(?=\w+=)", "", override)


def _quoted(word: str) -> str:
    """Quote a word; a word with Hydra's quotes is easier to read than from `shlex`."""
    if "'" not in word or set(word) & set("!$`"):  # which shells replace between double quotes
        return shlex.quote(word)
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
