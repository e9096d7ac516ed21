"""Progress as plain lines."""

import itertools

from bloodcell.console import progress


def test_the_time_that_is_left_is_not_told_from_the_first_item(monkeypatch, capsys):
    seconds = itertools.accumulate([0, 1000, *[20] * 9])  # the first item loads a library
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    assert list(progress.track(range(10), "reading", total=10)) == list(range(10))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:4] == [
        "reading: 1 of 10",
        "reading: 2 of 10",
        "reading: 3 of 10, about 2 min left",
        "reading: 4 of 10, about 2 min left",
    ]
    assert lines[-1] == "reading: 10 of 10, about 0 s left"


def test_a_phase_is_named_before_it_starts_unless_it_is_one_of_many(capsys):
    with progress.phase("computing metrics"):
        assert capsys.readouterr().err == "computing metrics\n"
    with progress.phase("computing metrics", quiet=True):
        assert not capsys.readouterr().err
