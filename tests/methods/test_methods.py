"""What each method fixes, and the limiting cases in which methods are the same."""

import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from pairstill.config import (
    AutoPhasesConfig,
    CharacteristicConfig,
    HeadsConfig,
    ImageConfig,
    OuterConfig,
    PhaseConfig,
    RunConfig,
    TeacherConfig,
    TrajectoryConfig,
)
from pairstill.config.yaml_files import plain
from pairstill.core.errors import ConfigError
from pairstill.methods import METHODS, find_method, with_method
from pairstill.methods.apm import ApmConfig
from pairstill.methods.coresets import CoresetConfig
from pairstill.methods.ncfm import NcfmConfig
from pairstill.methods.stored import todays

TWO = TrajectoryConfig(
    phases=(
        PhaseConfig(num_pairs=99, outer_steps=50, range_start=0, range_end=2, endpoint=6),
        PhaseConfig(num_pairs=100, outer_steps=30, range_start=2, range_end=4, endpoint=8),
    )
)
TRAJECTORY = [method for method in METHODS if method.settings is TrajectoryConfig]
OTHERS = [method for method in METHODS if method.settings is not TrajectoryConfig]


def run(distill=TWO, method="ptm_st"):
    """Settings with which every method goes: ten epochs of teachers behind a frozen tower."""
    return RunConfig(
        method=method,
        distill=distill,
        teacher=TeacherConfig(epochs=10, keep="all"),
        image=ImageConfig(trainable=False),
        heads=HeadsConfig(kind="linear", image=True, width=8),
    )


def parts(name, distill=TWO):
    return with_method(run(distill, name)).distill


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_settings_that_are_resolved_stay(method):
    once = with_method(run(method=method.name))
    assert isinstance(once.distill, method.settings) and with_method(once) == once


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_a_method_fixes_is_a_setting_of_its_own_and_has_a_reason(method):
    names = {field.name for field in fields(method.settings)}
    assert all(fixed.name in names and fixed.why for fixed in method.fixed)
    distill = parts(method.name)
    assert all(getattr(distill, fixed.name) == fixed.value for fixed in method.fixed)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("mtt_vl", {"loss": "infonce"}),
        ("ncfm", {"ema": False}),
        ("apm", {"ema": False, "outer": OuterConfig(lr_images=3.0)}),
        ("random", {"loss": "infonce"}),
        ("lors", {"shortcut": False}),
        ("lors", {"blend": True}),
        ("lors", {"range_growth": 0.5}),
        ("mtt_vl", {"start_sampling": "continuous"}),
        ("mct", {"range_growth": 0.5}),
        ("mct", {"shortcut": False}),
        ("mct", {"auto_phases": AutoPhasesConfig()}),
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


def test_the_whole_path_reaches_the_last_target_in_either_reading():
    assert parts("mct", replace(TWO, range_reading="exclusive")).phases[0].range_end == 10


def test_methods_with_settings_of_their_own_take_the_benchmarks():
    assert parts("apm") == ApmConfig(num_pairs=199, outer_steps=80)
    assert parts("ncfm") == NcfmConfig(num_pairs=199, outer_steps=80, endpoint=6)
    assert parts("herding") == CoresetConfig(num_pairs=199, endpoint=6)
    recorded = replace(TWO, shortcut=False, batch_size=8, range_reading="exclusive", matching_span=2)
    assert parts("herding", recorded) == CoresetConfig(num_pairs=199, endpoint=3, batch_size=8)
    outer = OuterConfig("sgd", "absolute", lr_images=0.3, lr_texts=0.4, weight_decay=0.0)
    ncfm = parts("ncfm", replace(TWO, outer=outer, lr_image=0.7)).loop
    assert (ncfm.outer, ncfm.lr_image) == (replace(outer, optimizer="adamw", betas=(0.9, 0.999)), 0.7)
    assert parts("apm", replace(TWO, outer=outer)).outer == OuterConfig(
        rate_unit="absolute", lr_images=0.1, lr_texts=0.1, betas=(0.6, 0.9)
    )


def test_the_outer_loop_of_one_phase_keeps_its_last_pairs_and_learns_no_similarities():
    loop = parts("apm").loop
    assert (loop.num_pairs, loop.phased, loop.ema, loop.loss) == (199, False, False, "infonce")
    assert parts("lors").loop == parts("lors")


@pytest.mark.parametrize("method", OTHERS, ids=lambda method: method.name)
def test_methods_that_match_no_trajectories_store_no_similarities_and_let_validation_choose_rates(method):
    assert parts(method.name).loss == "infonce" and method.student != "learned_rates"
    with pytest.raises(ConfigError, match=f"method {method.name} matches no trajectories"):
        _ = with_method(run(method=method.name)).matching


@pytest.mark.parametrize("spelled", [{}, {"loss": "infonce"}, {"phased": False}, {"loss": "infonce", "phased": False}])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_makes_as_many_pairs_as_the_settings_say_however_they_are_spelled(method, spelled):
    one = replace(TWO, phases=(replace(TWO.phases[0], num_pairs=199),), **spelled)
    assert parts(method.name, one).num_pairs == parts(method.name).num_pairs == 199


def test_settings_take_the_parts_of_their_method():
    config = RunConfig(method="lors")
    assert with_method(config).distill == parts("lors", config.distill)
    with pytest.raises(ConfigError, match=r"method is 'loors'; did you mean lors\? The methods are random, herding"):
        with_method(RunConfig(method="loors"))
    with pytest.raises(ConfigError, match="method repblend needs a frozen image tower.*--heads.kind residual"):
        with_method(RunConfig(method="repblend"))
    with pytest.raises(ConfigError, match="distill holds ApmConfig, but method lors takes TrajectoryConfig"):
        with_method(run(ApmConfig(), "lors"))


def test_an_endpoint_beyond_the_teachers_is_refused_where_it_is_read():
    late, teacher = CoresetConfig(endpoint=7), TeacherConfig(epochs=6)
    assert RunConfig(distill=late, teacher=replace(teacher, keep="all")).distill == late
    with pytest.raises(ConfigError, match="distill.endpoint is 7, but teachers train 6 epochs"):
        RunConfig(distill=late, teacher=teacher)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_stored_settings_of_today_are_read_as_they_are(method):
    now = plain(with_method(run(method=method.name)))
    assert todays(now) == now


def stored_before(method):
    """Settings as they were stored when every method had those of all: the trajectory family's, and two objectives'."""
    before = plain(run(method=method.name))
    clusters = asdict(CharacteristicConfig(clusters=3))
    objectives = {"projector": {"ridges": [0.3], "width": 64}, "characteristic": clusters}
    objective = {"apm": "projector", "ncfm": "characteristic"}.get(method.name, "trajectory")
    before["distill"] |= {"objective": objective, **objectives}
    del before["evaluate"]["closed_form"]
    return before


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_settings_from_before_methods_had_their_own_mean_what_they_meant(method):
    found = todays(stored_before(method))
    if method in TRAJECTORY:
        assert found["distill"] == plain(run())["distill"]
    else:
        own = {**plain(with_method(run(method=method.name)))["distill"]}
        if method.name == "apm":
            own["projector"] |= {"ridges": [0.3], "width": 64}
        if method.name == "ncfm":
            own["characteristic"]["clusters"] = 3
        assert found["distill"] == own
    # how students are solved in closed form is decided by APM's settings, or else by those of the evaluation
    form = {"ridges": [0.3], "width": 64} if method.name != "apm" else plain(run())["evaluate"]["closed_form"]
    assert found["evaluate"]["closed_form"] == form


def test_the_example_in_the_guide_is_a_method():
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    defined = {}
    exec(compile(example, "CONTRIBUTING.md", "exec"), defined)
    method = defined["SHORT_SEGMENTS"]
    config = with_method(RunConfig(method=method.name), (*METHODS, method))
    assert config.distill == replace(config.distill, inner_steps=4) != RunConfig().distill
    assert find_method(method.name, (*METHODS, method)) is method
