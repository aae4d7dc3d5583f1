import pytest

from pairstill.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    MissingDependencyError,
    NumericalError,
    PairstillError,
    RankError,
    list_problems,
)


@pytest.mark.parametrize(
    "kind", [ConfigError, DataError, ArtifactError, NumericalError, RankError, MissingDependencyError]
)
def test_one_base_catches_all(kind):
    with pytest.raises(PairstillError, match="^what was got$"):
        raise kind("what was got")


def test_errors_are_also_what_python_code_expects():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingDependencyError, ImportError)


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
