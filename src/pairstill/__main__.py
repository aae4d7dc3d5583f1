"""`pairstill`, and `python -m pairstill`."""

import io
import os
import signal
import sys
import threading

INTERRUPTED = 130


def main() -> int:
    """Run the command line as a process of its own, and return the exit status.

    What the terminal's encoding cannot show is written as an escape, and Ctrl-C ends the process without a trace even
    while the command line is still being imported.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    alone = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, _leave) if alone else None
    from pairstill.cli import main as run

    if alone and before is not None:
        signal.signal(signal.SIGINT, before)
    return run()


def _leave(*_: object) -> None:
    """End the process at once: an exception in the middle of an import may be taken for a broken package."""
    os.write(2, b"pairstill: interrupted before anything was begun\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
