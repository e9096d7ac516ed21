"""Processes: how one ends when it is terminated, and when its parent is gone."""

import os
import threading
import time


class Terminated(KeyboardInterrupt):
    """SIGTERM, which unwinds as Ctrl-C does, so that open files and runs are closed."""


def end_with(parent: int) -> None:
    """End this process soon after its parent, given by its number, is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
