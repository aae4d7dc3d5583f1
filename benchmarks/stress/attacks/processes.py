"""Runs attacks in forked processes, with limits of time and memory."""

import io
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch  # noqa: F401 - imported here once, and not by every attack
import transformers
import webdataset  # noqa: F401 - likewise
from PIL import Image

import pairstill.run.pipeline  # noqa: F401 - likewise
from attacks.attack import SECRET, Attack, Base
from pairstill.cli import main
from pairstill.core.errors import ConfigError, PairstillError
from pairstill.exchange.settings import LAYOUTS

transformers.utils.logging.disable_progress_bar()
datasets.disable_progress_bars()
MEMORY = 6 * 2**30
"""More address space than this, beyond what the imports take, is a fault."""
PROCESSOR = 40
"""Seconds of the processor after which an attack hangs; most take one."""
TINY = Path(__file__).parents[3] / "tests" / "recipes" / "tiny.yaml"
FROZEN = ("--image.trainable=false", "--heads.image=true", "--heads.width=8")


@dataclass(frozen=True)
class Ended:
    """How an attack ended.

    Attributes:
        folder: its folder.
        status: the exit status; negative for a signal, None where the time was over.
        seconds: the processor's time, or until it was ended.
        output: what it wrote to stdout.
        errors: what it wrote to stderr.
        before: the files before it, and what they held.
        after: the files afterwards.
    """

    folder: Path
    status: int | None
    seconds: float
    output: str
    errors: str
    before: dict[str, str]
    after: dict[str, str]


def snapshot(folder: Path) -> dict[str, str]:
    """Return every path below a folder with what it is and holds; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kind = "link" if path.is_symlink() else "file" if path.is_file() else "other"
        held = os.readlink(path) if kind == "link" else str(hash(path.read_bytes())) if kind == "file" else ""
        found[str(path.relative_to(folder))] = f"{kind} {oct(status.st_mode)} {held}"
    return found


def settings_of(work: Path, run: str = "run") -> list[str]:
    """Return the options of a tiny run in the folder that an attack may write to."""
    return [f"--config={TINY}", f"--run_dir={work}/{run}", f"--cache_dir={work}/cache"]


def make_base(folder: Path) -> Base:
    """Make what attacks start from, once."""
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

        def make() -> int:
            found = main(["run", *settings_of(folder), "--reuse=true"])
            found |= main(["shares", str(folder / "run")]) | main(["report", str(folder / "run")])
            found |= main(["run", *settings_of(folder, "frozen"), *FROZEN, "--reuse=true"])
            for layout in LAYOUTS:
                out = str(folder / layout)
                found |= main(["export", str(folder / "run"), "--format", layout, "--out", out, "--measure=never"])
            return found

        status, _ = _in_child(make, folder / "log", "utf-8", folder, 600, limited=False)
        if status != 0:
            raise SystemExit(f"the base could not be made; see {folder}/log.err")
        (folder / "whole").touch()
    return Base(folder)


def attempt(attack: Attack, base: Base, folder: Path, seconds: float) -> Ended:
    """Make an attack's folder and do it."""
    for name in ("user", "outside", "work", "logs"):
        (folder / name).mkdir(parents=True)
    (folder / "outside" / "secret.txt").write_text(SECRET)
    picture = np.random.default_rng(7).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(picture).save(folder / "outside" / "secret.png", pnginfo=None)
    steps = attack.steps(folder)
    before = snapshot(folder)

    def do() -> int:
        for step in steps:
            status = main(list(step)) if not callable(step) else step(folder) or 0
            if status != 0:
                return status
        return 0

    status, taken = _in_child(do, folder / "logs" / "log", attack.encoding, folder / "user", seconds)
    logs = [(folder / "logs" / f"log.{end}").read_bytes().decode("utf-8", "replace") for end in ("out", "err")]
    shutil.rmtree(folder / "logs")
    before = {path: held for path, held in before.items() if not path.startswith("logs")}
    return Ended(folder, status, taken, *logs, before, snapshot(folder))


def _in_child(
    do: Callable[[], int], log: Path, encoding: str, place: Path, seconds: float, *, limited: bool = True
) -> tuple[int | None, float]:
    """Run a function in a forked process, and return its status and the processor's seconds."""
    began = time.perf_counter()
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.setsid()
            for number, end in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{log}.{end}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), encoding, write_through=True)
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), encoding, "backslashreplace", write_through=True)
            os.chdir(place)
            if limited:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                limit = pages * resource.getpagesize() + MEMORY
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
                resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
                resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR + 5))
            status = do()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        except PairstillError as error:  # of a function; commands catch it themselves
            print(f"pairstill: error: {error}", file=sys.stderr)
            status = 2 if isinstance(error, ConfigError) else 1
        except BaseException:
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return _waited(process, began, seconds)


def _waited(process: int, began: float, seconds: float) -> tuple[int | None, float]:
    """Wait for a process that may stand still for so long; one that goes on is ended by its limit of the processor."""
    moved, last = time.perf_counter(), ""
    while True:
        ended, status, used = os.wait4(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return None if code == -signal.SIGXCPU else code, used.ru_utime + used.ru_stime
        place = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        now = " ".join(place[11:15])
        if now != last or place[0] in "RD":
            moved, last = time.perf_counter(), now
        if time.perf_counter() - moved > seconds:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None, time.perf_counter() - began
        time.sleep(0.02)
