"""The classes of ``keras.applications``, read without importing Keras, which takes seconds."""

import ast
import functools
import importlib.util
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from bloodcell.errors import UserError

_SOURCE = "keras.src.applications."
_PUBLIC = "keras.applications."


@functools.cache
def applications() -> Mapping[str, str]:
    """Return every class and its module, for example ``{"Xception": "keras.applications.xception", ...}``.

    The class is an attribute of ``keras.applications``; the module has ``preprocess_input``, and not always the class.
    """
    keras = importlib.util.find_spec("keras")
    if keras is None or keras.origin is None:
        raise UserError("Keras is not installed: install bloodcell with its dependencies, for example by `uv sync`")
    listing = Path(keras.origin).parent / "applications" / "__init__.py"
    imports = (node for node in ast.parse(listing.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom))
    return MappingProxyType(
        {
            alias.name: _PUBLIC + node.module.removeprefix(_SOURCE)
            for node in imports
            if node.module is not None and node.module.startswith(_SOURCE)
            for alias in node.names
        }
    )


def application_name(name: str) -> str:
    """Return a class's name as Keras spells it; without Keras, which comparing runs does not need, the name itself.

    Parameters
    ----------
    name
        The name, in upper or lower case.

    Raises
    ------
    UserError
        If Keras has no such class; the message suggests similar names.
    """
    if importlib.util.find_spec("keras") is None:
        return name
    spellings = {known.lower(): known for known in applications()}
    if name.lower() in spellings:
        return spellings[name.lower()]
    near = [spellings[known] for known in get_close_matches(name.lower(), spellings, n=3)]
    advice = f"did you mean {' or '.join(near)}?" if near else f"they are {', '.join(spellings.values())}"
    raise UserError(f"backbone.name={name}: no class of keras.applications; {advice}")
