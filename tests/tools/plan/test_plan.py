import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pairstill import cli
from pairstill.config import (
    AutoPhasesConfig,
    DataConfig,
    EvaluateConfig,
    HeadsConfig,
    HypergradientConfig,
    ImageConfig,
    PhaseConfig,
    ReferencesConfig,
    RunConfig,
    ScenesConfig,
    StudentConfig,
    TeacherConfig,
    TowerConfig,
    TrajectoryConfig,
)
from pairstill.core.errors import ConfigError
from pairstill.run.pipeline import Run
from pairstill.teachers.trajectory import SHARED
from pairstill.tools.plan import make_plan
from pairstill.tools.plan.counts import count, validated_epochs
from pairstill.tools.plan.fit import PlannedMode, cache_bytes, warnings_of
from pairstill.tools.plan.probe import batch_seconds, encoding_seconds, probe_context

PHASES = (PhaseConfig(6, 9, 0, 1, 2), PhaseConfig(5, 4, 1, 1, 3))


@pytest.fixture
def config(tmp_path):
    return RunConfig(
        run_dir=str(tmp_path / "run"),
        device="cpu",
        cache_dir=str(tmp_path / "cache"),
        data=DataConfig(scenes=ScenesConfig(train=24, val=6, test=8, size=16)),
        image=ImageConfig(size=16),
        teacher=TeacherConfig(num_experts=3, epochs=4, batch_size=8),
        distill=TrajectoryConfig(phases=PHASES, batch_size=4, inner_steps=2, validate_every=4),
        student=StudentConfig(epochs=5, validate_every=2),
        evaluate=EvaluateConfig(num_students=2, rate_scales=(0.3, 1.0), references=ReferencesConfig(full_epochs=None)),
    )


def test_counts_by_hand(config):
    found = count(config, images=25, captions=125)
    assert found.teacher_batches == 3  # 8 + 8 + 8; a last batch of one is left out
    assert found.teacher_epochs == 12 and found.full_epochs == 4 and found.trials == 3
    assert found.validations == (3, 1)  # after 4, 8, 9 and after 4
    assert found.recalls_per_phase == 3  # after 2, 4, 5
    everything = replace(config, teacher=replace(config.teacher, captions="all"))
    assert count(everything, images=25, captions=125).teacher_batches == 16
    assert count(replace(config, distill=replace(config.distill, validate_every=0)), 25, 125).validations == (0, 0)


@pytest.mark.parametrize(("epochs", "every", "validated"), [(50, 1, 50), (100, 3, 34), (5, 10, 1)])
def test_the_last_epoch_is_always_validated(epochs, every, validated):
    assert validated_epochs(StudentConfig(epochs=epochs, validate_every=every)) == validated


@pytest.mark.parametrize("trainable", [True, False])
def test_a_plan_predicts_the_files_of_the_run_and_leaves_nothing(config, tmp_path, trainable):
    if not trainable:
        frozen = replace(config.image, trainable=False)
        config = replace(config, image=frozen, heads=HeadsConfig("linear", image=True, width=8))
    told = []
    plan = make_plan(config, told.append)
    assert told and not (tmp_path / "run").exists()
    assert [stage.name for stage in plan.stages] == ["prepare", "teach", "distill", "evaluate"]
    assert all(stage.seconds > 0 for stage in plan.stages) and len(plan.seconds_per_step) == 2
    assert plan.warnings == () and plan.chosen_mode == ("exact_store" if trainable else "exact_span")

    experts = Run(config).teach()
    written = [path.stat().st_size for path in experts]
    # headers tell of seeds and settings, tensors are the same
    assert plan.expert_bytes == pytest.approx(written[0], rel=0.05)
    shared = experts[0].parent / SHARED
    assert plan.trajectory_bytes == pytest.approx(sum(written) + shared.stat().st_size, rel=0.05)
    assert plan.disk_bytes > plan.trajectory_bytes


def test_views_are_planned(config):
    frozen = replace(config, image=replace(config.image, trainable=False), heads=HeadsConfig(image=True, width=8))
    seen = replace(frozen, teacher=replace(config.teacher, augment="paper", views=3))
    plain, views = probe_context(frozen), probe_context(seen)
    assert len(views.splits.train.views) == 3 and views.splits.val.views == ()
    assert encoding_seconds(views) > 0
    assert cache_bytes(views) - cache_bytes(plain) == 3 * 24 * 128 * 4
    assert batch_seconds(views) > 0


def test_teachers_that_are_there_are_not_planned_again(config):
    Run(replace(config, run_dir=config.run_dir + "_other", teacher=replace(config.teacher, num_experts=2))).teach()
    plan, fresh = make_plan(config), make_plan(replace(config, reuse=False))
    shown = {stage.name: stage for stage in plan.stages}["teach"]
    assert shown.detail == "2 of 3 teachers found, 4 epochs of 3 mini-batches" and shown.seconds > 0
    assert plan.trajectory_bytes < fresh.trajectory_bytes and fresh.stages[1].detail == "12 epochs of 3 mini-batches"
    plan = make_plan(replace(config, teacher=replace(config.teacher, num_experts=2)))
    assert (plan.stages[1].seconds, plan.stages[1].detail) == (0, "2 of 2 teachers found")
    assert plan.trajectory_bytes == 0 and plan.disk_bytes < fresh.disk_bytes - fresh.trajectory_bytes + 1


def test_teachers_in_the_run_s_own_folder_are_found(config):
    own = replace(config, reuse=False)
    Run(own).teach()
    assert make_plan(own).stages[1].detail == "3 of 3 teachers found"


def test_a_tower_whose_weights_are_gone_is_refused_before_all_pairs_are_read(config, tmp_path):
    gone = replace(config, image=replace(config.image, weights=str(tmp_path / "gone.safetensors")))
    with pytest.raises(ConfigError, match="image.weights is .*gone.safetensors.* no file"):
        make_plan(gone)
    for stage in ("prepare", "teach", "distill", "run", "evaluate"):
        pipeline = Run(replace(gone, run_dir=str(tmp_path / stage), evaluate=EvaluateConfig(methods=("full",))))
        with pytest.raises(ConfigError, match="image.weights is .*gone.safetensors.* no file"):
            getattr(pipeline, stage)()
        assert "pairs" not in vars(pipeline)


def test_the_image_is_one_of_its_views_on_request(config):
    frozen = replace(config, image=replace(config.image, trainable=False), heads=HeadsConfig(image=True, width=8))
    teacher = replace(config.teacher, augment="paper", views=1, image_is_view=True)
    splits = Run(replace(frozen, teacher=teacher)).context.splits
    own, augmented = (view.all() for view in splits.train.views)
    assert torch.equal(own, splits.train.images.all()) and not torch.equal(own, augmented)
    assert splits.val.views == splits.test.views == ()


def test_every_epoch_takes_more_than_the_endpoints(config):
    endpoints = make_plan(config)
    everything = make_plan(replace(config, teacher=replace(config.teacher, keep="all")))
    # four snapshots instead of two
    assert 1.4 < everything.expert_bytes / endpoints.expert_bytes < 2.1


@pytest.mark.parametrize(("min_pairs", "phases"), [(99, 1), (5, 2)])
def test_phases_that_set_themselves_are_planned_as_equal_ones(config, min_pairs, phases):
    auto = AutoPhasesConfig(min_pairs=min_pairs)
    distill = replace(config.distill, auto_phases=auto, validate_every=0)
    plan = make_plan(replace(config, teacher=replace(config.teacher, keep="all"), distill=distill))
    (stage,) = (stage for stage in plan.stages if stage.name == "distill")
    assert len(plan.seconds_per_step) == phases
    assert f"as if {phases} equal phases set themselves, without the choice" in stage.detail
    assert ("13 x" if phases == 1 else "7 x") in stage.detail


def test_a_named_mode_is_the_chosen_one_and_all_are_estimated(config):
    distill = replace(config.distill, hypergradient=HypergradientConfig(mode="exact_recompute"))
    plan = make_plan(replace(config, distill=distill))
    peaks = {mode.mode: mode.peak_bytes for mode in plan.modes}
    assert plan.chosen_mode == "exact_recompute"
    assert peaks["exact_store"] == peaks["unrolled"] > peaks["exact_recompute"] == peaks["truncated"] > 0


def modes(**fits):
    return tuple(PlannedMode(mode, 10, fit) for mode, fit in fits.items())


def test_warnings_name_the_settings_that_would_make_it_fit(config):
    tight = modes(exact_store=False, exact_recompute=True)
    (memory,) = warnings_of(config, tight, "exact_store", 1, 2)
    assert "distill.hypergradient.mode to exact_recompute" in memory and "distill.batch_size" in memory
    (hopeless,) = warnings_of(config, modes(exact_recompute=False), "exact_recompute", 1, 2)
    assert "image.size" in hopeless and "distill.hypergradient.micro_batch" in hopeless
    (disk,) = warnings_of(config, modes(exact_store=True), "exact_store", 2, 1)
    assert "teacher.num_experts" in disk and "teacher.keep" not in disk
    everything = replace(config, teacher=replace(config.teacher, keep="all"))
    (disk,) = warnings_of(everything, modes(exact_store=True), "exact_store", 2, 1)
    assert "set teacher.keep to endpoints" in disk
    automatic = replace(everything, distill=replace(config.distill, auto_phases=AutoPhasesConfig()))
    (disk,) = warnings_of(automatic, modes(exact_store=True), "exact_store", 2, 1)
    assert "teacher.keep" not in disk, "phases that set themselves need every snapshot"


def test_methods_without_trajectories_are_refused_with_those_that_have_them(config):
    for method in ("herding", "ncfm"):
        with pytest.raises(ConfigError, match=f"method {method} matches no trajectories.*lors.*ptm_st"):
            make_plan(replace(config, method=method))


def test_a_warm_start_is_planned(config):
    frozen = replace(
        config,
        image=replace(config.image, trainable=False),
        heads=HeadsConfig(image=True, width=4),
        method="features_first",
    )
    plan = make_plan(frozen)
    (distilling,) = (stage for stage in plan.stages if stage.name == "distill")
    assert "a warm start" in distilling.detail and distilling.seconds > 0


@pytest.mark.parametrize("towers", [(), (TowerConfig(size=8, init_seed=1),)])
def test_photos_that_are_kept_are_planned_for_one_tower_and_for_two(config, towers):
    frozen = replace(
        config,
        method="ptm_st_kept",
        image=ImageConfig(size=16, trainable=False),
        heads=HeadsConfig(image=True, width=8),
        distill=replace(config.distill, images="kept"),
    )
    plan = make_plan(replace(frozen, towers=towers))
    assert len(plan.seconds_per_step) == 2 and plan.disk_bytes > 0


def test_a_full_disk_is_told(config):
    asked = []
    plan = make_plan(config, free_bytes=lambda path: asked.append(path) or 10)
    assert "will not fit on the disk" in plan.warnings[0] and plan.free_disk_bytes == 10
    assert asked == [Path(config.run_dir)]


TINY = [
    "--data.scenes={train: 24, val: 6, test: 8, size: 16}",
    "--image.size=16",
    "--device=cpu",
    "--distill.phases=[{num_pairs: 6, outer_steps: 3, range_start: 0, range_end: 1, endpoint: 2}]",
    "--student.epochs=2",
]


def test_the_command_line_prints_tables_or_json(tmp_path, capsys):
    arguments = ["plan", f"--run_dir={tmp_path / 'run'}", f"--cache_dir={tmp_path / 'cache'}", *TINY]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "exact_recompute" in shown and "trajectories" in shown and "It fits." in shown
    assert cli.main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seconds"] == pytest.approx(sum(stage["seconds"] for stage in plan["stages"]))
    assert not (tmp_path / "run").exists()


def test_wrong_settings_are_the_same_error_as_in_a_run(capsys):
    assert cli.main(["plan", "--teacher.epochs=2"]) == 2
    assert "raise teacher.epochs" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="raise teacher.epochs"):
        RunConfig(teacher=TeacherConfig(epochs=2))
