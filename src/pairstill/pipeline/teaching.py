"""The teachers of a run: trained, recorded, and shared with other runs."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pairstill.evaluate.protocol import recalls_on
from pairstill.model.dual_encoder import Parameters
from pairstill.pipeline.parts import Parts
from pairstill.runlog import progress_bar
from pairstill.trajectories.shared import claim_folder
from pairstill.trajectories.teacher import RealTraining, epochs_to_keep, record_expert


def teach(parts: Parts) -> list[Path]:
    """Train the experts that are not there yet and return the files of all."""
    teacher = parts.config.teacher
    folder = trajectories_folder(parts)
    paths = [folder / f"expert_{i:04d}.safetensors" for i in range(teacher.num_experts)]
    missing = parts.ranks.from_main(lambda: [n for n, path in enumerate(paths) if not path.is_file()])
    if not missing:
        return paths
    _ = parts.splits  # encoded before the clock of this stage runs
    with parts.timed("teach"), progress_bar(parts.console) as progress:
        task = progress.add_task("Teachers", total=len(paths) * teacher.epochs, status="")
        progress.advance(task, (len(paths) - len(missing)) * teacher.epochs)

        def tell(epoch: dict[str, Any] | None) -> None:
            """Log and show this rank's epoch, and those that the others tell at the same time."""
            for told in parts.ranks.gather(epoch):
                if told is not None:
                    parts.folder.metrics.write("teacher_epoch", **told)
                    status = f"loss {told['loss']:.3f}, validation recall {told['validation_mean_recall']:.1f}"
                    progress.update(task, advance=1, status=status)

        for first in range(0, len(missing), parts.ranks.world):
            mine = parts.ranks.share(missing[first : first + parts.ranks.world])
            for expert in mine:
                _train_expert(parts, expert, paths[expert], tell)
            if not mine:
                for _ in range(teacher.epochs):
                    tell(None)
        parts.ranks.barrier()
    return paths


def trajectories_folder(parts: Parts) -> Path:
    """Return the folder of the trajectories, which other runs may share that would train the same teachers."""
    config = parts.config
    if config.trajectories_dir is None:
        return parts.folder.trajectories
    teachers = {
        "data": parts.manifest.fingerprint,
        "image_encoder": parts.image.spec.to_json(),
        "text_encoder": parts.text.spec.to_json(),
        "settings": {
            "seed": config.teachers_seed,
            "heads": asdict(config.heads),
            "image": {"trainable": config.image.trainable, "precision": config.image.precision},
            "teacher": {k: v for k, v in asdict(config.teacher).items() if k not in ("num_experts", "keep")},
        },
    }
    folder = Path(config.trajectories_dir).expanduser()
    kept = epochs_to_keep(config.teacher, config.distill)
    parts.ranks.main_first(lambda: claim_folder(folder, teachers, kept))
    return folder


def _train_expert(parts: Parts, expert: int, path: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    model = parts.factory.build()

    def on_epoch(epoch: int, parameters: Parameters, loss: float) -> None:
        recall = recalls_on(model, parameters, parts.splits.val).mean
        tell({"expert": expert, "epoch": epoch, "loss": loss, "validation_mean_recall": recall})

    record_expert(
        parts.factory,
        parts.splits.train,
        RealTraining.of_teacher(parts.config.teacher),
        path,
        parts.config.teachers_seed,
        "expert",
        expert,
        keep=epochs_to_keep(parts.config.teacher, parts.config.distill),
        on_epoch=on_epoch,
    )
