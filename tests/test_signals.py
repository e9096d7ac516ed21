"""Signals are never lost, and never raise where that crashes or is ignored."""

import os
import signal
import time

import pytest

from bloodcell.signals import Terminated, raise_if_interrupted, signals_as_exceptions

EXCEPTIONS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated, signal.SIGHUP: Terminated}


@pytest.fixture(params=list(EXCEPTIONS))
def number(request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it in the background
    yield request.param
    signal.signal(signal.SIGINT, before)


def in_library(body):
    """Call a function from a function of Keras."""
    namespace = {"__name__": "keras.src.trainers", "body": body}
    exec("def fit():\n    body()", namespace)
    namespace["fit"]()


def raised_by(body):
    """Return the class of the exception that a function raises."""
    with pytest.raises(KeyboardInterrupt) as caught, signals_as_exceptions():
        body()
    return caught.type


def wait() -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        pass


def test_a_signal_in_a_destructor_is_raised_after_it(number):
    class Closing:
        def __del__(self):
            os.kill(os.getpid(), number)
            closed.append(True)

    def body():
        Closing()
        wait()

    closed = []
    assert raised_by(body) is EXCEPTIONS[number]
    assert closed == [True]


def test_a_signal_in_a_library_is_raised_after_it(number):
    def fit():
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        left.append(True)

    def body():
        in_library(fit)
        wait()

    left = []
    assert raised_by(body) is EXCEPTIONS[number]
    assert left == [True]


def test_a_signal_in_a_library_is_raised_where_a_callback_asks(number):
    def fit():
        os.kill(os.getpid(), number)
        raise_if_interrupted()
        left.append(True)

    left = []
    assert raised_by(lambda: in_library(fit)) is EXCEPTIONS[number]
    assert left == []


def test_files_are_closed_although_a_second_signal_comes(number):
    def body():
        try:
            os.kill(os.getpid(), number)
            wait()
        finally:
            os.kill(os.getpid(), number)
            time.sleep(0.1)
            closed.append(True)

    closed = []
    assert raised_by(body) is EXCEPTIONS[number]
    assert closed == [True]


def test_handlers_are_restored(number):
    before = signal.getsignal(number)
    with signals_as_exceptions():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before
