"""The machine and the process that write a run, as tags."""

import os
import platform

HOST_TAG, PROCESS_TAG = "bloodcell.host", "bloodcell.process"


def process_tags() -> dict[str, str]:
    """Return tags with the names of this machine and of this process."""
    return {HOST_TAG: platform.node(), PROCESS_TAG: str(os.getpid())}
