from pathlib import Path

import pytest

from pairstill.core.errors import ConfigError
from pairstill.storage.owned import content_of, refuse_others


def refuse(folder, own=False):
    refuse_others(folder, "a run", "run_dir", lambda path: own)


def test_what_is_empty_missing_or_ours_is_taken(tmp_path):
    refuse(tmp_path)
    refuse(tmp_path / "new")
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.yaml.abc.tmp").mkdir()
    refuse(tmp_path)  # a run that was killed at once
    (tmp_path / "config.yaml").touch()
    refuse(tmp_path, own=True)


def test_anything_else_is_refused_and_named(tmp_path):
    for name in "abcde":
        (tmp_path / name).touch()
    with pytest.raises(
        ConfigError, match="not empty and does not hold a run .'a', 'b', 'c' and 2 more.*another run_dir"
    ):
        refuse(tmp_path)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="run_dir is .*which is a file; give a folder"):
        refuse(tmp_path / name)


def test_a_name_that_is_too_long_is_an_error_that_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"run_dir is .*which cannot be read: File name too long"):
        refuse(tmp_path / ("x" * 300))


def test_a_folder_of_no_possible_name():
    with pytest.raises(ConfigError, match="out is .*which cannot be read: embedded null byte"):
        content_of(Path("a\0b"), "out")
