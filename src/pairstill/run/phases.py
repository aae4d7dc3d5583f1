"""Phases that set themselves: the teachers are measured, phases chosen, written down, and the same from then on."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from pairstill.config import AutoPhasesConfig, PhaseConfig
from pairstill.core.rng import derive_seed, make_generator
from pairstill.distill.auto_phases import (
    Evidence,
    admissible_endpoints,
    choose_ranges,
    endpoints_of,
    levelled,
    most_phases,
    sized_phases,
    useful_starts,
)
from pairstill.distill.bilevel.agreement import cosines, start_gradients
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.initial import draw_pairs
from pairstill.evaluate.protocol import recalls_on
from pairstill.events import PhasesChosen
from pairstill.model.dual_encoder import DualEncoder, Parameters
from pairstill.report.phases import EPOCH_HEADER, epoch_cells, phase_lines, phases_to_json
from pairstill.run.context import RunContext
from pairstill.run.problems import matching_problem
from pairstill.run.progress import Tally
from pairstill.run.teach import teach_all
from pairstill.storage import write_sealed
from pairstill.teachers.shortcut import shortcut_path
from pairstill.teachers.trajectory import Trajectory


def settle_phases(context: RunContext) -> RunContext:
    """Return the context with the run's phases, which set themselves now if they are to and have not.

    Teachers that are missing are trained.

    The main rank measures and tells the others.

    Raises:
        ConfigError: the teachers learn nothing on validation pairs.
        ArtifactError: a snapshot of the teachers was not kept.
    """
    auto = context.config.auto_phases
    if auto is None or context.world.from_main(context.folder.phases.is_file):
        return context.with_chosen_phases()
    experts = teach_all(context)
    _ = [tower.splits for tower in context.towers]  # all ranks together, before the main one goes on alone
    with context.timed("phases"):
        return context.with_phases(context.world.from_main(lambda: _choose(context, auto, experts)))


def _choose(context: RunContext, auto: AutoPhasesConfig, experts: list[list[Path]]) -> tuple[PhaseConfig, ...]:
    """Measure, choose, show, log and write down the phases, and return them."""
    distill = context.config.matching
    steps = sum(phase.outer_steps for phase in distill.phases)
    most = most_phases(auto, distill.num_pairs, steps) if distill.phased else 1
    evidence = _measure(context, auto, [paths[: auto.teachers] for paths in experts], most)
    ranges = choose_ranges(evidence, most, auto, distill.matching_span)
    phases = sized_phases(ranges, evidence.lengths, distill.num_pairs, steps, auto.min_pairs)
    if distill.range_reading == "exclusive":
        phases = tuple(replace(phase, range_end=phase.range_end + 1) for phase in phases)
    table = Table(*EPOCH_HEADER, title="Phases that set themselves")
    for cells in epoch_cells(evidence, ranges):
        table.add_row(*cells)
    context.console.print(table)
    for line in phase_lines(evidence, ranges, phases):
        context.console.print(line, highlight=False, soft_wrap=True)
    context.emit(PhasesChosen(phases=phases))
    write_sealed(context.folder.phases, phases_to_json(evidence, ranges, phases))
    return phases


@dataclass(frozen=True)
class _Measured:
    """A teacher that is measured, and the run with its tower alone.

    Attributes:
        context: the run.
        trajectory: the teacher's.
        model: whose parameters it has.
    """

    context: RunContext
    trajectory: Trajectory
    model: DualEncoder

    def recall(self, parameters: Parameters) -> float:
        """Return the mean validation recall of parameters."""
        placed = {name: value.to(self.context.device) for name, value in parameters.items()}
        return recalls_on(self.model, placed, self.context.splits.val).mean


def _measure(context: RunContext, auto: AutoPhasesConfig, experts: list[list[Path]], most: int) -> Evidence:
    """Measure step norms, validation recall on the teachers and along shortcuts, and the agreement of starts.

    The teachers of several towers are measured as those of one, with the mean of all towers.
    """
    span, epochs = context.config.matching.matching_span, context.config.teacher.epochs + 1
    teachers = [
        _Measured(tower, Trajectory.open(path), model)
        for tower, paths in zip(context.towers, experts, strict=True)
        for model in (tower.factory.build(),)
        for path in paths
    ]
    lengths = torch.stack([one.trajectory.step_norms.square().sum(0).sqrt() for one in teachers]).mean(0)

    def recall(teacher: _Measured, parameters: Parameters, tally: Tally) -> float:
        found = teacher.recall(parameters)
        tally.advance()
        return found

    def counting(what: str, total: int) -> AbstractContextManager[Tally]:
        return context.counting(f"Choosing phases: {what}", total)

    with context.display.bars():
        with counting("validation recall of the teachers", len(teachers) * epochs) as tally:
            recalls = torch.tensor(
                [[recall(one, one.trajectory.snapshot(k), tally) for k in range(epochs)] for one in teachers]
            )
        recalls = levelled(recalls, len(experts))
        admissible = admissible_endpoints(recalls, span)
        endpoints = sorted({e for count in range(1, most + 1) for e in endpoints_of(admissible, count)})
        shortcuts = {}
        with counting("along shortcuts", len(teachers) * sum(e + 1 for e in endpoints)) as tally:
            for endpoint in endpoints:
                paths = [shortcut_path(one.trajectory, endpoint, context.device) for one in teachers]
                ways = zip(teachers, paths, strict=True)
                along = [[recall(one, path.at(k), tally) for k in range(endpoint + 1)] for one, path in ways]
                shortcuts[endpoint] = torch.tensor(along).mean(0)
        reach = max(useful_starts(along, auto.gain_left, span) for along in shortcuts.values())
        starts = {endpoint: range(min(reach, endpoint - span + 1)) for endpoint in endpoints}
        with counting("agreement of starts", len(experts) * sum(map(len, starts.values()))) as tally:
            agreement = {}
            for endpoint, few in starts.items():
                problems = [
                    _problem(tower, auto, paths, endpoint) for tower, paths in zip(context.towers, experts, strict=True)
                ]
                rows = [tally.counted(start_gradients(problem, few, auto.repeats)) for problem in problems]
                found = [cosines(torch.stack(list(of_one))) for of_one in rows]
                agreement[endpoint] = found[0] if len(found) == 1 else torch.stack(found).mean(0)
    return Evidence(recalls, lengths, admissible, shortcuts, agreement)


def _problem(context: RunContext, auto: AutoPhasesConfig, experts: list[Path], endpoint: int) -> TrajectoryObjective:
    """Return the problem of a phase that ends at `endpoint` and begins with random real pairs."""
    seed, distill = context.config.distillation_seed, context.config.matching
    phase = PhaseConfig(min(auto.min_pairs, distill.num_pairs), 1, 0, endpoint - distill.matching_span, endpoint)
    (captions,) = draw_pairs(context.splits.train, [phase.num_pairs], make_generator(seed, "auto phases"))
    seed = derive_seed(seed, "auto phases")
    return matching_problem(context, experts, captions, phase, shortcut=True, seed=seed)
