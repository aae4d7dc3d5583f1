"""Timing variants in turn, and their peak memory in fresh processes."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pairstill.core.devices import choose_device
from pairstill.core.errors import ConfigError, PairstillError
from pairstill.core.provenance import PACKAGES, commit, installed_version
from pairstill.core.torch_state import own_torch_state
from pairstill.run.log import peak_memory_bytes
from pairstill.tools.bench.settings import BENCHMARKS, BenchSettings

Value = float | int | str | None
Extra = Mapping[str, Mapping[str, Value]]
"""Further columns by variant."""


@dataclass(frozen=True)
class BenchRow:
    """One variant, measured.

    Attributes:
        name: the variant.
        seconds: median over the rounds, or None where time is not what is measured.
        ratio: its seconds as a multiple of the first variant's, of the same run.
        peak_bytes: the most memory held at once above what was held before, in a process of its own; None if not asked.
        values: what else this benchmark tells, by column.
    """

    name: str
    seconds: float | None
    ratio: float | None
    peak_bytes: int | None
    values: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """A benchmark's rows, with all that is needed to run it again.

    Attributes:
        benchmark: its name.
        command: the command that measures it.
        commit: the code's commit.
        hardware: the machine.
        versions: packages by name.
        settings: the benchmark's settings.
        rows: the variants, the first of which is the baseline.
    """

    benchmark: str
    command: str
    commit: str | None
    hardware: Mapping[str, Value]
    versions: Mapping[str, str | None]
    settings: Mapping[str, Any]
    rows: tuple[BenchRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark measures.

    Attributes:
        variants: computations to compare, the baseline first.
        compare: further columns for each variant, from what the variants returned.
        close: frees what the variants use outside of memory.
    """

    variants: Mapping[str, Callable[[], Any]]
    compare: Callable[[Mapping[str, Any]], Extra] = lambda outputs: {}
    close: Callable[[], None] = lambda: None


def seconds_in_turn(
    variants: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: torch.device,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return each variant's median seconds; rounds take the variants in turn, so that a slow moment strikes all."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            _wait(device)
            began = clock()
            call()
            _wait(device)
            times[name].append(clock() - began)
    return {name: median(values) for name, values in times.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Return the most memory held during a call, above what was held before it.

    On a GPU the allocator's; else this process's resident memory, which is exact only in a fresh process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    before = _resident_bytes()
    call()
    return max(0, (_status_bytes("VmHWM") or peak_memory_bytes()) - before)


def _resident_bytes() -> int:
    """Return the memory held now, and let the high-water mark start from here where the system allows that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_memory_bytes()
    return _status_bytes("VmRSS") or peak_memory_bytes()


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def measure(name: str, settings: BenchSettings, build: Callable[[Any, torch.device], Benchmark]) -> BenchReport | int:
    """Run a benchmark and return its report, or the bytes alone when `peak_of` is set.

    Every variant runs once before the clock does; `compare` sees what it returned then.

    Args:
        name: the benchmark.
        settings: its settings.
        build: makes the benchmark from the settings and the device.

    Raises:
        ConfigError: `peak_of` names no variant, or there is no such device.
    """
    device = choose_device(settings.device)
    with own_torch_state(settings.threads), closing(build(settings, device)) as benchmark:
        if settings.peak_of is not None:
            return peak_bytes(_variant(benchmark, settings.peak_of), device)
        rows = _rows(name, settings, benchmark, device)
    versions = {package: installed_version(package) for package in PACKAGES}
    stated = {key: value for key, value in asdict(settings).items() if key != "peak_of"}
    return BenchReport(
        benchmark=name,
        command=command(name, settings),
        commit=commit(),
        hardware=hardware(device),
        versions=versions,
        settings=stated,
        rows=tuple(rows),
    )


def _variant(benchmark: Benchmark, name: str) -> Callable[[], Any]:
    if name not in benchmark.variants:
        raise ConfigError(f"peak_of is {name!r}; the variants are {'; '.join(benchmark.variants)}")
    return benchmark.variants[name]


def _rows(name: str, settings: BenchSettings, benchmark: Benchmark, device: torch.device) -> list[BenchRow]:
    # first, while this process holds next to nothing: the allocator may keep the peak of a call that is over
    peaks = {
        variant: _peak_in_fresh_process(name, replace(settings, peak_of=variant)) if settings.memory else None
        for variant in benchmark.variants
    }
    outputs = {variant: call() for variant, call in benchmark.variants.items()}
    extra = benchmark.compare(outputs)
    del outputs
    seconds = seconds_in_turn(benchmark.variants, settings.rounds, device)
    baseline = next(iter(seconds.values()))
    return [
        BenchRow(
            variant,
            taken,
            taken / baseline,
            peaks[variant],
            extra.get(variant, {}),
        )
        for variant, taken in seconds.items()
    ]


def command(name: str, settings: BenchSettings) -> str:
    """Return the command line that measures this, with the options that differ from their defaults."""
    return shlex.join(["pairstill", "bench", name, *_options(name, settings)])


def _options(name: str, settings: BenchSettings) -> list[str]:
    default = BENCHMARKS[name]()
    options = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value != getattr(default, field.name):
            shown = value if isinstance(value, str) else json.dumps(value)
            options.append(f"--{field.name}={shown}")
    return options


def _peak_in_fresh_process(name: str, settings: BenchSettings) -> int:
    """Ask a new process for the peak memory of one variant."""
    asked = [sys.executable, "-m", "pairstill", "bench", name, *_options(name, settings)]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        raise PairstillError(f"measuring the peak memory of {settings.peak_of} failed:\n{done.stderr.strip()}")
    return int(done.stdout.split()[-1])


def hardware(device: torch.device) -> dict[str, Value]:
    """Return what the benchmark ran on."""
    found: dict[str, Value] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
