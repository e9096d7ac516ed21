"""Delivering the runs of this process in the background, so that no training waits for the store."""

import functools
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from bloodcell.console.progress import print_status
from bloodcell.tracking.delivery import Delivery
from bloodcell.tracking.store import reason_in_store
from bloodcell.wording import counted

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two deliveries of a running run."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most, while a store fails."""
LONGEST_PAUSE_AT_END = 4.0
"""The same while a command waits for the store at its end."""
SAY_AFTER, SAY_EVERY = 3.0, 10.0
"""Seconds until a message says that the command waits for the store, and between two of them."""


class Courier:
    """Delivers runs in a background thread, and tries again until each has ended and is delivered.

    Attributes
    ----------
    error
        Why the last attempt failed; empty if it did not.
    """

    def __init__(self) -> None:
        self.error = ""
        self._deliveries: dict[Path, Delivery] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._attempts = self._failures = self._waiting = 0
        self._failing_since: float | None = None

    def add(self, delivery: Delivery) -> Delivery:
        """Deliver a run from now on until it has ended and is delivered; return what delivers its folder."""
        with self._changed:
            kept = self._deliveries.setdefault(delivery.folder, delivery)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="courier", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return kept

    @property
    def has_running(self) -> bool:
        """Whether a run of this process has not ended."""
        with self._changed:
            return len(self._ended()) < len(self._deliveries)

    def flush(self, *, patience: float) -> list[Delivery]:
        """Wait until all runs that have ended are delivered; give up and return those that the store does not take.

        Parameters
        ----------
        patience
            The seconds that the store may fail without any success, also before this call.
        """
        say_at = time.monotonic() + SAY_AFTER
        with self._changed:
            attempts = self._attempts + 1  # one may be under way
            self._waiting += 1
            self._changed.notify_all()
            try:
                while self._ended():
                    self._changed.wait(timeout=0.2)
                    now = time.monotonic()
                    failing = 0.0 if self._failing_since is None else now - self._failing_since
                    if failing > patience and self._attempts > attempts:
                        break
                    if (left := self._ended()) and now > say_at:
                        say_at = now + SAY_EVERY
                        what = f"fails ({self.error}); tries again" if self.error else "sending results"
                        print_status(f"{left[0].store.label}: {what}, {counted(len(left), 'run')} left")
            finally:
                self._waiting -= 1
            given_up = self._ended()
            for each in given_up:
                del self._deliveries[each.folder]
            return given_up

    def _ended(self) -> list[Delivery]:
        return [each for each in self._deliveries.values() if each.ended]

    def _work(self) -> None:
        while True:
            with self._changed:
                deliveries = list(self._deliveries.values())
            succeeded = self._try_all(deliveries)
            with self._changed:
                for each in deliveries:
                    if each.complete and self._deliveries.get(each.folder) is each:
                        del self._deliveries[each.folder]
                self._note(succeeded)
                self._changed.notify_all()
                if succeeded and self._ended():
                    continue
                longest = LONGEST_PAUSE_AT_END if self._waiting else LONGEST_PAUSE
                pause = INTERVAL if succeeded else min(2.0 ** (self._failures - 1), longest)
                self._changed.wait(timeout=pause if self._deliveries else None)

    def _try_all(self, deliveries: Sequence[Delivery]) -> bool:
        """Deliver runs until one fails because of the store; return whether all succeeded."""
        succeeded = True
        for delivery in deliveries:
            before = delivery.steps
            try:
                delivery.deliver()
            except Exception as error:  # any error of the connection or the database
                succeeded = False
                self.error = reason_in_store(error)
                log.info("%s: not delivered yet (%s)", delivery.folder, self.error)
                if delivery.steps > before:
                    self._failing_since = None
                with self._changed:  # the others come first next time
                    if self._deliveries.pop(delivery.folder, None) is not None:
                        self._deliveries[delivery.folder] = delivery
                if not _is_refusal(error):
                    break
        return succeeded

    def _note(self, succeeded: bool) -> None:
        self._attempts += 1
        if succeeded:
            self._failing_since, self._failures, self.error = None, 0, ""
        else:
            self._failing_since = self._failing_since or time.monotonic()
            self._failures += 1


def _is_refusal(error: Exception) -> bool:
    """Return whether the store works, and refuses what it got."""
    return isinstance(error, MlflowException) and 400 <= error.get_http_status_code() < 500


@functools.cache
def courier() -> Courier:
    """Return the courier of this process."""
    return Courier()
