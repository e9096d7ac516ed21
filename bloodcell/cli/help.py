"""The text of ``bloodcell --help``."""

from bloodcell.config.jobs import jobs

OVERVIEW = """\
Train blood-cell image classifiers and compare them, without leakage.

Usage: bloodcell JOB [GROUP=CHOICE ...] [KEY=VALUE ...] [FLAGS]

Jobs:
{jobs}

Examples:
  bloodcell train data=bccd data.root=~/blood-cells backbone=xception
  bloodcell train -m data=bccd data.root=~/blood-cells backbone=mobilenetv2,xception,resnet50

Flags:
  JOB --help       what the job does, its groups and choices
  JOB --cfg job    every setting of the job and its value
  JOB --json       write the result (metrics, paths, run ids, errors) as one JSON document to standard output, and
                   everything else to standard error
  --version        the version of bloodcell

`eval "$(bloodcell -sc install=bash)"` makes the Tab key complete jobs, groups, choices and settings (also zsh, fish).
"""


def overview() -> str:
    """Return the text of ``bloodcell --help``."""
    lines = {name: docstring.partition("\n")[0] for name, docstring in jobs().items()}
    width = max(map(len, lines), default=0)
    return OVERVIEW.format(jobs="\n".join(f"  {name:{width}}  {line}" for name, line in lines.items()))
