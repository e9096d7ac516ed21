"""Completing a command line in bash, zsh and fish.

Hydra completes overrides for a program that is one job. Here the job's name is completed first, word by word, then
taken out of the line that Hydra completes.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Sequence

from bloodcell.config.jobs import jobs, take_job
from bloodcell.errors import UserError


def complete(request: Sequence[str], hand_over: Callable[[str | None, Sequence[str]], None]) -> None:
    """Answer ``install=SHELL`` and ``uninstall=SHELL`` with a script, ``query=SHELL`` with what may stand next.

    The shells pass the line so far in the environment variable ``COMP_LINE``.
    """
    if len(request) != 1 or not (found := re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", request[0])):
        raise UserError("-sc takes install=SHELL or uninstall=SHELL, where SHELL is bash, zsh or fish")
    if found[1] != "query":
        hand_over(None, ["-sc", *request])
        return
    _, _, line = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    line = line.lstrip()
    if words := _next_words(line):
        print(*words, sep="\n" if found[2] == "fish" else " ")
        return
    with contextlib.suppress(UserError):
        job, words = take_job(line.split(" "))
        rest = " ".join(words)
        os.environ["COMP_LINE"] = f"bloodcell {rest}"
        own_choices = re.search(r"(?:^|\s)(?:-cd|--config-dir)[ =](\S+)", rest)
        flags = ["--config-dir", own_choices[1]] if own_choices else []
        # A line that is half written is no error: there is just nothing to offer.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception, SystemExit):
            hand_over(job, ["-sc", *request, *flags])


def _next_words(line: str) -> list[str]:
    """Return the words with which a line that ends within a job's name may go on."""
    before, blank, _ = line.rpartition(" ")
    names = [name.removeprefix(before + blank) for name in jobs() if name.startswith(line)]
    return list(dict.fromkeys(name.partition(" ")[0] for name in names))
