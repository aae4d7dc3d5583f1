import sys

import pytest

from pairstill.core.errors import MissingDependencyError
from pairstill.core.extras import EXTRAS, need


def test_a_package_that_is_there_is_no_matter():
    need("matplotlib", "a report")


@pytest.mark.parametrize("package", sorted(EXTRAS))
def test_a_missing_package_names_what_needs_it_and_the_extra(monkeypatch: pytest.MonkeyPatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    with pytest.raises(MissingDependencyError) as caught:
        need(package, "this")
    assert str(caught.value) == (
        f'this needs the package {package}, which is not installed; run `pip install "pairstill[{EXTRAS[package]}]"`'
    )


def test_an_unknown_package_is_a_mistake_of_the_caller():
    with pytest.raises(KeyError):
        need("no_such_package", "this")
