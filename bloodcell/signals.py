"""SIGINT, SIGTERM and SIGHUP as exceptions, raised only where the main thread can be left.

Python calls the handler of a signal between any two instructions of the main thread. An exception there is lost in a
destructor, and crashes TensorFlow in functions that its C++ code calls. The handler looks at the interrupted code, and
waits while that is unsafe.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
LIBRARIES = frozenset({"tensorflow", "keras", "openvino", "ray"})
"""Packages in whose functions, and in functions that they call, no exception is raised."""
FORCE_AFTER = 20.0
"""Seconds after which an exception is raised anywhere."""
RETRY_EVERY = 0.02
"""Seconds between two looks at the interrupted code."""
IGNORE_FOR = 10.0
"""Seconds after an exception in which further signals are ignored, so that files and runs are closed."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, or SIGHUP of a lost terminal, as an exception, so open files and runs are closed."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number


class _Handler:
    """Handles the signals."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._since = self._raised = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._raised < IGNORE_FOR:
            return
        if self._received is None:
            self._received, self._since = number, now
            threading.Thread(target=self._repeat, daemon=True).start()
        if _is_safe(frame) or now - self._since > FORCE_AFTER:
            self.raise_received()

    def raise_received(self) -> None:
        """Raise the exception of a signal that was received."""
        if self._received is not None:
            number, self._received, self._raised = self._received, None, time.monotonic()
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def forget(self) -> None:
        """Forget a signal whose exception was not raised."""
        self._received = None

    def _repeat(self) -> None:
        """Send the signal again until its exception was raised."""
        while (number := self._received) is not None:
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            time.sleep(RETRY_EVERY)


_active: list[_Handler] = []


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT and `Terminated` on SIGTERM in the block.

    In another thread than the main one nothing changes, because only the main thread may set handlers. A signal
    that is ignored stays ignored, such as SIGINT in background jobs of a shell, and SIGHUP under ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler()
    numbers = [number for number in HANDLED if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    _active.append(handler)
    try:
        yield
    finally:
        _active.remove(handler)
        handler.forget()
        for number, previous in before.items():
            signal.signal(number, previous)


def raise_if_interrupted() -> None:
    """Raise the exception of a signal that was received; for code that libraries call, such as callbacks."""
    if _active and threading.current_thread() is threading.main_thread():
        _active[-1].raise_received()


def _is_safe(frame: FrameType | None) -> bool:
    """Return whether no function on the stack is a destructor, or of `LIBRARIES`."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "__del__" or package in LIBRARIES:
            return False
        frame = frame.f_back
    return True
