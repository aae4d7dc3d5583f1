from dataclasses import dataclass, field, replace
from itertools import product

import pytest
import torch

from pairstill.config import HypergradientConfig
from pairstill.core.errors import ArtifactError, NumericalError
from pairstill.core.rng import make_generator
from pairstill.core.world import World
from pairstill.distill import loop as outer_loop
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, draw_batches
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.bilevel.solvers import solver
from pairstill.distill.learned import initial_values
from pairstill.distill.loop import LoopSettings, PhaseProblem, distill_phase
from pairstill.distill.objective import Stateless
from pairstill.distilled import compose_similarity
from pairstill.events import ModeChosen, OuterStep
from pairstill.model.functional import pair_loss
from pairstill.storage import load_tensors, save_tensors

MODES = [{"trainable": True}, {"trainable": False}]


class Alone(World):
    """A rank whose others are not there: what they would give is its own."""

    def from_main(self, compute):
        return compute()

    def mean(self, tensors):
        return dict(tensors)

    def agree(self, wrong):
        assert wrong is None


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# rates that plain gradients, hundreds of times their size, need
SMALL_RATES = {"lr_images": 1e-4, "lr_texts": 1e-4, "lr_similarity": 1e-5, "lr_inner_lr": 1e-6}


class Killed(Exception):
    pass


@pytest.fixture
def watched(distil):
    """Distil while validating every step; return what was learned, the kept values at each step, and the reports."""

    def run(problem, **arguments):
        kept, reports = [], []

        def validate(learned, step):
            kept.append({name: value.detach().clone() for name, value in learned.items()})
            return 0.0

        learned = distil(problem, on_step=reports.append, validate=validate, **arguments)
        return learned, kept, reports

    return run


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize(("loss", "kind"), [("wbce", "full"), ("wbce", "low_rank"), ("infonce", "full")])
def test_one_plain_step_moves_against_the_unrolled_gradient(make_problem, distil, low_rank, mode, segments, loss, kind):
    """The whole gradient once more: through the frozen tower and the similarity's factors, by one backward pass."""
    rates = {"images": 1e-3, "texts": 5e-4, "similarity": 2e-4, "inner_lr": 1e-6}
    problem = make_problem(
        **mode,
        loss=loss,
        ema=False,
        trajectories_per_step=segments,
        phase={"outer_steps": 1},
        outer={"optimizer": "sgd", "momentum": 0.0, "rate_unit": "absolute"}
        | {f"lr_{name}": rate for name, rate in rates.items()},
        **({"similarity": low_rank} if kind == "low_rank" else {}),
    )
    reports = []
    found = distil(problem, on_step=reports.append)

    generator = make_generator(problem.seed, "phase", 1, "step", 0)
    leaves = {name: value.clone().requires_grad_() for name, value in initial_values(problem.variables()).items()}
    inputs = leaves["images"] if problem.pairs.kind.tower is None else problem.pairs.kind.tower(leaves["images"])
    factors = {n.removeprefix("similarity/"): v for n, v in leaves.items() if n.startswith("similarity/")}
    similarity = compose_similarity(factors | (problem.pairs.similarity.constant if factors else {}), 5)
    losses = {"image": 0.0, "text": 0.0}
    for number in range(segments):
        expert, epoch = (
            int(torch.randint(2, (), generator=generator)),
            int(torch.randint(0, 2, (), generator=generator)),
        )
        assert (reports[0].notes["experts"][number], reports[0].notes["start_epochs"][number]) == (expert, epoch)
        start, target = problem.paths[expert].at(epoch), problem.paths[expert].at(epoch + 1)
        steps = [InnerStep(i, problem.factory.draw_masks(len(i), generator)) for i in draw_batches(5, 3, 3, generator)]
        loop = InnerLoop(
            loss=lambda p, x, y, s, m: pair_loss(problem.model, p, (x, y, s), loss, m),
            start=start,
            data=InnerData(inputs, leaves["texts"], similarity),
            rates=InnerRates(leaves["inner_lr_image"], leaves["inner_lr_text"]),
            steps=steps,
            matching=lambda end, start=start, target=target: matching_losses(end, start, target, "per_tower"),
        )
        gradients = solver("unrolled")(loop)
        inputs.backward(gradients.images / segments, retain_graph=True)
        leaves["texts"].backward(gradients.texts / segments)
        leaves["inner_lr_image"].backward(gradients.inner_lr_image / segments)
        leaves["inner_lr_text"].backward(gradients.inner_lr_text / segments)
        if factors:
            similarity.backward(gradients.similarity / segments, retain_graph=True)
        for part, value in gradients.losses.items():
            losses[part] += float(value) / segments

    assert leaves.keys() == found.keys()
    for name, leaf in leaves.items():
        kind_of = "inner_lr" if name.startswith("inner_lr") else name.split("/")[0]
        move, expected = initial_values(problem.variables())[name] - found[name], rates[kind_of] * leaf.grad
        # the difference of two float32 values knows the move to their rounding alone
        rounding = 2e-7 * float(initial_values(problem.variables())[name].abs().max())
        assert float((move - expected).abs().max()) <= 1e-3 * float(expected.abs().max()) + rounding
        assert float(expected.abs().max()) > 20 * rounding or name == "similarity/left"
    assert reports[0].losses == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize(("pairs", "calls"), [(5, [5]), (120, [50, 50, 20])])
@pytest.mark.parametrize("segments", [1, 4])
def test_a_frozen_tower_is_run_once_in_an_outer_step_however_many_segments(
    make_problem, distil, segments, pairs, calls
):
    problem = make_problem(
        trainable=False, trajectories_per_step=segments, phase={"outer_steps": 3, "num_pairs": pairs}
    )
    assert problem.pairs.kind.tower is not None
    seen = []
    with problem.pairs.kind.tower.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0]))):
        distil(problem)
    assert seen == calls * 3


@dataclass(frozen=True)
class Counted(TrajectoryObjective):
    """An objective that keeps what the solver finds on every segment."""

    found: list = field(default_factory=list)

    @property
    def solver(self):
        solve = super().solver
        return lambda loop: self.found.append(solve(loop)) or self.found[-1]


def counted(objective):
    return Counted(**vars(objective))


def test_many_segments_report_the_mean_of_their_losses(make_problem, distil):
    problem, reports = counted(make_problem(trajectories_per_step=4, phase={"outer_steps": 2})), []
    distil(problem, on_step=reports.append)
    singles = problem.found
    assert len(singles) == 8
    for report, found in zip(reports, (singles[:4], singles[4:]), strict=True):
        assert len(report.notes["experts"]) == len(report.notes["start_epochs"]) == 4
        for part, value in report.losses.items():
            assert value == pytest.approx(sum(float(one.losses[part]) for one in found) / 4)


def test_the_average_by_hand(make_problem, watched):
    learned, averages, _ = watched(make_problem(ema=True, ema_decay=0.9, validate_every=1))
    last, live, _ = watched(make_problem(ema=False, ema_decay=0.9, validate_every=1))
    assert equal(learned, averages[-1]) and equal(last, live[-1])
    expected = initial_values(make_problem().variables())
    for average, now in zip(averages, live, strict=True):
        expected = {name: 0.9 * expected[name] + 0.1 * now[name] for name in now}
        for name in now:
            torch.testing.assert_close(average[name], expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(learned["images"], last["images"], atol=1e-3)


def test_without_decay_the_average_is_the_last_value(make_problem, distil):
    averaged, last = (distil(make_problem(ema=ema, ema_decay=0.0)) for ema in (True, False))
    for name in last:
        torch.testing.assert_close(averaged[name], last[name], rtol=1e-6, atol=1e-6)


def test_the_average_of_what_does_not_move_is_itself(make_problem, distil):
    problem = make_problem(outer={"lr_texts": 0.0, "lr_inner_lr": 0.0}, ema=True)
    learned = distil(problem)
    for name in ("texts", "inner_lr_image", "inner_lr_text"):
        assert torch.equal(learned[name], initial_values(problem.variables())[name])
    assert not torch.equal(learned["images"], initial_values(problem.variables())["images"])


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("patience", [0, 3])
def test_a_killed_run_goes_on_to_the_same_bits(make_problem, distil, tmp_path, mode, optimizer, patience):
    problem = make_problem(
        **mode,
        outer={"optimizer": optimizer} | (SMALL_RATES if optimizer == "sgd" else {}),
        phase={"outer_steps": 7},
        validate_every=2 if patience else 0,
        patience=patience,
    )

    def recall(learned, step):
        return {2: 1.0, 4: 3.0, 6: 2.0, 7: 0.0}[step]

    straight = distil(problem, validate=recall)
    for killed_after in (1, 2, 3, 5):
        checkpoint = tmp_path / f"killed_{killed_after}" / "checkpoint.safetensors"

        def kill(report, last=killed_after):
            if report.step == last:
                raise Killed

        with pytest.raises(Killed):
            distil(problem, checkpoint, kill, recall)
        resumed = []
        found = distil(problem, checkpoint, lambda report, seen=resumed: seen.append(report.step), recall)
        # checkpoints are written after steps 2, 4 and 6, and the hook of a step comes before its checkpoint
        assert resumed == list(range((killed_after - 1) // 2 * 2 + 1, 8))
        assert equal(found, straight)


def test_a_finished_phase_is_read_from_its_checkpoint(make_problem, distil, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    first = distil(make_problem(), checkpoint)
    steps = []
    assert equal(distil(make_problem(), checkpoint, steps.append), first)
    assert steps == []


def test_draws_depend_on_the_seed_and_the_step_alone(make_problem, watched):
    (a, _, first), (b, _, again), (c, _, other) = (watched(make_problem(seed=seed)) for seed in (0, 0, 1))
    assert equal(a, b) and first == again
    assert not equal(a, c)
    assert [(r.notes["experts"], r.notes["start_epochs"]) for r in first] != [
        (r.notes["experts"], r.notes["start_epochs"]) for r in other
    ]


def test_a_step_is_logged_flat(make_problem, watched):
    _, _, (report, *_) = watched(make_problem(phase={"outer_steps": 1}))
    own = {"phase", "stage", "step", "steps", "losses"}
    assert report.to_json().keys() == own | {"experts", "start_epochs", "inner_lr_image", "inner_lr_text"}
    assert report.stage == "pixels" and report.to_json()["inner_lr_text"] == report.rates["inner_lr_text"]


def test_starts_are_drawn_from_the_range_and_experts_from_all(make_problem, watched):
    for reading, expected in (("inclusive", {1, 2}), ("exclusive", {1})):
        problem = make_problem(
            phase={"outer_steps": 24, "range_start": 1, "range_end": 2},
            range_reading=reading,
            inner_steps=1,
            trajectories_per_step=2,
        )
        _, _, reports = watched(problem)
        assert {epoch for report in reports for epoch in report.notes["start_epochs"]} == expected
        assert {expert for report in reports for expert in report.notes["experts"]} == {0, 1}
        assert all(len(report.notes["experts"]) == len(report.notes["start_epochs"]) == 2 for report in reports)
        assert [report.step for report in reports] == list(range(1, 25))
        assert {(report.phase, report.steps) for report in reports} == {(1, 24)}


def test_the_target_lies_a_span_after_the_start(make_problem, distil):
    asked = []

    class Spies(type(make_problem().paths)):
        def __getitem__(self, expert):
            path = super().__getitem__(expert)
            return type("Spy", (), {"at": staticmethod(lambda epoch: asked.append(epoch) or path.at(epoch))})

    problem = make_problem(matching_span=2, phase={"outer_steps": 1, "range_start": 1, "range_end": 1})
    object.__setattr__(problem, "paths", Spies(problem.paths))
    distil(problem)
    assert asked == [1, 3]


@pytest.mark.parametrize(("ema", "phased", "shortcut"), list(product((False, True), repeat=3)))
def test_rows_of_the_ablation(make_problem, distil, ema, phased, shortcut):
    problem = make_problem(ema=ema, phased=phased, shortcut=shortcut)
    learned = distil(problem)
    assert all(value.isfinite().all() for value in learned.values())
    assert not torch.equal(learned["images"], initial_values(problem.variables())["images"])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_matching_loss_falls(make_problem, watched, mode):
    problem = make_problem(
        **mode, dropout=0.0, phase={"outer_steps": 40, "range_end": 0}, batch_size=5, outer={"lr_inner_lr": 0.01}
    )
    object.__setattr__(
        problem, "paths", type(problem.paths)(problem.paths[:1])
    )  # one teacher and one segment: every step asks the same
    _, _, reports = watched(problem)
    totals = [sum(report.losses.values()) for report in reports]
    assert totals[-1] < 0.8 * totals[0]


def test_relative_and_absolute_rates(make_problem, distil):
    """The first step of Adam is its rate, whatever the gradient: the unit can be read off."""
    steps = {"phase": {"outer_steps": 1}, "ema": False}
    for unit in ("relative", "absolute"):
        rates = {"lr_images": 0.03, "lr_texts": 0.02, "lr_inner_lr": 0.002, "rate_unit": unit}
        problem = make_problem(**steps, outer=rates)
        learned = distil(problem)
        for name, rate in (("images", 0.03), ("texts", 0.02), ("similarity/matrix", 0.02), ("inner_lr_image", 0.002)):
            moved = (learned[name] - initial_values(problem.variables())[name]).abs()
            initial = initial_values(problem.variables())[name]
            own = {"images": initial.std, "texts": initial.std, "inner_lr_image": initial.mean}
            scale = float(own[name]()) if unit == "relative" and name in own else 1.0
            assert float(moved.max()) == pytest.approx(rate * scale, rel=1e-2)


def test_momentum_and_betas_reach_the_optimiser(make_problem):
    variables = make_problem().variables()
    learned = {name: value.requires_grad_() for name, value in initial_values(variables).items()}
    for settings in ({"optimizer": "sgd", "momentum": 0.25}, {"optimizer": "adam", "betas": (0.3, 0.7)}):
        outer = make_problem(outer=settings).config.outer
        groups = outer_loop.outer_optimizer(learned, variables, outer).param_groups
        name = "momentum" if settings["optimizer"] == "sgd" else "betas"
        assert {group[name] for group in groups} == {settings[name]}


def test_pairs_alone_decay_and_by_adamw_alone(make_problem):
    variables = make_problem().variables()
    learned = {name: value.requires_grad_() for name, value in initial_values(variables).items()}
    for optimizer, decay in (("adamw", 0.5), ("adam", 0.0)):
        outer = make_problem(outer={"optimizer": optimizer, "weight_decay": 0.5}).config.outer
        groups = outer_loop.outer_optimizer(learned, variables, outer).param_groups
        assert [group["weight_decay"] for group in groups] == [decay, decay, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["full", "low_rank"])
def test_infonce_learns_no_similarity(make_problem, distil, low_rank, kind):
    similarity = {"similarity": low_rank} if kind == "low_rank" else {}
    learned = distil(make_problem(loss="infonce", **similarity))
    assert set(learned) == {"images", "texts", "inner_lr_image", "inner_lr_text"}


def test_low_rank_learns_its_factors_and_not_the_scale(make_problem, distil, low_rank):
    problem = make_problem(similarity=low_rank)
    learned = distil(problem)
    assert {n for n in learned if n.startswith("similarity/")} == {
        "similarity/weights",
        "similarity/left",
        "similarity/right",
    }
    assert all(
        not torch.equal(learned[n], initial_values(problem.variables())[n])
        for n in learned
        if n.startswith("similarity/")
    )


# validation and patience


def test_validations_come_when_asked_for_and_at_the_end(make_problem, distil):
    seen = []
    distil(make_problem(validate_every=4, phase={"outer_steps": 6}), validate=lambda _, s: seen.append(s) or 0.0)
    assert seen == [4, 6]


def test_without_patience_the_last_values_are_kept(make_problem, watched):
    learned, kept, _ = watched(make_problem(validate_every=1))
    assert equal(learned, kept[-1])


def test_patience_stops_and_keeps_the_best(make_problem, distil):
    recalls, kept = iter([1.0, 5.0, 5.0, 4.0, 9.0]), []

    def validate(learned, step):
        kept.append({name: value.detach().clone() for name, value in learned.items()})
        return next(recalls)

    steps = []
    learned = distil(make_problem(validate_every=1, patience=2), on_step=steps.append, validate=validate)
    # the tie at the third is no improvement; the fourth is the second without one
    assert len(steps) == len(kept) == 4
    assert equal(learned, kept[1])


def test_patience_that_does_not_run_out_goes_to_the_end(make_problem, distil):
    kept = []

    def validate(learned, step):
        kept.append({name: value.detach().clone() for name, value in learned.items()})
        return float(step)

    learned = distil(make_problem(validate_every=1, patience=2), validate=validate)
    assert len(kept) == 6 and equal(learned, kept[-1])


# what goes wrong


class Broken(Stateless):
    """An objective of which one step, counted from 1, goes wrong."""

    def __init__(self, objective, number, wrong):
        self.objective, self.number, self.wrong = objective, number, wrong

    def variables(self):
        return self.objective.variables()

    def step(self, values, number):
        steps = self.objective.step(values, number)
        return map(self.wrong, steps) if number == self.number - 1 else steps


@pytest.mark.parametrize("bad", ["images", "texts"])
def test_a_gradient_that_is_not_finite_names_phase_step_and_tensor(make_problem, distil, tmp_path, bad):
    checkpoint, problem = tmp_path / "c.safetensors", make_problem()

    def broken(step):
        step.gradients[bad][0] = float("nan")
        return step

    with pytest.raises(NumericalError, match=f"phase 1, step 4: the gradient of {bad} is not finite"):
        distil(problem, checkpoint, moved_by=Broken(problem, 4, broken))
    stored = load_tensors(checkpoint)
    assert all(value.isfinite().all() for value in stored.values())
    # the checkpoint of step 2 is intact: without the fault the run ends as if nothing had been
    assert equal(distil(make_problem(), checkpoint), distil(make_problem()))


def test_a_loss_that_is_not_finite(make_problem, distil):
    problem = make_problem()

    def broken(step):
        return replace(step, losses={**step.losses, "text": step.losses["text"] * float("nan")})

    with pytest.raises(NumericalError, match="phase 1, step 1: the matching loss of text is not finite"):
        distil(problem, moved_by=Broken(problem, 1, broken))


def test_a_diverging_run_stops(make_problem, distil):
    outer = {"optimizer": "sgd", "rate_unit": "absolute", "lr_images": 1e38, "lr_texts": 1e38}
    with pytest.raises(NumericalError):
        distil(make_problem(outer=outer, phase={"outer_steps": 50}))


def test_an_inner_rate_below_zero_stops_the_run(make_problem, distil):
    with pytest.raises(NumericalError, match=r"phase 1, step \d+: a learned inner rate fell to -"):
        distil(make_problem(outer={"lr_inner_lr": 0.5}, phase={"outer_steps": 50}))


def test_a_checkpoint_of_something_else(make_problem, distil, tmp_path):
    path = tmp_path / "c.safetensors"
    save_tensors(path, {"x": torch.zeros(1)})
    with pytest.raises(ArtifactError, match="is not a checkpoint; delete it to start the phase anew"):
        distil(make_problem(), path)
    path.unlink()
    distil(make_problem(), path)
    second = make_problem()
    object.__setattr__(second, "number", 2)
    with pytest.raises(ArtifactError, match="is of phase 1, not 2"):
        distil(second, path)


def test_what_is_given_is_not_changed(make_problem, distil):
    problem, untouched = make_problem(), make_problem()
    distil(problem)
    assert equal(initial_values(problem.variables()), initial_values(untouched.variables()))
    for path, other in zip(problem.paths, untouched.paths, strict=True):
        assert equal(path.initial, other.initial)


# the hypergradient's mode


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize(
    "settings", [{"mode": "auto"}, {"mode": "unrolled"}, {"derivative": "forward_over_reverse"}], ids=str
)
def test_exact_modes_distil_the_same_pairs(make_problem, distil, trainable, settings):
    expected = distil(make_problem(trainable=trainable))
    settings = {"mode": "exact_recompute"} | settings
    found = distil(make_problem(trainable=trainable, hypergradient=HypergradientConfig(**settings)))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_truncated_distils_other_pairs(make_problem, distil):
    exact = distil(make_problem())
    truncated = distil(make_problem(hypergradient=HypergradientConfig(mode="truncated")))
    assert not torch.allclose(truncated["images"], exact["images"], rtol=1e-3, atol=1e-4)


def test_the_choice_of_the_mode_is_told_once_before_the_first_step(make_problem, tmp_path):
    objective, told = make_problem(hypergradient=HypergradientConfig()), []
    settings = LoopSettings.of(objective.config, objective.phase.outer_steps)
    problem = PhaseProblem(objective.number, objective, settings, torch.device("cpu"))
    distill_phase(problem, tmp_path / "c.safetensors", told.append)
    (choice,) = (event for event in told if isinstance(event, ModeChosen))
    assert choice is told[0] and isinstance(told[1], OuterStep)
    assert choice.mode == "exact_store" and 0 < choice.stored_bytes < choice.limit_bytes
    distill_phase(problem, tmp_path / "c.safetensors", told.append)
    assert told.count(choice) == 1, "nothing is told of a phase that is done"


def test_the_next_experts_are_fetched_ahead(make_problem, distil):
    problem = make_problem(trajectories_per_step=2)
    asked = []
    problem.paths.prefetch = lambda experts: asked.append(set(experts))
    reports = []
    distil(problem, on_step=reports.append)
    used = [set(report.notes["experts"]) for report in reports]
    assert asked == [now | ahead for now, ahead in zip(used, [*used[1:], set()], strict=True)]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_ranks_share_the_segments_and_their_mean_is_that_of_all(make_problem, distil, mode):
    """Three ranks, one after another; each sees the mean that the others' parts would have made with its own."""
    settings = {**mode, "trajectories_per_step": 6, "phase": {"outer_steps": 1}}
    parts, reports, computed = [], [], []

    class Heard(Alone):
        def mean(self, tensors):
            parts.append(dict(tensors))
            return super().mean(tensors)

    for rank in (0, 1, 2, None):
        world = Heard() if rank is None else Heard(rank, 3)
        problem = counted(replace(make_problem(**settings), world=world))
        distil(problem, on_step=reports.append)
        computed.append(len(problem.found))
    assert computed == [2, 2, 2, 6]
    *shares, whole = parts
    assert whole.keys() == {"images", "texts", "similarity/matrix", "inner_lr_image", "inner_lr_text"} | {
        "loss/image",
        "loss/text",
    }
    for name, value in whole.items():
        torch.testing.assert_close(sum(share[name] for share in shares) / 3, value, rtol=1e-4, atol=1e-6)
    assert len({(*report.notes["experts"], *report.notes["start_epochs"]) for report in reports}) == 1, (
        "each reports the segments of all"
    )


def test_the_main_rank_alone_writes_checkpoints(make_problem, distil, tmp_path):
    for rank in (0, 1):
        problem = replace(make_problem(trajectories_per_step=2), world=Alone(rank, 2))
        distil(problem, checkpoint=tmp_path / f"{rank}.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"0.safetensors", "0.previous.safetensors"}


@pytest.mark.parametrize(("loss", "sizes"), [("infonce", [3, 3, 3]), ("wbce", [3, 1, 3])])
def test_inner_steps_leave_out_a_single_pair_under_infonce_alone(make_problem, loss, sizes):
    problem = make_problem(loss=loss, phase={"num_pairs": 4})
    (segment,) = problem.draws.segments(0)
    assert [len(step.index) for step in segment.steps] == sizes
