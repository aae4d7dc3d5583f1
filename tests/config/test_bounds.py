"""Every setting keeps to its bounds, and the error names it."""

import re
from dataclasses import fields, is_dataclass, replace

import pytest

from pairstill.analyze.settings import ANALYSES
from pairstill.config import HeadsConfig, ImageConfig, PhaseConfig, ReferencesConfig, RunConfig
from pairstill.config.bounds import check_bounds
from pairstill.core.errors import ConfigError
from pairstill.data.tasks.settings import CocoQa
from pairstill.tools.bench.settings import BENCHMARKS
from pairstill.tools.reproduce.settings import Reproduction


def set_to(settings, path, value):
    name, *rest = path.split(".")
    inner = getattr(settings, name)
    object.__setattr__(settings, name, replace(inner) if rest else value)
    if rest:
        set_to(getattr(settings, name), ".".join(rest), value)


def paths_of(settings, kind, above=""):
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from paths_of(value, kind, f"{above}{field.name}.")
        elif isinstance(value, kind) and not isinstance(value, bool):
            yield f"{above}{field.name}"


def test_the_defaults_are_within_the_bounds():
    check_bounds(RunConfig())


@pytest.mark.parametrize("path", [*paths_of(RunConfig(), int), "threads", "image.size", "heads.width"])
def test_every_number_that_counts_has_a_largest_value(path):
    config = RunConfig()
    set_to(config, path, 2**70)
    with pytest.raises(ConfigError, match=f"{re.escape(path)} is {2**70}; (it must be at most|a seed must be)"):
        check_bounds(config)


@pytest.mark.parametrize("path", [*paths_of(RunConfig(), float)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_every_number_that_measures_is_finite(path, value):
    config = RunConfig()
    set_to(config, path, value)
    with pytest.raises(ConfigError, match=f"{re.escape(path)} is {value}; it must be finite"):
        check_bounds(config)


@pytest.mark.parametrize("path", [*paths_of(RunConfig(), str), "data.root", "image.weights", "trajectories_dir"])
@pytest.mark.parametrize(
    ("value", "message"),
    [("a\0b", "holds a NUL"), ("\udcff", "is no UTF-8"), ("x" * 300, "has 300 characters"), ("x/" * 2100, "has 4,200")],
)
def test_every_text_can_be_written_and_be_a_path(path, value, message):
    config = RunConfig()
    set_to(config, path, value)
    with pytest.raises(ConfigError, match=f"{re.escape(path)} .*{message}"):
        check_bounds(config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunConfig(threads=0), "threads is 0; it must be above 0"),
        (lambda: RunConfig(threads=-1), "threads is -1; it must be above 0"),
        (lambda: RunConfig(threads=100_000), "threads is 100000; it must be at most 1,024"),
        (lambda: RunConfig(threads=2**40), "threads is 1099511627776; it must be at most 1,024"),
        (lambda: RunConfig(image=ImageConfig(mean=(0, float("nan"), 0))), r"image.mean\[1\] is nan; it must be finite"),
        (
            lambda: RunConfig(heads=HeadsConfig(image=True, width=10**9)),
            "heads.width is 1000000000; it must be",
        ),
        (lambda: ImageConfig(std=(0, 0, 0)), r"image.std is \[0, 0, 0\]; .*above 0"),
        (lambda: ImageConfig(std=(1, float("nan"), 1)), r"image.std is \[1, nan, 1\]; .*above 0"),
        (lambda: ImageConfig(std=(1e-45, 1, 1)), r"image.std is \[1e-45, 1, 1\]; .*from 1e-06 to 1e\+06"),
        (lambda: ImageConfig(mean=(0, 1e39, 0)), r"image.mean is \[0, 1e\+39, 0\]; .*beyond 1e\+06"),
        (lambda: ReferencesConfig(random_pairs=-1), "random_pairs is -1; it must be above 0"),
        (lambda: Reproduction("table4", scale="scenes", threads=2**40), "threads is .*at most 1,024"),
        (lambda: CocoQa(root="a\0b"), "root is .*NUL"),
    ],
)
def test_what_ended_in_a_trace_is_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_settings_inside_a_list_are_named():
    config = RunConfig()
    set_to(config, "distill.phases", (PhaseConfig(), PhaseConfig(num_pairs=10**12)))
    with pytest.raises(ConfigError, match=r"distill.phases\[1\].num_pairs is .*at most 1,000,000"):
        check_bounds(config)


@pytest.mark.parametrize("kind", [*BENCHMARKS.values(), *ANALYSES.values()])
def test_other_commands_keep_to_the_bounds_too(kind):
    for name in paths_of(kind(), int):
        if name != "seed":
            with pytest.raises(ConfigError, match=f"{name} is .*at most"):
                kind(**{name: 2**40})
