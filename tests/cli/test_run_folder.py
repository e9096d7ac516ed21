"""The output folder of a run."""

from bloodcell.cli.run_folder import unused_folder


def test_runs_that_start_in_the_same_microsecond_have_different_folders(tmp_path):
    place = tmp_path / "outputs" / "2026-11-30" / "21-59-04-446792"
    folders = [unused_folder(place) for _ in range(3)]
    assert [folder.name for folder in folders] == ["21-59-04-446792", "21-59-04-446792-2", "21-59-04-446792-3"]
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_the_user_names_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    assert unused_folder(tmp_path / "mine") == tmp_path / "mine"
