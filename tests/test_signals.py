"""Signals, encodings and readers that go away, as a process of its own meets them."""

import os
import re
import signal
import subprocess
import sys

import pytest

from pairstill import cli
from pairstill.cli import answered
from pairstill.storage import temporary_folder


def do(action):
    """Run something as a command does, and return the exit status."""
    return answered(lambda: action() or 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_that_asks_to_end_leaves_no_temporary_file(tmp_path, number, capsys):
    # as in a terminal; jobs in the background may have been told to ignore it
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outside = signal.signal(number, usual)

    def interrupted():
        with temporary_folder(tmp_path / "file"):
            os.kill(os.getpid(), number)

    try:
        assert do(interrupted) == 128 + number
        assert "interrupted" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, outside)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert do(lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "No such file or directory", "a/b"), "a/b cannot be used .No such file or directory"),
        (MemoryError(), "the memory does not hold what these settings ask for"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "can't allocate memory: 8 bytes"),
        (RuntimeError("Storage size calculation overflowed"), "lower the sizes"),
    ],
)
def test_errors_of_the_machine_are_told_in_a_line(capsys, error, message):
    def fails():
        raise error

    assert do(fails) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and re.search(message, shown)


def test_errors_of_the_code_are_not_hidden():
    def fails():
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        do(fails)


def test_controls_of_a_terminal_do_not_reach_it(capsys):
    def fails():
        raise cli.ConfigError("run_dir is \x1b]0;owned\x07")

    assert do(fails) == 2
    assert capsys.readouterr().err == "pairstill: error: run_dir is ␛]0;owned␇\n"


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_what_a_terminal_cannot_show_is_an_escape(encoding, tmp_path):
    code = "import sys\nfrom pairstill.__main__ import main\nsys.exit(main())"
    found = subprocess.run(
        [sys.executable, "-c", code, "cache", "--cache_dir", str(tmp_path / "größe")],
        capture_output=True,
        env={**os.environ, "PYTHONCOERCECLOCALE": "0", **encoding},
    )
    assert found.returncode == 0, found.stderr
    assert b"gr\\" in found.stdout and found.stdout.isascii()
