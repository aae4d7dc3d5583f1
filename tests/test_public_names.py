"""`import pairstill`: the names that programs need, without the weight of what is behind them."""

import subprocess
import sys
from importlib.resources import files

import pytest

import pairstill


def test_the_import_loads_nothing_but_itself():
    heavy = "('torch', 'numpy', 'yaml', 'jsonargparse', 'rich', 'pairstill.config')"
    code = f"import sys, pairstill; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented():
    page = (files(pairstill).parent.parent / "docs" / "reference" / "pairstill.md").read_text(encoding="utf-8")
    for name in set(pairstill.__all__) - {"__version__"}:
        assert getattr(pairstill, name) is not None
        assert f"`{name}`" in page, name
    assert dir(pairstill) == sorted(pairstill.__all__)


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'Pipelin'; its names are .*RunConfig"):
        _ = pairstill.Pipelin  # pyright: ignore[reportAttributeAccessIssue]


def test_type_checkers_find_the_types():
    assert files(pairstill).joinpath("py.typed").is_file()
