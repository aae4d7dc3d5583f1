"""What the package imports is what it asks for."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

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


def test_packages_that_every_run_imports_are_dependencies():
    modules = (ROOT / "src").rglob("*.py")
    imported = set().union(*(_imported(ast.parse(path.read_text(encoding="utf-8"))) for path in modules))
    assert {"torch", "sklearn", "PIL"} <= imported
    named, needed = packages_distributions(), _needed(PROJECT["dependencies"])
    assert {name for name in imported if not needed & {_name(of) for of in named[name]}} == set()
