import shutil
from dataclasses import replace

import pytest
import torch

from pairstill.config import (
    FeaturesFirstConfig,
    OuterConfig,
    PhaseConfig,
    SimilarityConfig,
    TeacherConfig,
    TrajectoryConfig,
)
from pairstill.core.errors import ArtifactError
from pairstill.distill.features_first import FeatureRange, features_of
from pairstill.distill.initial import InitialPairs
from pairstill.distill.phases import Distillation
from pairstill.distill.recipe import Recipe, matching_of, pixels_of
from pairstill.events import InversionEnded, InversionStep, ModeChosen, OuterStep, Validated
from pairstill.storage import load_tensors, save_tensors
from pairstill.teachers.shortcut import ExpertPaths, recorded_path, shortcut_path
from pairstill.teachers.training import epochs_to_keep
from pairstill.teachers.trajectory import Trajectory, TrajectoryRecorder

CPU = torch.device("cpu")
PHASES = (
    PhaseConfig(num_pairs=4, outer_steps=3, range_start=0, range_end=1, endpoint=2),
    PhaseConfig(num_pairs=3, outer_steps=2, range_start=1, range_end=2, endpoint=3),
)
CONFIG = TrajectoryConfig(
    phases=PHASES,
    inner_steps=2,
    batch_size=3,
    checkpoint_every=1,
    validate_every=0,
    outer=OuterConfig(lr_images=0.01, lr_texts=0.01, lr_similarity=0.01, lr_inner_lr=0.001),
)


@pytest.fixture
def experts(tmp_path, make_factory, walk):
    """Two experts of three epochs on disk, with the snapshots that the settings ask for."""

    def make(config=CONFIG, *, frozen=False):
        paths = []
        for expert in range(2):
            initial = make_factory(trainable=not frozen, image=True, width=4).initial_parameters(expert)
            recorder = TrajectoryRecorder(initial, epochs_to_keep(TeacherConfig(epochs=3), config))
            for place in walk(initial, 3, seed=expert):
                recorder.add(place)
            paths.append(tmp_path / "experts" / f"{expert}.safetensors")
            recorder.save(paths[-1], {})
        return paths

    return make


@pytest.fixture
def make_distillation(experts, make_factory):
    def make(config=CONFIG, seed=0, *, frozen=False):
        factory = make_factory(trainable=not frozen, image=True, width=4)
        generator = torch.Generator().manual_seed(3)
        initial = [
            InitialPairs(
                torch.randn(phase.num_pairs, 3, 6, 6, generator=generator),
                torch.randn(phase.num_pairs, 7, generator=generator),
                tuple(f"caption {i}" for i in range(phase.num_pairs)),
                tuple(f"{i}.png" for i in range(phase.num_pairs)),
            )
            for phase in config.phases
        ]
        tower = factory.encoder.tower if frozen else None
        recipe = Recipe(
            pixels_of(initial, tower, (0.1, 0.2), seed, CPU),
            matching_of(experts(config, frozen=frozen), seed, factory),
        )
        return Distillation(
            config=config,
            recipe=recipe,
            device=CPU,
            describe={
                "image_encoder": {"name": "smooth"},
                "text_encoder": {},
                "heads": {},
                "provenance": {"seed": seed},
            },
        )

    return make


def initial_of(distillation):
    """The parametrisations that a distillation's phases begin with."""
    return [
        distillation.recipe.pairs(number + 1, distillation.config) for number in range(len(distillation.config.phases))
    ]


def run(distillation, folder, on_step=lambda report: None):
    return distillation.run(folder, lambda event: on_step(event) if isinstance(event, OuterStep) else None)


def same(a, b):
    return all(
        torch.equal(p.images, q.images)
        and torch.equal(p.text_embeddings, q.text_embeddings)
        and torch.equal(p.similarity, q.similarity)
        and (p.inner_lr_image, p.inner_lr_text) == (q.inner_lr_image, q.inner_lr_text)
        for p, q in zip(a.phases, b.phases, strict=True)
    )


def test_every_phase_learns_its_own_pairs(make_distillation, tmp_path):
    distillation = make_distillation()
    reports = []
    distilled = run(distillation, tmp_path / "d", reports.append)
    assert [(r.phase, r.step) for r in reports] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert {epoch for r in reports[3:] for epoch in r.notes["start_epochs"]} <= {1, 2}
    for phase, initial in zip(distilled.phases, initial_of(distillation), strict=True):
        assert phase.images.shape == initial.images.shape and not torch.equal(phase.images, initial.images)
        assert phase.captions == initial.captions and phase.sources == initial.sources
        assert phase.similarity.shape == (phase.num_pairs, phase.num_pairs)
        assert phase.inner_lr_image == pytest.approx(0.1, abs=0.01) and phase.inner_lr_image != 0.1
        assert phase.inner_lr_text == pytest.approx(0.2, abs=0.01)
    assert distilled.loss == "wbce" and distilled.provenance == {"seed": 0}
    assert distilled.image_encoder == {"name": "smooth"}


WARM = replace(CONFIG, phases=PHASES[:1], features_first=FeaturesFirstConfig(steps=4, inversion_steps=3))


def test_features_are_distilled_first_then_pixels(make_distillation, tmp_path):
    reports = []
    distilled = run(make_distillation(WARM, frozen=True), tmp_path / "d", reports.append)
    told = [(report.stage, report.step, report.steps) for report in reports]
    assert told == [("features", n, 4) for n in (1, 2, 3, 4)] + [("pixels", n, 3) for n in (1, 2, 3)]
    assert distilled.phases[0].images.shape == (4, 3, 6, 6)
    cold = run(make_distillation(replace(CONFIG, phases=PHASES[:1]), frozen=True), tmp_path / "cold")
    assert not same(distilled, cold)


def test_distilled_features_stay_in_the_range_of_real_ones(make_distillation, tmp_path):
    free, told = make_distillation(WARM, frozen=True), []
    run(free, tmp_path / "free")
    left = load_tensors(tmp_path / "free" / "phase1.features.safetensors")["images"]
    bounds = FeatureRange.of([features_of(initial_of(free)[0].kind.tower, initial_of(free)[0].images)])
    kept = replace(free, feature_ranges=(bounds,))
    kept.run(tmp_path / "kept", told.append)
    held = load_tensors(tmp_path / "kept" / "phase1.features.safetensors")["images"]

    def outside(features):
        return ((features < bounds.lower - 1e-6) | (features > bounds.upper + 1e-6)).sum().item()

    assert outside(left) > 0 and outside(held) == 0
    steps = [event for event in told if isinstance(event, InversionStep)]
    assert [(event.phase, event.step, event.steps) for event in steps] == [(1, 1, 3), (1, 2, 3), (1, 3, 3)]
    (ended,) = (event for event in told if isinstance(event, InversionEnded))
    assert ended.relative_square_error == steps[-1].error  # one chunk of images: all are done at once
    # nothing decides the way of the hypergradient but that of the pixels
    assert [type(event) for event in told].count(ModeChosen) == 1


def test_pixels_move_less_after_a_warm_start(make_distillation, tmp_path):
    def moved(rate_after):
        first = replace(WARM.features_first, rate_after=rate_after)
        folder = tmp_path / f"{rate_after}"
        distilled = run(make_distillation(replace(WARM, features_first=first), frozen=True), folder)
        found = load_tensors(folder / "phase1.warm.safetensors")["images"]
        return (distilled.phases[0].images - found).abs().mean().item()

    # Adam's steps are about as long as its rate
    assert moved(0.1) == pytest.approx(0.1 * moved(1.0), rel=0.2)


def test_rates_after_a_warm_start_are_in_units_of_what_it_left(make_distillation, tmp_path):
    rates = OuterConfig(lr_texts=0.3, lr_inner_lr=0.3)
    one_step = replace(WARM, phases=(replace(WARM.phases[0], outer_steps=1),), outer=rates, ema=False)
    distilled = run(make_distillation(one_step, frozen=True), tmp_path).phases[0]
    warm, started = load_tensors(tmp_path / "phase1.warm.safetensors"), make_distillation(one_step, frozen=True)
    # the first step of Adam is its rate, whatever the gradient
    moved = {
        "texts": (distilled.text_embeddings - warm["texts"]).abs().max(),
        "inner_lr_image": (torch.tensor(distilled.inner_lr_image) - warm["inner_lr_image"]).abs(),
    }
    assert float(moved["texts"]) == pytest.approx(0.3 * float(warm["texts"].std()), rel=1e-2)
    assert float(moved["inner_lr_image"]) == pytest.approx(0.3 * float(warm["inner_lr_image"]), rel=1e-2)
    assert float(warm["texts"].std()) != pytest.approx(
        float(started.recipe.pairs(1, started.config).texts.std()), rel=2e-2
    )


@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_killed_warm_start_goes_on_to_the_same_pairs(make_distillation, tmp_path, at):
    distillation, steps = make_distillation(WARM, frozen=True), []
    whole = run(distillation, tmp_path / "whole")

    def kill(report):
        steps.append(report)
        if len(steps) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(distillation, tmp_path / "killed", kill)
    assert same(run(distillation, tmp_path / "killed"), whole)


def test_phases_are_independent(make_distillation, tmp_path):
    whole = run(make_distillation(), tmp_path / "whole")
    alone = run(make_distillation(replace(CONFIG, phases=PHASES[:1])), tmp_path / "alone")
    assert torch.equal(whole.phases[0].images, alone.phases[0].images)


def test_finished_phases_leave_their_result_and_no_checkpoint(make_distillation, tmp_path):
    run(make_distillation(), tmp_path / "d")
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["phase1.safetensors", "phase2.safetensors"]


@pytest.mark.parametrize("kill", [(1, 2), (2, 1), (2, 2)])
def test_a_killed_distillation_goes_on_to_the_same_bits(make_distillation, tmp_path, kill):
    straight = run(make_distillation(), tmp_path / "straight")

    def killed(report):
        if (report.phase, report.step) == kill:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_distillation(), tmp_path / "killed", killed)
    reports = []
    assert same(run(make_distillation(), tmp_path / "killed", reports.append), straight)
    assert (reports[0].phase, reports[0].step) == kill
    steps = []
    assert same(run(make_distillation(), tmp_path / "killed", steps.append), straight)
    assert steps == []


@pytest.mark.parametrize("kind", ["full", "low_rank"])
@pytest.mark.parametrize("loss", ["wbce", "infonce"])
def test_what_is_kept_of_the_similarity(make_distillation, tmp_path, kind, loss):
    similarity = SimilarityConfig(kind=kind, rank=2, scale=3.0)
    distilled = run(make_distillation(replace(CONFIG, loss=loss, similarity=similarity)), tmp_path / "d")
    names = {"full": {"matrix"}, "low_rank": {"weights", "left", "right", "scale"}}[kind] if loss == "wbce" else set()
    for phase in distilled.phases:
        assert set(phase.similarity_factors) == names
        changed = not torch.equal(phase.similarity, torch.eye(phase.num_pairs))
        assert changed is (loss == "wbce")
    assert distilled.loss == loss


def test_validation_sees_all_phases_so_far(make_distillation, tmp_path):
    seen, told = [], []

    def validate(distilled):
        seen.append([phase.num_pairs for phase in distilled.phases])
        return float(len(seen))

    distillation = replace(make_distillation(replace(CONFIG, validate_every=2)), validate=validate)
    distillation.run(tmp_path / "d", lambda event: told.append(event) if isinstance(event, Validated) else None)
    assert seen == [[4], [4], [4, 3]]
    assert told == [
        Validated(phase=phase, step=step, validation_mean_recall=recall)
        for phase, step, recall in ((1, 2, 1.0), (1, 3, 2.0), (2, 2, 3.0))
    ]


def test_the_seed_matters(make_distillation, tmp_path):
    assert not same(run(make_distillation(), tmp_path / "a"), run(make_distillation(seed=1), tmp_path / "b"))


@pytest.mark.parametrize("shortcut", [True, False])
def test_expert_paths_are_shortcuts_or_snapshots(experts, shortcut):
    config = replace(CONFIG, shortcut=shortcut)
    files = experts(config)
    paths = ExpertPaths(files, PHASES[1], config, CPU)
    assert len(paths) == 2
    trajectory = Trajectory.open(files[1])
    expected = shortcut_path(trajectory, 3, CPU) if shortcut else recorded_path(trajectory, 1, 3, CPU)
    for epoch in (1, 2, 3):
        found = paths[1].at(epoch)
        assert all(torch.equal(found[name], value) for name, value in expected.at(epoch).items())


def test_expert_paths_are_read_when_asked_for_and_the_last_stay(experts, tmp_path):
    files = experts()
    places = [tmp_path / "moved" / file.name for file in files]
    paths = ExpertPaths(places, PHASES[0], CONFIG, CPU, in_memory=1)
    shutil.copytree(files[0].parent, tmp_path / "moved")  # nothing was read before
    first = paths[0]
    places[0].unlink()
    assert paths[0] is first
    second = paths[1]
    places[1].unlink()
    assert paths[1] is second
    with pytest.raises(ArtifactError, match="does not exist"):
        _ = paths[0]  # forgotten for the second


def test_a_result_on_disk_is_taken_as_it_is(make_distillation, tmp_path):
    first = run(make_distillation(), tmp_path / "d")
    from pairstill.storage import load_tensors

    stored = load_tensors(tmp_path / "d" / "phase1.safetensors")
    stored["images"] += 1
    save_tensors(tmp_path / "d" / "phase1.safetensors", stored)
    again = run(make_distillation(), tmp_path / "d")
    torch.testing.assert_close(again.phases[0].images, first.phases[0].images + 1)


def test_a_growing_range_has_grown_when_the_pixels_begin(make_distillation, tmp_path):
    settings = replace(WARM, range_growth=1.0, trajectories_per_step=16)
    reports = []
    run(make_distillation(settings, frozen=True), tmp_path / "run", reports.append)
    first = {stage: next(r for r in reports if r.stage == stage) for stage in ("features", "pixels")}
    assert set(first["features"].notes["start_epochs"]) == {0} and set(first["pixels"].notes["start_epochs"]) == {0, 1}
