import errno
from pathlib import Path

import pytest

from pairstill.core.errors import (
    ArtifactError,
    BusyError,
    ConfigError,
    DataError,
    MissingDependencyError,
    NumericalError,
    PairstillError,
    RankError,
    StorageError,
    list_problems,
)


@pytest.mark.parametrize(
    "kind",
    [
        ConfigError,
        DataError,
        ArtifactError,
        StorageError,
        BusyError,
        NumericalError,
        RankError,
        MissingDependencyError,
    ],
)
def test_one_base_catches_all(kind):
    with pytest.raises(PairstillError, match="^what was got$"):
        raise kind("what was got")


def test_errors_are_also_what_python_code_expects():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingDependencyError, ImportError)
    assert issubclass(StorageError, OSError)


def test_a_file_that_cannot_be_written_is_named_with_the_reason():
    error = StorageError.cannot_write(Path("a.json"), OSError(28, "No space left on device"))
    assert str(error).startswith(
        "a.json cannot be written (No space left on device); what is on the disk is whole. Make room"
    )


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_place_that_can_have_no_files_is_not_to_be_given_room(number):
    told = str(StorageError.cannot_write(Path("/proc/x/.lock"), OSError(number, "why")))
    assert "Choose another run_dir" in told and "room" not in told and "goes on" not in told


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ([], ""),
        (["a"], "  - a"),
        (["a", "b"], "  - a\n  - b"),
        (["a", "b", "c", "d"], "  - a\n  - b\n  ... and 2 more"),
    ],
)
def test_list_problems(problems, expected):
    assert list_problems(problems, shown=2) == expected
