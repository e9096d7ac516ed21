"""Quote settings for Hydra and for shells."""

import itertools
import math
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


LABELS = {"learning_rate": "lr", "batch_size": "batch", "hidden_units": "units", "weight_decay": "decay"}
"""Short labels of settings in names of runs."""
NAME_LENGTH = 60
"""Characters of a name that the MLflow UI and a table still show."""


def readable_overrides(overrides: str) -> str:
    """Make a name of overrides: ``backbone=xception,hyperparameters.learning_rate=1e-4`` becomes ``xception, lr 1e-4``.

    Text without an equals sign stays as it is.
    """
    # A comma between brackets is part of a list.
    return short_name([part.strip() for part in re.split(r",(?![^\[{(]*[\]})])", overrides)])


def short_name(overrides: Iterable[str], *, length: int = NAME_LENGTH) -> str:
    """Return the settings of overrides as a name of at most so many characters; the last are left out."""
    parts = [short_setting(each) for each in overrides]
    kept = list(itertools.takewhile(lambda n: len(", ".join(parts[:n])) <= length - 3, range(1, len(parts) + 1)))
    return ", ".join(parts) if len(kept) == len(parts) else f"{', '.join(parts[: max(len(kept), 1)])} …"


def short_setting(override: str) -> str:
    """Return a choice as its name, ``xception``, and a setting as its label and value, ``lr 1e-4``."""
    _, equals, value = override.lstrip("+~").partition("=")
    if not equals:
        return override
    is_choice = re.fullmatch(r"(?!(?:true|false|null|none|auto)$)[a-z]\w*", value, flags=re.IGNORECASE)
    return value if is_choice else f"{setting_label(override)} {_short_number(value)}"


def setting_label(override: str) -> str:
    """Return the label of a setting: ``lr`` of ``hyperparameters.learning_rate=1e-4``."""
    name = re.split(r"[./@]", override.lstrip("+~").partition("=")[0])[-1]
    return LABELS.get(name, name)


def _short_number(value: str) -> str:
    """Return a number with three digits, such as ``3.49e-3``; other values as they are."""
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number) or re.fullmatch(r"-?\d+", value):
        return value
    if number != 0 and not 1e-2 <= abs(number) < 1e4:
        mantissa, _, exponent = f"{number:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{number:.3g}"


def _quoted(word: str) -> str:
    """Quote a word; a word with Hydra's quotes is easier to read than from `shlex`."""
    if "'" not in word or set(word) & set("!$`"):  # which shells replace between double quotes
        return shlex.quote(word)
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
