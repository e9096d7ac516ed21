"""Errors that a user can cause and mend."""

from typing import ClassVar


class UserError(Exception):
    """Something that the user can put right.

    Its message is one line that names the file or setting, what is wrong with it and what to do. The command line
    prints it without a traceback and ends with `exit_code`.
    """

    exit_code: ClassVar[int] = 2


class StoreLostError(UserError):
    """The store of runs went away in the middle of a job; the message says where the job's results are."""

    exit_code: ClassVar[int] = 1


class FindingsError(UserError):
    """An audit found what it was told to fail on; the message says what, and where the page is."""

    exit_code: ClassVar[int] = 1


class SearchFailedError(UserError):
    """A search ended before its time; the message says why."""

    exit_code: ClassVar[int] = 1
