"""The architecture's page says what the code is: pictures, rooms, arrows, and the walk."""

import importlib.util
import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALK = re.findall(r"^\d+\. `([\w/]+\.py)`: `([\w.]+)`", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def architecture():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "_hooks" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_of_this_code(architecture):
    for path, picture in architecture.pictures().items():
        assert path.read_text(encoding="utf-8") == picture, "python docs/_hooks/architecture.py draws them anew"


def test_rooms_and_arrows_are_few_and_every_room_is_described(architecture):
    found = architecture.rooms()
    assert len(found.names) < 30 and len(found.arrows) < 170
    listed = [
        name for cell in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    ]
    assert sorted(listed) == sorted(found.names)
    assert all(found.names.index(importer) < found.names.index(imported) for importer, imported in found.arrows)


def test_a_function_that_is_gone_is_told(architecture):
    with pytest.raises(LookupError, match=r"src/pairstill/distill/loop\.py has no spin"):
        architecture.function("distill/loop.py", "spin")


def test_the_walk_is_short_and_every_file_of_it_is_imported_by_one_before(architecture):
    graph = grimp.build_graph("pairstill", cache_dir=None)
    assert 20 <= len(WALK) <= 25
    seen = []
    for file, name in WALK:
        text = (ROOT / "src" / "pairstill" / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name.split('.')[-1]}\b", text, re.MULTILINE), (file, name)
        module = "pairstill." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        importers = graph.find_modules_that_directly_import(module)
        # a package stands for its modules
        importers |= {
            one
            for up in importers
            if up == module.rpartition(".")[0]
            for one in graph.find_modules_that_directly_import(up)
        }
        assert not seen or importers & {*seen}, (file, importers)
        seen.append(module)
