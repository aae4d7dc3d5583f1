"""Which code measures which benchmark."""

from typing import assert_never

from pairstill.tools.bench import frozen, hypergradient, recall, teacher, trajectories
from pairstill.tools.bench.measure import BenchReport, measure
from pairstill.tools.bench.settings import (
    BenchSettings,
    FrozenBench,
    HypergradientBench,
    RecallBench,
    TeacherBench,
    TrajectoriesBench,
)

AnyBench = HypergradientBench | FrozenBench | RecallBench | TeacherBench | TrajectoriesBench


def run_benchmark(name: str, settings: BenchSettings) -> BenchReport | int:
    """Run a benchmark; see `measure` for what is returned."""
    assert isinstance(settings, AnyBench)
    match settings:
        case HypergradientBench():
            build = hypergradient.build
        case FrozenBench():
            build = frozen.build
        case RecallBench():
            build = recall.build
        case TeacherBench():
            build = teacher.build
        case TrajectoriesBench():
            build = trajectories.build
        case _:
            assert_never(settings)
    return measure(name, settings, build)
