"""What is built is what is installed: the wheel, the sdist, and what they say of themselves."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

from pairstill import __version__

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SETTINGS = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
MODULES = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "pairstill").rglob("*.py")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_has_every_module_the_marker_of_types_and_all_settings(wheel: zipfile.ZipFile):
    names = set(wheel.namelist())
    assert MODULES <= names
    assert "pairstill/py.typed" in names
    assert {f"pairstill/configs/{name}" for name in SETTINGS} <= names


def test_wheel_has_nothing_but_the_package_and_no_caches(wheel: zipfile.ZipFile):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"pairstill", f"pairstill-{__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or name.endswith((".pyc", ".ipynb"))]


def test_metadata_are_valid_and_name_the_extras(wheel: zipfile.ZipFile):
    text = wheel.read(f"pairstill-{__version__}.dist-info/METADATA").decode()
    metadata = Metadata.from_email(text, validate=True)  # raises where a field breaks the standard
    assert str(metadata.version) == __version__
    assert set(metadata.provides_extra or ()) == {name.replace("_", "-") for name in EXTRAS}
    assert "pairstill boils" in (HeaderParser().parsestr(text).get_payload())


def test_program_is_installed(wheel: zipfile.ZipFile):
    points = wheel.read(f"pairstill-{__version__}.dist-info/entry_points.txt").decode()
    assert "pairstill = pairstill.__main__:main" in points


def test_sdist_builds_what_the_wheel_has(built: Path, wheel: zipfile.ZipFile, tmp_path: Path):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again")]
    subprocess.run(build, cwd=source, check=True)
    (again,) = (tmp_path / "again").glob("*.whl")
    assert set(zipfile.ZipFile(again).namelist()) == set(wheel.namelist())


def test_links_of_the_readme_point_into_the_repository():
    # they are relative; each is a file of the checkout
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert links and not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - {"dev", "all"}))
def test_every_extra_is_documented_with_its_size(extra: str):
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{extra}` \|.*\d+ MB", page, re.M), f"docs/install.md has no line for the extra {extra}"


def test_extra_all_has_what_users_need_without_the_trackers():
    (line,) = [Requirement(text) for text in EXTRAS["all"]]
    assert line.extras == set(EXTRAS) - {"dev", "all", "wandb", "trackio", "tensorboard", "ray", "slurm", "open_clip"}
