"""What limits a run, and what follows from it."""

from commands import REPOSITORY

from bloodcell.evaluation import evidence


def test_the_text_of_a_tag_is_read_back_the_most_serious_first_and_unknown_names_are_left_out():
    text = evidence.as_text(["single training", "leaky", "debug"])
    assert text == "debug, leaky, single training"
    assert evidence.from_text(text) == ("debug", "leaky", "single training")
    assert evidence.from_text("of another version, leaky") == ("leaky",)
    assert evidence.from_text("") == ()


def test_only_debug_runs_and_leaks_cannot_win():
    barred = {name for name in evidence.LIMITS if evidence.why_not_better([name])}
    assert barred == {"debug", "leaky"}


def test_four_limits_keep_a_model_out_of_the_registry():
    refused = {name for name in evidence.LIMITS if evidence.why_not_registered([name])}
    assert refused == {"debug", "leaky", "below the baseline", "only rendered cells"}


def test_the_table_of_the_documentation_is_that_of_the_code():
    page = (REPOSITORY / "docs" / "evidence.md").read_text(encoding="utf-8")
    rows = [f"| {name} | {limit.why} | {_yes(limit.can_win)} | " for name, limit in evidence.LIMITS.items()]
    ends = ["yes |" if limit.can_register else "only with `force=true` |" for limit in evidence.LIMITS.values()]
    assert "\n".join(map("".join, zip(rows, ends, strict=True))) in page
    assert all(
        f"`{limit.mark}` {name}" in " ".join(page.split()) for name, limit in evidence.LIMITS.items() if limit.mark
    )


def _yes(can: bool) -> str:
    return "yes" if can else "no"


def test_each_limit_is_explained_with_the_runs_that_have_it():
    lines = evidence.explained({"a": ["single training", "debug"], "b": ["single training"]})
    assert lines == ["† debug: a", "– single training: all runs"]
    many = {f"r{number}": ["leaky"] * (number > 0) for number in range(9)}
    assert evidence.explained(many) == ["* leaky: r1; r2; r3; r4; r5 and 3 more"]
