"""Complete a command line in bash, zsh and fish.

Hydra completes overrides of programs that have one job. So the job's name is completed here, word by word, and then
removed from the line that Hydra completes.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Sequence

from bloodcell.config.jobs import jobs, split_job
from bloodcell.errors import UserError


def complete(request: Sequence[str], run_hydra: Callable[[str | None, Sequence[str]], None]) -> None:
    """Print a script for ``install=SHELL`` and ``uninstall=SHELL``, and the next words for ``query=SHELL``.

    Shells pass the line in the environment variable ``COMP_LINE``.
    """
    if len(request) != 1 or not (found := re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", request[0])):
        raise UserError("-sc: must be install=SHELL or uninstall=SHELL, where SHELL is bash, zsh or fish")
    if found[1] != "query":
        run_hydra(None, ["-sc", *request])
        return
    _, _, line = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    line = line.lstrip()
    if words := _next_words(line):
        print(*words, sep="\n" if found[2] == "fish" else " ")
        return
    with contextlib.suppress(UserError):
        job, words = split_job(line.split(" "))
        rest = " ".join(words)
        os.environ["COMP_LINE"] = f"bloodcell {rest}"
        own_choices = re.search(r"(?:^|\s)(?:-cd|--config-dir)[ =](\S+)", rest)
        flags = ["--config-dir", own_choices[1]] if own_choices else []
        # An incomplete line is no error: it has no completions.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception, SystemExit):
            run_hydra(job, ["-sc", *request, *flags])


def _next_words(line: str) -> list[str]:
    """Return the possible next words of a line that ends in a job's name."""
    before, blank, _ = line.rpartition(" ")
    names = [name.removeprefix(before + blank) for name in jobs() if name.startswith(line)]
    return list(dict.fromkeys(name.partition(" ")[0] for name in names))
