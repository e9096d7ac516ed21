"""Writing settings so that Hydra, and a shell, read them as they were meant."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

_PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)$)[a-z/][\w./ -]*(?<! )", flags=re.ASCII | re.IGNORECASE)
"""What Hydra takes for text as it stands."""


def override(name: str, value: str | Path) -> str:
    """Return ``NAME=VALUE`` for Hydra, the value as text, whatever is in it: brackets, commas, quotes, ``${``."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{name}={text}"
    text = text.replace("${", r"\${")
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"{name}='{text}'"


def for_shell(words: Iterable[str]) -> str:
    """Return a command's words as they are pasted into a shell."""
    return " ".join(map(_quoted, words))


def readable_overrides(overrides: str) -> str:
    """Make a name of overrides: ``backbone=xception,hyperparameters.seed=1`` becomes ``backbone=xception, seed=1``."""
    return ", ".join(short_override(override.strip()) for override in overrides.split(","))


def short_override(override: str) -> str:
    """Leave out the groups that a setting is in: ``hyperparameters.seed=1`` becomes ``seed=1``."""
    return re.sub(r"(?:[\w/@]+\.)+(?=\w+=)", "", override)


def _quoted(word: str) -> str:
    """Quote a word; one with Hydra's own quotes in it more readably than `shlex` does."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)
