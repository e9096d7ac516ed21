"""One-line messages for values that a configuration's schema refuses."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bloodcell.config.jobs import command_name
from bloodcell.config.quoting import for_shell
from bloodcell.wording import counted

ABBREVIATIONS = {
    **dict.fromkeys(("lr", "learningrate"), "hyperparameters.learning_rate"),
    **dict.fromkeys(("bs", "batch", "batchsize"), "hyperparameters.batch_size"),
    "wd": "hyperparameters.weight_decay",
}
"""Other libraries' names of settings."""


def in_one_line(problems: Sequence[str]) -> str:
    """Return the first message, and the number of others."""
    first, *others = problems
    return f"{first} (and {counted(len(others), 'more error')})" if others else first


def settings(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything in nested mappings and lists, in order."""
    if isinstance(values, Mapping):
        items: Any = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    else:
        return
    for key, value in items:
        yield f"{prefix}{key}", value
        yield from settings(value, f"{prefix}{key}.")


def no_such_setting(key: str, job: str, names: Sequence[str]) -> str:
    """Return the message that a job has no such setting, with the nearest settings."""
    known = [name for name in names if name == ABBREVIATIONS.get(key.rpartition(".")[2].lower())]
    near = [name for name in names if name.endswith(f".{key}")] or known or get_close_matches(key, names, n=1)
    job = command_name(job)
    advice = f"did you mean {' or '.join(near)}?" if near else f"`bloodcell {job} --cfg job` lists its settings"
    return f"{key} is not a setting of {job}; {advice}"


def validation_message(error: ValidationError, job: str, values: Mapping[str, Any]) -> str:
    """Return the message for an error of a schema.

    Parameters
    ----------
    error
        The error that pydantic raised.
    job
        The job whose schema it is.
    values
        The refused configuration, as nested dictionaries and lists.
    """
    details = error.errors(include_url=False)
    # pydantic refuses a list with refused items once more, because it is too short without them.
    inner = [
        detail
        for detail in details
        if not any(other["loc"][: len(detail["loc"])] == detail["loc"] for other in details if other is not detail)
    ]
    # A misspelt key is also missing; its own message is more helpful, so it comes first.
    inner.sort(key=lambda detail: detail["type"] == "missing")
    names = [name for name, _ in settings(values)]
    names += [".".join(_path(detail, values)) for detail in inner if detail["type"] == "missing"]
    return in_one_line([_describe_one(detail, job, values, names) for detail in inner])


def _describe_one(detail: ErrorDetails, job: str, values: Mapping[str, Any], names: Sequence[str]) -> str:
    context = detail.get("ctx", {})
    path = _path(detail, values)
    key = ".".join(path)
    match detail["type"]:
        case "unexpected_keyword_argument":
            return no_such_setting(key, job, [name for name in names if name != key])
        case "missing":
            return f"{key} is missing; give {key}=VALUE"
        case "union_tag_not_found":
            key = f"{key}.{context['discriminator'].strip(chr(39))}"
            return f"{key} is missing; give {key}=VALUE"
        case "union_tag_invalid":
            key = f"{key}.{context['discriminator'].strip(chr(39))}"
            return f"{key}={context['tag']}: {_one_of(context['tag'], context['expected_tags'])}"
        case "literal_error":
            return f"{key}={_shown(detail['input'])}: {_one_of(detail['input'], context['expected'])}"
        case "string_type" if isinstance(detail["input"], int | float):
            words = [f"{key}='{_shown(detail['input'])}'"]
            return f"{key}={_shown(detail['input'])}: must be text; write {for_shell(words)}"
        case "tuple_type":
            return f"{key}={_shown(detail['input'])}: must be a list, for example [{_shown(detail['input'])}]"
        case "dataclass_type":
            return f"{key}={_shown(detail['input'])}: must be a group of settings, not one value"
        case "value_error":
            reason = str(context["error"])
            if not path or reason.startswith(f"{key}."):  # the reason names its settings itself
                return reason
        case _:
            reason = detail["msg"].replace("Input should be", "must be").replace("String should have", "must have")
            reason = reason.replace("Tuple should have", "must have").removesuffix(" after validation, not 0")
            reason = reason.partition(", unable to parse")[0]
    if isinstance(detail["input"], dict | list):
        return f"{key}: {reason}"
    return f"{key}={_shown(detail['input'])}: {reason}"


def _path(detail: ErrorDetails, values: Any) -> list[str]:
    """Return the keys of an error, without the names of union members that pydantic puts between them."""
    path = []
    for part in detail["loc"]:
        is_key = part in values if isinstance(values, dict) else isinstance(values, list) and isinstance(part, int)
        if is_key:
            values = values[part]
            path.append(str(part))
    if detail["type"] == "missing":
        path.append(str(detail["loc"][-1]))
    return path


def _one_of(value: object, expected: str) -> str:
    """Return the valid values, which pydantic lists as ``'a', 'b' or 'c'``, and the nearest."""
    names = [name.strip("'") for part in expected.split(", ") for name in part.split(" or ")]
    near = get_close_matches(str(value), names, n=1)
    return f"must be {expected.replace(chr(39), '')}" + (f"; did you mean {near[0]}?" if near else "")


def _shown(value: object) -> str:
    """Return a value as it is written on the command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case "":
            return "''"
        case _:
            return str(value)
