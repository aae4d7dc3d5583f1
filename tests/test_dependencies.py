"""What the package imports is what it asks for."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import yaml

from pairstill.core.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _needed(requirements: list[str]) -> set[str]:
    """Return the named packages, and all that these always need."""
    found: set[str] = set()
    left = [_name(requirement) for requirement in requirements]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += [_name(line) for line in requires(name) or () if ";" not in line]
    return found


def _imported(tree: ast.AST) -> set[str]:
    """Return the packages of others that are imported when a module is, which are not those inside its functions."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        elif not isinstance(node, ast.FunctionDef):
            found |= _imported(node)
    return found - sys.stdlib_module_names - {"pairstill"}


def test_packages_that_modules_import_are_dependencies_or_of_an_extra():
    modules = (ROOT / "src").rglob("*.py")
    imported = set().union(*(_imported(ast.parse(path.read_text(encoding="utf-8"))) for path in modules))
    assert {"torch", "matplotlib", "PIL"} <= imported
    # the main job gets on without the extras: the test below
    extras = [line for name in ("report", "clusters") for line in PROJECT["optional-dependencies"][name]]
    named, needed = packages_distributions(), _needed([*PROJECT["dependencies"], *extras])
    assert {name for name in imported if not needed & {_name(of) for of in named[name]}} == set()


WITHOUT_EXTRAS = """
import sys
from pairstill.core.extras import EXTRAS
for package in EXTRAS:
    sys.modules[package] = None  # as where it is not installed
from pairstill.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_main_job_and_the_export_as_a_folder_need_no_extra(tmp_path):
    settings = tmp_path / "tiny.yaml"
    tiny = yaml.safe_load((ROOT / "tests" / "recipes" / "tiny.yaml").read_text(encoding="utf-8"))
    settings.write_text(yaml.safe_dump({**tiny, "cache_dir": str(tmp_path / "cache")}), encoding="utf-8")
    run = str(tmp_path / "run")

    def pairstill(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS, *words], capture_output=True, text=True)

    done = pairstill("run", "--config", str(settings), "--run_dir", run, "--tracker", "null")
    assert done.returncode == 0, done.stderr
    refused = pairstill("report", run)
    assert refused.returncode != 0
    assert "a report needs the package matplotlib" in refused.stderr and "pairstill[report]" in refused.stderr
    early = pairstill(
        "run", "--config", str(settings), "--run_dir", f"{run}_2", "--method", "ncfm", "--distill.num_pairs", "4"
    )
    assert early.returncode != 0 and "method ncfm needs the package sklearn" in early.stderr
    assert not (tmp_path / "run_2").exists()


def test_every_extra_that_a_package_is_of_exists():
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])
