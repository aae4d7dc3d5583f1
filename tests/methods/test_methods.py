"""What each method sets, and the limiting cases in which methods are the same."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pairstill import methods
from pairstill.config import (
    AutoPhasesConfig,
    DistillConfig,
    HeadsConfig,
    ImageConfig,
    PhaseConfig,
    RunConfig,
    TeacherConfig,
)
from pairstill.errors import ConfigError
from pairstill.methods import METHODS, find_method, with_method

TWO = DistillConfig(
    phases=(
        PhaseConfig(num_pairs=99, outer_steps=50, range_start=0, range_end=2, endpoint=6),
        PhaseConfig(num_pairs=100, outer_steps=30, range_start=2, range_end=4, endpoint=8),
    )
)


def run(distill=TWO):
    """Settings with which every method goes: ten epochs of teachers behind a frozen tower."""
    return RunConfig(
        distill=distill,
        teacher=TeacherConfig(epochs=10, keep="all"),
        image=ImageConfig(trainable=False),
        heads=HeadsConfig(kind="linear", image=True, width=8),
    )


def parts(name, distill=TWO):
    return find_method(name).set_parts(run(distill))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_parts_that_are_set_again_stay(method):
    once = method.set_parts(run())
    assert method.set_parts(run(once)) == once


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("mtt_vl", {"loss": "infonce"}),
        ("ncfm", {"objective": "characteristic", "loss": "infonce"}),
        ("ncfm", {"ema": False}),
        ("apm", {"objective": "projector", "loss": "infonce"}),
        ("apm", {"ema": False}),
        ("random", {"loss": "infonce"}),
        ("lors", {"shortcut": False}),
        ("lors", {"blend": True}),
        ("lors", {"range_growth": 0.5}),
        ("mtt_vl", {"start_sampling": "continuous"}),
        ("mct", {"range_growth": 0.5}),
        ("mct", {"auto_phases": AutoPhasesConfig()}),
        ("lors", {"objective": "characteristic", "loss": "infonce"}),
    ],
)
def test_what_the_settings_have_of_this_or_another_method_makes_no_difference(name, own):
    assert parts(name, replace(TWO, **own)) == parts(name)


def test_names_are_unique_and_documented():
    assert len({method.name for method in METHODS}) == len(METHODS)
    for method in METHODS:
        assert method.title and method.source and method.makes
        assert set(method.needs) <= {"teacher", "trajectories", "features"}


def test_trajectory_methods_without_phases_have_all_pairs_and_steps_in_one():
    expected = PhaseConfig(num_pairs=199, outer_steps=80, range_start=0, range_end=2, endpoint=6)
    assert parts("lors") == replace(TWO, phases=(expected,), phased=False, shortcut=False, ema=False)
    assert parts("mtt_vl").phases == (expected,)
    assert parts("mtt_vl").loss == "infonce" and not parts("mtt_vl").shortcut
    assert parts("mct").phases == parts("datm").phases == (replace(expected, range_end=9, endpoint=10),)


def test_one_phase_does_the_warm_starts_of_all():
    warm = replace(TWO, features_first=replace(TWO.features_first, steps=300))
    assert parts("lors", warm).features_first.steps == parts("apm", warm).features_first.steps == 600
    assert parts("ptm_st", warm).features_first.steps == 300


def test_limiting_cases():
    lors = parts("lors")
    # DATM with a constant bound is LoRS
    assert replace(parts("datm"), range_growth=0.0, phases=lors.phases) == lors and parts("datm").range_growth == 0.5
    assert parts("datm", replace(TWO, range_growth=0.25)).range_growth == 0.25
    assert replace(parts("repblend"), blend=False) == lors
    assert replace(parts("ptm_st_blend"), blend=False) == parts("ptm_st") == TWO
    # MCT with whole epochs is the shortcut without phases and average
    one = replace(TWO, phases=parts("datm").phases, phased=False, ema=False)
    assert replace(parts("mct"), start_sampling="epochs") == one


def test_trajectories_are_matched_whatever_objective_the_settings_have():
    other = replace(TWO, objective="characteristic", loss="infonce")
    for method in METHODS:
        if "trajectories" in method.needs and method.name != "ncfm" and method.rule is None:
            assert parts(method.name, other).objective == "trajectory"


def test_the_whole_path_reaches_the_last_target_in_either_reading():
    assert parts("mct", replace(TWO, range_reading="exclusive")).phases[0].range_end == 10


@pytest.mark.parametrize("name", ["random", "herding", "k_center", "forgetting"])
def test_coresets_store_no_similarities(name):
    assert parts(name).loss == "infonce"


@pytest.mark.parametrize("spelled", [{}, {"loss": "infonce"}, {"phased": False}, {"loss": "infonce", "phased": False}])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_makes_as_many_pairs_as_the_settings_say_however_they_are_spelled(method, spelled):
    one = replace(TWO, phases=(replace(TWO.phases[0], num_pairs=199),), **spelled)
    assert method.set_parts(run(one)).num_pairs == 199
    assert method.set_parts(run(TWO)).num_pairs == 199


def test_settings_take_the_parts_of_their_method():
    config = RunConfig(method="lors")
    assert with_method(config).distill == parts("lors", config.distill)
    with pytest.raises(ConfigError, match=r"method is 'loors'; did you mean lors\? The methods are random, herding"):
        with_method(RunConfig(method="loors"))
    with pytest.raises(ConfigError, match="method repblend needs a frozen image tower.*--heads.kind residual"):
        with_method(RunConfig(method="repblend"))


def test_the_example_in_the_guide_is_a_method(monkeypatch):
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    defined = {}
    exec(compile(example, "CONTRIBUTING.md", "exec"), defined)
    method = defined["SHORT_STRETCHES"]
    monkeypatch.setattr(methods, "METHODS", (*METHODS, method))
    config = with_method(RunConfig(method=method.name))
    assert config.distill == replace(config.distill, inner_steps=4) != RunConfig().distill
