"""A tiny run of the embedded benchmark through the command line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pairstill.cli import main
from pairstill.run.log import MetricsLog
from pairstill.storage import load_tensors, open_tensors

TINY: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
FROZEN = ("--image.trainable", "false", "--heads.image", "true", "--heads.width", "8")
OPTIONS: dict[str, tuple[str, ...]] = {"trainable": (), "frozen": FROZEN}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Return the command line of a tiny run; its settings come from a file, whatever is given wins over them."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "cache_dir": str(folder / "cache")}))

    def command(stage: str, run_dir: Path, *options: str) -> list[str]:
        return [stage, "--config", str(folder / "tiny.yaml"), "--run_dir", str(run_dir), *options]

    return command


@pytest.fixture(scope="session")
def do(tiny: Callable[..., list[str]]) -> Callable[..., Path]:
    """Do a stage of a tiny run, which must succeed, and return the run's folder."""

    def run(stage: str, run_dir: Path, *options: str) -> Path:
        assert main(tiny(stage, run_dir, *options)) == 0
        return run_dir

    return run


@pytest.fixture(scope="session")
def undisturbed(do: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs that nothing disturbed, with a trained and with a frozen tower; tests only read them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return {mode: do("run", folder / mode, *options) for mode, options in OPTIONS.items()}


@pytest.fixture(scope="session")
def options_of() -> dict[str, tuple[str, ...]]:
    """The options of each of the undisturbed runs."""
    return OPTIONS


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Interrupt, as Ctrl-C does, when an event with these values is about to be logged; `interrupt()` lets go."""

    def arm(**event: Any) -> None:
        original = MetricsLog.write

        def write(self: MetricsLog, name: str, **values: Any) -> None:
            if event and event.items() <= {"event": name, **values}.items():
                raise KeyboardInterrupt
            original(self, name, **values)

        if event:
            monkeypatch.setattr(MetricsLog, "write", write)
        else:
            monkeypatch.undo()

    return arm


@pytest.fixture
def steps() -> Iterator[list[torch.optim.Optimizer]]:
    """The steps that optimisers take from now on, whatever they train."""
    seen: list[torch.optim.Optimizer] = []
    with register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(optimizer)):
        yield seen


@pytest.fixture(scope="session")
def events() -> Callable[..., list[dict[str, Any]]]:
    """Return the logged events of a run with this name, or all."""

    def read(run_dir: Path, name: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if name in (None, line["event"])]

    return read


@pytest.fixture(scope="session")
def results() -> Callable[[Path], list[dict[str, Any]]]:
    """Return the results of a run without what depends on the clock, the folder and the commit."""

    def read(run_dir: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run_dir / "results.jsonl").read_text().splitlines()]
        varying = ("seconds", "stage_seconds", "config", "commit", "peak_memory_bytes", "sha256")
        return [{key: value for key, value in line.items() if key not in varying} for line in lines]

    return read


@pytest.fixture(scope="session")
def same_set() -> Callable[[Path, Path], bool]:
    """Return whether two runs distilled the same bits."""

    def parts(run_dir: Path) -> tuple[bytes, Any]:
        manifest = json.loads((run_dir / "distilled" / "distilled.json").read_text())
        return (run_dir / "distilled" / "distilled.safetensors").read_bytes(), manifest["phases"]

    return lambda a, b: parts(a) == parts(b)


@pytest.fixture(scope="session")
def same_teachers() -> Callable[[Path, Path], bool]:
    """Return whether two runs recorded the same trajectories; the order of a file's header is not fixed."""

    def parts(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
        with open_tensors(path) as stored:
            metadata = stored.metadata()
        return metadata, {name: value.numpy().tobytes() for name, value in load_tensors(path).items()}

    def compare(a: Path, b: Path) -> bool:
        first, second = ({p.name: parts(p) for p in (f / "trajectories").iterdir()} for f in (a, b))
        return first == second and len(first) == 3

    return compare
