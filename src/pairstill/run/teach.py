"""The teachers of a run: trained, recorded, and shared with other runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairstill.evaluate.protocol import recalls_on
from pairstill.events import TeacherEpoch, TeachersAwaited, TeachersFound, TeachingBegan
from pairstill.run.context import RunContext
from pairstill.run.description import image_facts
from pairstill.run.folder import RunFolder
from pairstill.storage.cache import cache_folder
from pairstill.storage.locks import exclusive
from pairstill.teachers.store import claim_folder, describe_teachers, find_folder, holds
from pairstill.teachers.training import RealTraining, epochs_to_keep, record_expert
from pairstill.teachers.trajectory import write_shared

TEACHERS = "teachers"
"""The folder below `cache_dir` with all teachers."""


@dataclass(frozen=True)
class TeacherStore:
    """Where a run's trajectories are.

    Attributes:
        folder: the experts' files.
        kept: the snapshots that are stored of each expert: those that the run needs, and perhaps more.
        shared: whether other runs use it too.
    """

    folder: Path
    kept: tuple[int, ...]
    shared: bool


def teach(context: RunContext, experts: int | None = None) -> list[Path]:
    """Train the first experts that are not there yet and return their files.

    Args:
        context: the run's.
        experts: how many are needed; None takes those that the method reads.
    """
    store = store_of(context)
    paths = [_file(store.folder, expert) for expert in range(context.num_teachers if experts is None else experts)]
    missing = _missing(context, paths)
    if store.shared and len(missing) < len(paths):
        found = len(paths) - len(missing)
        context.emit(TeachersFound(folder=str(store.folder), found=found, missing=len(missing)))
    if missing:
        _ = context.splits  # encoded before the clock of this stage runs
        with _alone(context, store):
            _train(context, store, paths, _missing(context, paths))  # perhaps another run has trained them meanwhile
    return paths


def teach_all(context: RunContext) -> list[list[Path]]:
    """Train the experts behind every image tower of the run that are not there yet and return each tower's files."""
    return [teach(tower) for tower in context.towers]


def tower_number(context: RunContext) -> int:
    """Return which of the run's image towers a context is of, from 0."""
    return 0 if context.one_of is None else context.one_of.number


def _missing(context: RunContext, paths: Sequence[Path]) -> list[int]:
    """Return the experts that are not there; what those that are there start from is put back if it was deleted."""

    def find() -> list[int]:
        missing = [expert for expert, path in enumerate(paths) if not path.is_file()]
        if len(missing) < len(paths):
            write_shared(
                paths[0].parent, lambda: context.factory.initial_parameters(context.config.teachers_seed, "expert", 0)
            )
        return missing

    return context.world.from_main(find)


@contextmanager
def _alone(context: RunContext, store: TeacherStore) -> Iterator[None]:
    """Keep other runs from training the same teachers at the same time."""
    if not store.shared or not context.world.is_main:
        yield
        return

    def on_wait(holder: str) -> None:
        context.emit(TeachersAwaited(holder=holder, folder=str(store.folder)))

    with exclusive(store.folder, on_wait):
        yield


def _train(context: RunContext, store: TeacherStore, paths: Sequence[Path], missing: Sequence[int]) -> None:
    teacher = context.config.teacher
    tower = None if context.one_of is None else context.one_of.label
    later = 0 if context.one_of is None else len(context.one_of.images) - context.one_of.number - 1
    with context.timed("teach"), context.display.bars():
        began = TeachingBegan(
            epochs=len(paths) * teacher.epochs,
            done=(len(paths) - len(missing)) * teacher.epochs,
            later=later * context.num_teachers * teacher.epochs,
            tower=tower,
        )
        context.emit(began)
        for first in range(0, len(missing), context.world.size):
            mine = context.world.shard(missing[first : first + context.world.size])
            epochs = _epochs_of(context, store, mine[0]) if mine else [None] * teacher.epochs
            for epoch in epochs:
                for event in filter(None, context.world.gather(epoch)):  # those of all ranks at the same time
                    context.emit(event)
        context.world.barrier()


def store_of(context: RunContext) -> TeacherStore:
    """Return where the run's trajectories are; the run's folder says it too, from now on.

    They are in `trajectories_dir` if that is set; in the run's folder if they are there already or `reuse` is off; and
    else below the cache, where other runs that would train the same teachers find them.

    Raises:
        ConfigError: `trajectories_dir` holds other teachers, or too few of their snapshots.
    """
    config = context.config
    needed = epochs_to_keep(config.teacher, config.distill)
    tower = tower_number(context)
    own = context.folder.own_trajectories_of(tower)
    if config.trajectories_dir is None and (not config.reuse or any(own.glob("expert_*"))):
        context.folder.point_to_trajectories(None, tower)
        return TeacherStore(own, needed, shared=False)
    teachers = _description(context)

    def claim() -> TeacherStore:
        folder = _shared_folder(context, teachers, needed)
        kept = claim_folder(folder, teachers, needed)
        context.folder.point_to_trajectories(folder, tower)
        return TeacherStore(folder, kept, shared=True)

    return context.world.from_main(claim)


def _shared_folder(context: RunContext, teachers: Mapping[str, Any], needed: Sequence[int]) -> Path:
    """Return the folder that the settings name, or that the run used before, or that holds the teachers."""
    folder = _place(context, context.folder, teachers, needed)
    if context.config.trajectories_dir is not None:
        return folder
    if not folder.exists() and folder.parent.is_dir():
        context.warn(
            f"These teachers are in {folder.parent}, but not their snapshots {list(needed)}: they are trained again "
            "(teacher.keep=all keeps every snapshot)"
        )
    return folder


def _place(context: RunContext, run: RunFolder, teachers: Mapping[str, Any], needed: Sequence[int]) -> Path:
    """Return where the teachers of the run in the folder `run` are, or will be, if they are shared."""
    if context.config.trajectories_dir is not None:
        return Path(context.config.trajectories_dir).expanduser()
    root = cache_folder(context.cache_dir.absolute(), TEACHERS)
    before = run.trajectories_of(tower_number(context))
    if before.is_relative_to(root) and holds(before, teachers, needed):
        return before
    return find_folder(root, context.config, teachers, needed)


def teachers_there(context: RunContext, run: RunFolder) -> int:
    """Return how many of the teachers that a run needs it would find, in its folder or a shared one; trains none.

    Args:
        context: built from the run's settings, perhaps in another folder.
        run: the run's folder.
    """
    config, needed = context.config, epochs_to_keep(context.config.teacher, context.config.distill)
    folder = run.own_trajectories_of(tower_number(context))
    if config.trajectories_dir is not None or (config.reuse and not any(folder.glob("expert_*"))):
        teachers = _description(context)
        folder = _place(context, run, teachers, needed)
        if not holds(folder, teachers, needed):
            return 0
    return sum(_file(folder, expert).is_file() for expert in range(context.num_teachers))


def _description(context: RunContext) -> dict[str, Any]:
    """Return all that decides what the run's teachers are."""
    data = context.manifest.fingerprint
    return describe_teachers(context.config, data, image_facts(context), context.text.spec.to_json())


def _file(folder: Path, expert: int) -> Path:
    return folder / f"expert_{expert:04d}.safetensors"


def _epochs_of(context: RunContext, store: TeacherStore, expert: int) -> Iterator[TeacherEpoch]:
    """Train an expert, and yield each of its epochs once it is validated."""
    model = context.factory.build()
    epochs = record_expert(
        context.factory,
        context.splits.train,
        RealTraining.of_teacher(context.config.teacher),
        _file(store.folder, expert),
        context.config.teachers_seed,
        "expert",
        expert,
        keep=store.kept,
    )
    for number, (parameters, loss) in enumerate(epochs, start=1):
        recall = recalls_on(model, parameters, context.splits.val).mean
        tower = None if context.one_of is None else context.one_of.label
        yield TeacherEpoch(expert=expert, epoch=number, loss=loss, validation_mean_recall=recall, tower=tower)
