"""Every switch of the method, end to end: the rows of the paper's Table 4 and the other choices in the settings."""

import json
import math
from itertools import product

import pytest

from pairstill.distilled import DistilledSet
from pairstill.storage import load_tensors

ONE_PHASE = "[{num_pairs: 10, outer_steps: 3, range_start: 0, range_end: 2, endpoint: 3}]"
TWO_PHASES = (
    "[{num_pairs: 6, outer_steps: 2, range_start: 0, range_end: 1, endpoint: 2}, "
    "{num_pairs: 4, outer_steps: 2, range_start: 1, range_end: 2, endpoint: 3}]"
)
QUICK = ["--distill.validate_every=0", "--evaluate.num_students=1", "--evaluate.methods=[random, distilled]"]


@pytest.fixture(scope="session")
def plain(do, tmp_path_factory):
    """The run that every other choice is compared with."""
    return do("run", tmp_path_factory.mktemp("plain") / "run", *QUICK, f"--distill.phases={TWO_PHASES}")


@pytest.fixture
def run(do, tmp_path):
    def variant(*options, phases=TWO_PHASES):
        return do("run", tmp_path / "run", *QUICK, f"--distill.phases={phases}", *options)

    return variant


def checked(folder):
    """A finished run's distilled set, after checks that hold for every variant."""
    distilled = DistilledSet.load(folder / "distilled")
    random, ptm_st = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert (random["method"], ptm_st["method"]) == ("random", "ptm_st")
    # both spend the same storage, to a pair
    rates = 8 * len(distilled.phases)  # two scalars each, which are worth no pair
    pair = distilled.storage_bytes / distilled.pairs_equivalent
    assert random["num_pairs"] == math.ceil((distilled.storage_bytes - rates) / pair - 1e-9)
    assert ptm_st["bytes"] == distilled.storage_bytes <= random["bytes"] + rates
    for phase in distilled.phases:
        assert phase.inner_lr_image > 0 and phase.inner_lr_text > 0
    return distilled


@pytest.mark.parametrize(("phased", "shortcut", "ema"), list(product((False, True), repeat=3)))
def test_rows_of_table_4(run, plain, phased, shortcut, ema):
    folder = run(
        f"--distill.phased={phased}",
        f"--distill.shortcut={shortcut}",
        f"--distill.ema={ema}",
        phases=TWO_PHASES if phased else ONE_PHASE,
    )
    distilled = checked(folder)
    assert [phase.num_pairs for phase in distilled.phases] == ([6, 4] if phased else [10])
    switches = {"phased": phased, "shortcut": shortcut, "ema": ema}
    assert {name: distilled.provenance["distill"][name] for name in switches} == switches
    same = (plain / "distilled" / "distilled.safetensors").read_bytes() == (
        folder / "distilled" / "distilled.safetensors"
    ).read_bytes()
    assert same is (phased and shortcut and ema)


@pytest.mark.parametrize(
    "options",
    [
        ["--image.trainable=false", "--heads.image=true", "--heads.width=8"],
        ["--distill.matching=joint"],
        ["--distill.range_reading=exclusive"],
        ["--distill.trajectories_per_step=2"],
        ["--distill.matching_span=2", f"--distill.phases={ONE_PHASE.replace('range_end: 2', 'range_end: 1')}"],
        ["--distill.outer.optimizer=sgd", "--distill.outer.rate_unit=absolute", "--distill.outer.lr_inner_lr=0.00001"],
        ["--distill.init=noise"],
        ["--teacher.captions=all"],
        ["--teacher.augment=paper"],
        ["--teacher.momentum=0.5", "--teacher.weight_decay=0.01"],
        ["--heads.kind=linear"],
    ],
    ids=lambda options: options[0].removeprefix("--"),
)
def test_a_setting_reaches_the_pairs(run, plain, options):
    folder = run(*options)
    checked(folder)
    before, after = (load_tensors(f / "distilled" / "distilled.safetensors") for f in (plain, folder))
    assert before.keys() != after.keys() or any((before[name] != after[name]).any() for name in before)


@pytest.mark.parametrize("tower", ["trainable", "frozen"])
def test_low_rank_similarities_are_stored_as_factors(run, options_of, tower):
    distilled = checked(run("--distill.similarity.kind=low_rank", "--distill.similarity.rank=2", *options_of[tower]))
    for phase in distilled.phases:
        shapes = {name: tuple(factor.shape) for name, factor in phase.similarity_factors.items()}
        pairs = phase.num_pairs
        assert shapes == {"weights": (pairs,), "left": (pairs, 2), "right": (pairs, 2), "scale": ()}
        assert float(phase.similarity_factors["scale"]) == 0.5
        assert phase.similarity_factors["right"].any(), "they were learned"


@pytest.mark.parametrize("tower", ["trainable", "frozen"])
def test_infonce_stores_no_similarities(run, options_of, tower):
    distilled = checked(run("--distill.loss=infonce", *options_of[tower]))
    assert distilled.loss == "infonce"
    assert all(not phase.similarity_factors for phase in distilled.phases)


def test_pairs_that_start_from_noise_have_no_captions(run, plain):
    noise, real = checked(run("--distill.init=noise")), checked(plain)
    assert {caption for phase in noise.phases for caption in phase.captions} == {""}
    assert {source for phase in noise.phases for source in phase.sources} == {""}
    assert all(caption and source for p in real.phases for caption, source in zip(p.captions, p.sources, strict=True))


def test_patience_keeps_the_best_and_stops_early(run, events):
    phases = TWO_PHASES.replace("outer_steps: 2", "outer_steps: 30")
    folder = run("--distill.validate_every=1", "--distill.patience=1", phases=phases)
    checked(folder)
    for phase in (1, 2):
        recalls = [e["validation_mean_recall"] for e in events(folder, "validation") if e["phase"] == phase]
        # every one but the last was better than all before
        assert recalls[:-1] == sorted(set(recalls[:-1])) and recalls[-1] <= recalls[-2]
        assert len(recalls) < 30
