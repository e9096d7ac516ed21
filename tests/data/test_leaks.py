import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell.data.groups import sources_in_several_groups
from bloodcell.data.leaks import (
    Leakage,
    find_shared_groups,
    resolve_leaks,
    shared_groups_in_folds,
    untextured_across,
    untextured_sentence,
)
from bloodcell.errors import UserError

ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.sampled_from("123456"), st.sampled_from(["train", "val", "test"]), st.just("A")
    ),
    min_size=1,
    max_size=12,
)


def manifest_of(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Make a manifest of rows of (group, sha256, split, label)."""
    table = pd.DataFrame(rows, columns=["group", "sha256", "split", "label"])
    return table.assign(
        source=table["group"], path=[f"{split}/{number}.png" for number, split in enumerate(table["split"])]
    )


CLEAN = manifest_of(("a", "1", "train", "A"), ("a", "2", "train", "A"), ("b", "3", "val", "A"), ("c", "4", "test", "A"))
ACROSS = manifest_of(
    ("a", "1", "train", "A"),
    ("a", "2", "train", "A"),
    ("b", "3", "train", "A"),
    ("c", "4", "train", "A"),
    ("a", "5", "test", "A"),
    ("b", "6", "test", "A"),
    ("d", "7", "test", "A"),
    ("c", "8", "val", "A"),
    ("d", "9", "val", "A"),
    ("e", "10", "val", "A"),
)


def test_nothing_is_shared_if_every_group_is_in_one_split():
    assert find_shared_groups(CLEAN) == []


def test_shared_sources_are_counted_with_an_example():
    val, test, both = find_shared_groups(ACROSS)
    assert (val.splits, val.number, val.images, val.totals) == (("train", "val"), 1, (1, 1), (4, 3))
    assert (test.splits, test.number, test.images, test.totals) == (("train", "test"), 2, (3, 2), (4, 3))
    assert (both.splits, both.example, both.exact) == (("val", "test"), ("val/8.png", "test/6.png"), False)
    assert str(test).startswith("2 of 3 test images ")


def test_the_same_file_in_two_groups_is_found():
    (found,) = find_shared_groups(manifest_of(("a", "1", "train", "A"), ("b", "1", "val", "A")))
    assert found.exact
    assert found.example == ("train/0.png", "val/1.png")


def test_copies_are_followed_through_groups_and_files():
    chain = manifest_of(
        *(("a", "1", "train", "A"), ("b", "1", "train", "A"), ("b", "2", "train", "A"), ("c", "2", "val", "A"))
    )
    (found,) = find_shared_groups(chain)
    assert (found.number, found.images) == (1, (3, 1))


@settings(max_examples=150, deadline=None)
@given(rows=ROWS)
def test_a_group_or_file_in_two_splits_is_shared_and_dropping_fixes_it(rows):
    manifest = manifest_of(*rows)
    assert bool(find_shared_groups(manifest)) == any(
        (manifest.groupby(column)["split"].nunique() > 1).any() for column in ("group", "sha256")
    )
    # Every split keeps an image, so no class is lost.
    unshared = manifest_of(*((split, split, split, "A") for split in ("train", "val", "test")))
    manifest = pd.concat([manifest, unshared.assign(path=unshared["group"])], ignore_index=True)
    kept, left_out = resolve_leaks(manifest, on_shared_groups="drop")
    assert find_shared_groups(kept) == []
    assert sorted([*kept["path"], *left_out["path"]]) == sorted(manifest["path"])
    assert set(left_out["split"]) <= {"train", "val"}


def test_shared_photographs_are_refused_with_counts_an_example_and_what_to_do():
    with pytest.raises(UserError) as refused:
        resolve_leaks(ACROSS[ACROSS["split"] != "val"], on_shared_groups="error")
    message = str(refused.value)
    assert message.startswith("data.on_shared_groups=error: training and test share 2 photographs (3 of 4 training")
    assert "2 of 3 test images, for example train/0.png and test/4.png" in message
    assert "data.on_shared_groups=drop" in message
    assert "data.on_shared_groups=allow" in message


def test_exact_copies_in_two_splits_are_refused_with_the_setting_that_joins_them():
    with pytest.raises(UserError) as refused:
        resolve_leaks(manifest_of(("a", "1", "train", "A"), ("b", "1", "val", "A")), on_shared_groups="error")
    assert "share 1 photograph " in str(refused.value)
    assert "train/0.png and val/1.png, the same file)" in str(refused.value)
    assert "data.groups=recover" in str(refused.value)


def test_dropping_takes_from_training_what_is_elsewhere_and_from_validation_what_is_in_test():
    few = pd.concat([ACROSS, manifest_of(("f", "11", "train", "A")).assign(path="train/f.png")], ignore_index=True)
    kept, left_out = resolve_leaks(few, on_shared_groups="drop")
    assert kept["path"].tolist() == ["test/4.png", "test/5.png", "test/6.png", "val/7.png", "val/9.png", "train/f.png"]
    assert left_out["path"].tolist() == ["train/0.png", "train/1.png", "train/2.png", "train/3.png", "val/8.png"]


def test_dropping_refuses_to_leave_a_class_without_images():
    with pytest.raises(UserError, match=r"^data.on_shared_groups=drop: leaves no training images of class A,"):
        resolve_leaks(ACROSS, on_shared_groups="drop")


def test_what_is_allowed_is_left_as_it_is():
    kept, left_out = resolve_leaks(ACROSS, on_shared_groups="allow")
    pd.testing.assert_frame_equal(kept, ACROSS)
    assert left_out.empty


def test_shared_sources_are_summed_over_folds():
    separated = manifest_of(("a", "1", "train", "A"), ("b", "1", "val", "A"), ("c", "2", "val", "A"))
    whole = manifest_of(("a", "1", "val", "A"), ("c", "2", "train", "A"))
    (found,) = shared_groups_in_folds([separated, whole])
    assert (found.number, found.images, found.totals) == (1, (1, 1), (2, 3))
    assert shared_groups_in_folds([whole, whole]) == []


def two_levels(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Make a manifest of rows of (source, group, split, label)."""
    table = pd.DataFrame(rows, columns=["source", "group", "split", "label"])
    return table.assign(
        path=[f"{split}/{number}.png" for number, split in enumerate(table["split"])],
        sha256=[str(number) for number in range(len(table))],
    )


def test_shared_sources_and_shared_groups_are_both_found():
    table = two_levels(
        *(("a", "p1", "train", "A"), ("a", "p2", "val", "A"), ("b", "p3", "train", "A"), ("c", "p3", "test", "A"))
    )
    photograph, patient = find_shared_groups(table, group_name="patient")
    assert (photograph.noun, photograph.splits, photograph.number) == ("photograph", ("train", "val"), 1)
    assert (patient.noun, patient.splits, patient.number) == ("patient", ("train", "test"), 1)
    assert str(patient).startswith("1 of 1 test images are of a patient ")
    with pytest.raises(UserError) as refused:
        resolve_leaks(table, on_shared_groups="error", group_name="patient")
    assert "training and validation share 1 photograph (1 of 2 training" in str(refused.value)
    assert "training and test share 1 patient (1 of 2 training" in str(refused.value)
    assert "photograph and patient" in str(refused.value)
    kept, left_out = resolve_leaks(
        pd.concat([table, two_levels(("d", "p4", "train", "A")).assign(sha256="d", path="d")]), on_shared_groups="drop"
    )
    assert left_out["path"].tolist() == ["train/0.png", "train/2.png"]
    assert find_shared_groups(kept) == []


def test_a_source_in_two_groups_is_reported_with_their_names():
    table = two_levels(("a", "p1", "train", "A"), ("a", "p2", "train", "A"), ("b", "p3", "val", "A"))
    assert sources_in_several_groups(table) == {"a": ["p1", "p2"]}
    leak = Leakage(
        shared=find_shared_groups(table),
        split_by_file=False,
        groups_known=True,
        sources_in_groups=sources_in_several_groups(table),
        group_name="patient",
    )
    assert (leak.leaky, leak.mark("val")) == ("false", "")
    assert "1 photograph " in leak.sentence
    assert "patient p1 and patient p2" in leak.sentence


def leak_of(manifest: pd.DataFrame, *, split_by_file: bool = False, groups_known: bool = True) -> Leakage:
    return Leakage(shared=find_shared_groups(manifest), split_by_file=split_by_file, groups_known=groups_known)


def test_a_clean_split_of_known_groups_is_not_leaky_and_has_no_sentence():
    leak = leak_of(CLEAN)
    assert (leak.leaky, leak.sentence, leak.mark("val"), leak.mark("test")) == ("false", "", "", "")


def test_a_split_by_file_is_leaky_on_validation_with_the_number_of_images_with_a_copy():
    separated = manifest_of(
        ("a", "1", "train", "A"), ("a", "2", "val", "A"), ("b", "3", "val", "A"), ("c", "4", "test", "A")
    )
    leak = leak_of(separated, split_by_file=True)
    assert (leak.leaky, leak.mark("val"), leak.mark("test")) == ("true", " *", "")
    assert leak.sentence.startswith("1 of 2 validation images have a copy in training")
    assert leak_of(CLEAN, split_by_file=True).leaky == "true"
    assert "by file" in leak_of(CLEAN, split_by_file=True).sentence


@pytest.mark.parametrize(
    ("untextured", "number", "leaky"),
    [
        ([True, True, False, False], 0, "false"),
        ([True, True, True, False], 3, "unknown"),
        ([False, False, True, True], 2, "unknown"),
    ],
)
def test_leakage_is_unknown_if_images_that_cannot_be_matched_are_in_two_splits(untextured, number, leaky):
    table = CLEAN.assign(untextured=untextured)
    assert untextured_across(table) == number
    leak = Leakage(shared=[], split_by_file=False, groups_known=True, untextured=untextured_across(table))
    assert leak.leaky == leaky
    assert (leak.mark("test") == " ?") == (leaky == "unknown")
    assert (f"{number} images have too little texture" in leak.sentence) == (leaky == "unknown")


def test_a_single_image_that_cannot_be_matched_is_counted_in_the_singular():
    assert untextured_sentence(1).startswith("1 image has too little texture to be matched")


def test_a_known_leak_is_a_leak_whatever_cannot_be_matched():
    assert (
        Leakage(shared=find_shared_groups(ACROSS), split_by_file=False, groups_known=True, untextured=2).leaky == "true"
    )


def test_leakage_is_unknown_if_groups_are_unknown():
    leak = leak_of(CLEAN, groups_known=False)
    assert (leak.leaky, leak.mark("val"), leak.mark("test")) == ("unknown", " ?", " ?")
    assert "data.groups=none" in leak.sentence
    assert leak_of(ACROSS, groups_known=False).leaky == "true"
