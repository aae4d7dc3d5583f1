"""What each benchmark compares is the same computation, done in several ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pairstill.core.errors import ConfigError
from pairstill.tools.bench import frozen, hypergradient, recall, teacher, trajectories
from pairstill.tools.bench.settings import (
    FrozenBench,
    HypergradientBench,
    RecallBench,
    TeacherBench,
    TrajectoriesBench,
)

CPU = torch.device("cpu")


def outcome(module, settings):
    benchmark = module.build(settings, CPU)
    try:
        return benchmark.compare({name: call() for name, call in benchmark.variants.items()})
    finally:
        benchmark.close()


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_exact_modes_agree_with_unrolled_and_truncated_does_not(layout):
    tiny = HypergradientBench(model="nf_resnet_tiny", size=16, pairs=6, batch=3, inner_steps=3, layout=layout)
    found = outcome(hypergradient, tiny)
    assert list(found)[0] == hypergradient.BASELINE and len(found) == 6
    truncated = found.pop("truncated")
    assert truncated["relative_error"] > 1e-3 and truncated["cosine"] < 1
    for name, values in found.items():
        assert values["relative_error"] < 1e-4 and values["cosine"] > 0.99999, name


def test_micro_batches_agree():
    tiny = HypergradientBench(model="nf_resnet_tiny", size=16, pairs=6, batch=3, inner_steps=3, micro_batch=2)
    found = outcome(hypergradient, tiny)
    assert found["exact_recompute, micro-batches of 2"]["relative_error"] < 1e-4


def test_an_outer_step_of_the_last_stages_learns_pixels():
    tiny = HypergradientBench(model="nf_resnet_tiny", size=16, pairs=6, batch=3, inner_steps=3, last_stages=2)
    benchmark = hypergradient.build(tiny, CPU)
    assert list(benchmark.variants)[-1] == "exact_store, last stages: 2"
    found = benchmark.variants["exact_store, last stages: 2"]()
    assert found.images.shape == (6, 3, 16, 16) and bool(found.images.abs().sum() > 0)
    assert "exact_store, last stages: 2" not in outcome(hypergradient, tiny)
    whole = hypergradient.build(replace(tiny, last_stages=5), CPU).variants
    torch.testing.assert_close(whole["exact_store, last stages: 5"]().images, whole["exact_store"]().images)


def test_lower_precisions_are_further_rows():
    settings = HypergradientBench(model="nf_resnet_tiny", size=16, pairs=4, batch=2, precisions=("bfloat16",))
    names = list(hypergradient.build(settings, CPU).variants)
    assert names[-2:] == ["exact_store, bfloat16", "exact_recompute, bfloat16"]
    with pytest.raises(ConfigError, match="tf32"):
        hypergradient.build(HypergradientBench(model="nf_resnet_tiny", size=16, precisions=("tf32",)), CPU)


def test_modes_can_be_chosen():
    settings = HypergradientBench(model="nf_resnet_tiny", size=16, pairs=4, batch=2, modes=("exact_store",))
    assert list(hypergradient.build(settings, CPU).variants) == [hypergradient.BASELINE, "exact_store"]


def test_the_tower_once_gives_the_gradient_of_the_tower_in_every_step():
    found = outcome(frozen, FrozenBench(size=32, pairs=5, batch=2, inner_steps=3, width=8))
    assert found["tower once per outer step"]["relative_error"] < 1e-4


def test_the_tower_once_for_several_segments_gives_the_same_gradient():
    found = outcome(frozen, FrozenBench(size=32, pairs=5, batch=2, inner_steps=2, stretches=3, width=8))
    assert found["tower once per outer step"]["relative_error"] < 1e-4


def test_sorting_and_tiles_recall_the_same():
    recalls = outcome(recall, RecallBench(images=60, width=64))
    by_sorting, in_tiles = (values["mean_recall"] for values in recalls.values())
    assert by_sorting == pytest.approx(in_tiles, abs=1e-9) and 0 < by_sorting < 100


def test_sorting_by_hand():
    images = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    texts = np.array([[1.0, 0.1], [1.0, 0.2]], dtype=np.float32)  # both look like the first image
    found = recall.by_sorting(images, texts, np.array([0, 1]))
    assert found.text_to_image_r1 == 50 and found.image_to_text_r1 == 100 and found.text_to_image_r5 == 100


def test_epochs_of_teachers_end_in_finite_losses():
    settings = TeacherBench(model="nf_resnet_tiny", size=32, images=6, batch=3, text_width=5, width=4)
    benchmark = teacher.build(settings, CPU)
    losses = {name: call() for name, call in benchmark.variants.items()}
    assert len(losses) == 3 and all(0 < loss < 100 for loss in losses.values())
    assert losses["trained tower"] != losses["trained tower, augmented"]
    assert benchmark.compare(losses)["trained tower"] == {"pairs": 6}


def test_trajectories_take_what_sixteen_bit_displacements_take():
    found = outcome(trajectories, TrajectoriesBench(model="nf_resnet_tiny", epochs=4, endpoints=(2, 4), experts=3))
    plain, everything, endpoints = (
        found[name] for name in (trajectories.PLAIN, trajectories.ALL, trajectories.ENDPOINTS)
    )
    assert plain["percent"] == 100 and plain["all_experts_bytes"] == 3 * plain["bytes"]
    # five float32 snapshots against the heads' start and 4 or 2 snapshots of half the size
    assert 0.4 < everything["bytes"] / plain["bytes"] < 0.6
    assert 0.2 < endpoints["bytes"] / plain["bytes"] < 0.4
    assert endpoints["percent"] < everything["percent"] < 60


def test_the_two_points_of_a_shortcut_lie_between_its_ends():
    benchmark = trajectories.build(TrajectoriesBench(model="nf_resnet_tiny", epochs=3, endpoints=(3,)), CPU)
    try:
        first, second = benchmark.variants[trajectories.ENDPOINTS]()
        assert all(not torch.equal(first[name], second[name]) for name in first)
        assert len(benchmark.variants[trajectories.PLAIN]()) == 2
    finally:
        benchmark.close()
