"""Every command that a page, a list or a message shows is one that the command line takes."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pairstill.cli import COMMANDS, build_parser, main, parsed_by
from pairstill.cli.by_method import method_of
from pairstill.core.errors import PairstillError

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]
# the guides' example of a method is none that is there
STANDS_FOR = {"COMMAND": "run", "TABLE": "table4", "ROW": "SETTINGS", "short_segments": "ptm_st"}
"""What is put in the place of words in capitals; others, such as DATA, are names as good as any."""
FILLED_IN = {"kind": "teachers"}
BASH = shutil.which("bash")
NAMES = {command.name for command in COMMANDS}
SHELL = r"""
pairstill() { printf '%s\x1f' "$@" >&3; printf '\x1e' >&3; }
torchrun() { while [ $# -gt 0 ] && [ "$1" != pairstill ]; do shift; done; "$@"; }
"""
"""A shell in which there is no program but ours, which only says what it was given."""


def typed(blocks, folder):
    """What the program is given by blocks of a page, as a shell without any other program finds it."""
    script = "\n".join((SHELL, *(block.replace(".venv/bin/pairstill", "pairstill") for block in blocks)))
    subprocess.run(
        [BASH, "--norc", "-c", f"{{ {script}\n}} 3>typed"],
        env={"PATH": "", "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    calls = (folder / "typed").read_text(encoding="utf-8").split("\x1e")[:-1]
    return [tuple(call.split("\x1f")[:-1]) for call in calls]


def quoted(text):
    """The commands in backticks of a text, as words."""
    return [tuple(shlex.split(command)) for command in re.findall(r"`pairstill ([^`]+)`", text)]


def filled_in(part):
    """A part of a message; what is filled in later is a file of settings, or what its name says."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    return FILLED_IN.get(ast.unparse(part.value), "SETTINGS")


def told_by(module):
    """The commands in a module's messages."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    whole = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from quoted("".join(map(filled_in, node.values)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | whole:
            yield from quoted(node.value)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """Parse commands where SETTINGS is a file of settings and RUN a run; return what is wrong with them."""
    here = tmp_path_factory.mktemp("here")
    (here / "SETTINGS").write_text("seed: 0\n")
    (here / "RUN").mkdir()
    (here / "RUN" / "config.yaml").write_text("seed: 0\n")
    (here / "configs").symlink_to(ROOT / "configs")
    parsers, known = {}, {}

    def parse(words, capsys):
        name = words[0]
        if name.startswith("--"):
            return None  # of the program itself
        if name not in NAMES:
            return f"{name} is no command"
        if len(words) == 1:
            return None  # it is only named
        rest = [word.replace("-", "_").replace("__", "--", 1) if word[:2] == "--" else word for word in words[1:]]
        try:
            asked = (name, method_of(rest).name)
            if asked not in parsers:
                (command,) = (each for each in COMMANDS if each.name == name)
                own = {name: command.parser(rest)}
                parsers[asked] = build_parser(own, rest), own
            whole, own = parsers[asked]
            options = parsed_by(whole, own, words)[name]
            if any(word.startswith("--") for word in words):
                own[name].instantiate(options)
        except SystemExit as end:
            return capsys.readouterr().err if end.code else None
        except PairstillError as error:
            return str(error)
        return None

    def wrong(commands, capsys, monkeypatch):
        monkeypatch.chdir(here)
        found = {}
        for command in commands:
            words = ["SETTINGS" if word.endswith("/config.yaml") else STANDS_FOR.get(word, word) for word in command]
            if "--scale" in words:
                words = ["scenes" if word == "..." else word for word in words]
            words = tuple(word for word in words if word != "...")
            if words not in known:
                known[words] = parse(words, capsys)
            found[command] = known[words]
        return {command: problem for command, problem in found.items() if problem is not None}

    return wrong


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page(wrong, capsys, monkeypatch, tmp_path, page):
    text = page.read_text(encoding="utf-8")
    block = re.compile(r"```(?:sh|bash)\n(.*?)```", re.DOTALL)
    assert wrong([*typed(block.findall(text), tmp_path), *quoted(block.sub("", text))], capsys, monkeypatch) == {}


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_commands_of_a_page_are_found(tmp_path):
    found = typed(["for row in a b; do\n  pairstill run --config $row  # and so on\ndone\nmake quickstart"], tmp_path)
    assert found == [("run", "--config", "a"), ("run", "--config", "b")]
    several = "torchrun --nproc_per_node 4 -m pairstill run \\\n --a '[1,\n 2]'"
    assert typed([several], tmp_path) == [("run", "--a", "[1,\n 2]")]


def test_commands_in_messages(wrong, capsys, monkeypatch):
    told = [command for module in sorted((ROOT / "src").rglob("*.py")) for command in told_by(module)]
    assert ("evaluate", "--config", "SETTINGS", "--run_dir", "SETTINGS") in told
    assert wrong(told, capsys, monkeypatch) == {}


def test_commands_of_the_list(wrong, capsys, monkeypatch):
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("pairstill ") == len(quoted(listed))
    assert ("reproduce", "table4", "--scale", "flickr8k", "DATA", "WEIGHTS") in quoted(listed)
    assert wrong(quoted(listed), capsys, monkeypatch) == {}
