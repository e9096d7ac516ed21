"""Processes: exit on SIGTERM, and with the parent process."""

import os
import threading
import time


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised as Ctrl-C is, so that open files and runs are closed."""


def exit_with_parent(parent: int) -> None:
    """Exit within seconds after the parent process with this id has ended for any reason."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
