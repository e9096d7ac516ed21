"""The text of ``bloodcell --help``."""

from bloodcell.config.jobs import jobs

OVERVIEW = """\
Honest comparison of blood-cell image classifiers.

Usage: bloodcell JOB [GROUP=CHOICE ...] [KEY=VALUE ...] [FLAGS]

Jobs:
{jobs}

Examples:
  bloodcell train data=bccd data.root=~/blood-cells backbone=xception
  bloodcell train -m data=bccd data.root=~/blood-cells backbone=mobilenetv2,xception,resnet50

With --json a job writes what it comes to as one JSON document to the standard output, and all else to the error stream:
figures, paths, run ids and where they are tracked, of a sweep or a search its runs, and "error" where it went wrong.

`bloodcell JOB --help` says more; `eval "$(bloodcell -sc install=bash)"` makes the Tab key complete; --version.
"""


def overview() -> str:
    """Return what ``bloodcell --help`` says."""
    lines = {name: docstring.partition("\n")[0] for name, docstring in jobs().items()}
    width = max(map(len, lines), default=0)
    return OVERVIEW.format(jobs="\n".join(f"  {name:{width}}  {line}" for name, line in lines.items()))
