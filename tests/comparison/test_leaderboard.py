"""The leaderboard of a study."""

from bloodcell.comparison.leaderboard import MAX_SHOWN, Entry, leaderboard, notes
from bloodcell.comparison.run_tags import RunTags


def entries(n: int) -> list[Entry]:
    return [
        Entry(
            run=f"run {number}",
            run_id=str(number),
            status="FINISHED",
            reason="",
            metrics={"val/accuracy": number / n},
            tags=RunTags(leaky="false"),
        )
        for number in range(n)
    ]


def test_a_long_leaderboard_has_all_runs_and_a_note_on_those_that_are_not_shown():
    table = leaderboard(entries(MAX_SHOWN + 10))
    assert len(table) == MAX_SHOWN + 10
    assert table["run"][0] == f"run {MAX_SHOWN + 9}"
    (note,) = notes(table)
    assert f"{MAX_SHOWN} of {MAX_SHOWN + 10}" in note
    assert notes(leaderboard(entries(MAX_SHOWN))) == []
