"""Processes: exit with another process, joblib's replaced workers, and threads of linear algebra."""

import functools
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import threadpool_limits


@functools.cache  # once for each process
def exit_with_parent(parent: int) -> None:
    """Exit within seconds after the parent process with this id has ended for any reason."""
    _exit_unless(lambda: os.getppid() == parent)


@functools.cache
def exit_with_process(process: int) -> None:
    """Exit within seconds after a process of this user, which need not be the parent, has ended for any reason."""

    def runs() -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return not _is_zombie(process)

    _exit_unless(runs)


def _is_zombie(process: int) -> bool:
    """Return whether a process has ended, and its parent has not noticed; False where there is no ``/proc``."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _exit_unless(condition: Callable[[], bool]) -> None:
    def watch() -> None:
        while condition():
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def expect_replaced_workers() -> None:
    """Ignore joblib's warning when it replaces a worker process whose memory grew by 300 MB, as TensorFlow's does.

    joblib warns in the thread that manages its workers. If warnings are errors, this ends the thread, and waiting for a
    result never ends.
    """
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the linear algebra of NumPy and SciPy use one thread in the block.

    OpenBLAS's threads wait for each other in a loop. If other programs use the cores, many small problems take up to 18
    times the processor time with two threads. The limit is one of the process: it ends with the last of the blocks that
    threads are in at the same time.
    """
    with _blas_lock:
        _blas_limits.append(threadpool_limits(limits=1, user_api="blas") if not _blas_limits else None)
    try:
        yield
    finally:
        with _blas_lock:
            first = _blas_limits[0]
            _blas_limits.pop()
            if not _blas_limits and first is not None:
                first.restore_original_limits()


_blas_lock = threading.Lock()
_blas_limits: list[threadpool_limits | None] = []
"""One entry for each block of `one_blas_thread`; the first has the limits from before."""
