"""Errors that a user can cause and fix, and messages of errors without credentials."""

import re
from typing import ClassVar

HIDDEN = "***"
MAX_REASON = 500
_USER_INFO = re.compile(
    r"""(?<=://)(?:[^/@\s:]+:(?!\d+(?:[\s/?#]|$))[^'"\n]*|\S*)@"""  # passwords may have /, @ and spaces; ports are none
)
_BARE_USER_INFO = re.compile(r"""(?<![\w/])[^\s/:@'"=]+:[^\s/@'"]+@(?=\w)""")  # user:password@host
_SECRETS = re.compile(
    r"\b((?:[a-z0-9]+[_-])*(?:password|passwd|pwd|(?:access|auth|refresh)?token|(?:api|access)?key|(?:client)?secret\w*|"
    r"credentials?|signature|sig|odbc_connect))(=|%3D)[^&\s'\"]+",
    flags=re.IGNORECASE,
)


class UserError(Exception):
    """An error that the user can fix.

    Its message is one line: the file or setting, what is wrong, and what to do. The command line prints it without a
    traceback and exits with `exit_code`.
    """

    exit_code: ClassVar[int] = 2


class StoreLostError(UserError):
    """The MLflow store failed during a job; the message says where the job's results are."""

    exit_code: ClassVar[int] = 1


class FindingsError(UserError):
    """An audit has findings of the severity ``fail_on``; the message has the findings and the report."""

    exit_code: ClassVar[int] = 1


class SearchFailedError(UserError):
    """A search ended early; the message says why."""

    exit_code: ClassVar[int] = 1


def redact(text: str) -> str:
    """Return a text with the user names, passwords and tokens of all addresses in it hidden."""
    without_users = _BARE_USER_INFO.sub(f"{HIDDEN}@", _USER_INFO.sub(f"{HIDDEN}@", text))
    return _SECRETS.sub(rf"\1\2{HIDDEN}", without_users)


def one_line(error: BaseException) -> str:
    """Return an error's message as one line without credentials, of at most `MAX_REASON` characters."""
    return redact(" ".join(str(error).split()))[:MAX_REASON]


def reason_of(error: BaseException) -> str:
    """Return the type and the message of an error as one line without credentials."""
    line = one_line(error)
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
