"""Results on real pairs: teachers once, then methods and sizes in order, each row and its pairs kept as it comes."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from record import Record

from pairstill.config import PhaseConfig, RunConfig
from pairstill.distilled import DistilledSet
from pairstill.run.pipeline import Run
from pairstill.storage import save_tensors

METHODS = ("lors", "mtt_vl", "ptm_st")
PHASES = {
    100: ((99, 0, 2, 6),),
    200: ((99, 0, 2, 6), (100, 1, 3, 8)),
    500: ((200, 0, 2, 6), (299, 1, 3, 8)),
}
"""The paper's phases of Flickr30k (Table 12): pairs, first start, last start, endpoint."""
FILE_BYTES, FILES = 15 << 20, 6
"""What is kept of pairs as small files beside the rows: so many, of at most so many bytes."""


def at_size(config: RunConfig, pairs: int, steps: int) -> RunConfig:
    """Return the settings with the phases of a size."""
    phases = tuple(PhaseConfig(count, steps, first, last, end) for count, first, last, end in PHASES[pairs])
    return replace(config, distill=replace(config.distill, phases=phases))


def run(record: Record, work: Path, rows: list[tuple[str, int, RunConfig]]) -> None:
    """Do every row that is not there yet; a row that was stopped goes on from its last checkpoint.

    Args:
        record: where rows go.
        work: folder of the runs, which share their teachers.
        rows: the method, the size and the settings of each.
    """
    for method, pairs, config in rows:
        name = f"{method}, {pairs} pairs"
        asked = replace(
            config, method=method, run_dir=str(work / f"{method}_{pairs}"), trajectories_dir=str(work / "teachers")
        )
        record.run(name, lambda asked=asked, name=name: _row(asked, record.path.parent, name))


def _row(config: RunConfig, out: Path, name: str) -> dict[str, Any]:
    pipeline = Run(config)
    with pipeline:
        (row,) = pipeline.run()
    distilled = DistilledSet.load(pipeline.folder.distilled)
    students = [
        {key: result[key] for key in ("mean_recall", "validation_mean_recall", "epoch", "seconds", "peak_memory_bytes")}
        for result in pipeline.folder.results()
    ]
    return {
        "method": row.title,
        "num_pairs": row.num_pairs,
        "mean_recall": row.mean,
        "spread": row.spread,
        "recalls": dict(row.recalls),
        "students": students,
        "stage_seconds": pipeline.folder.all_seconds("prepare", "teach", "distill", "evaluate"),
        "pairs_in": _keep_pairs(distilled, out, name),
        "settings": {"distill": asdict(config.distill), "teacher": asdict(config.teacher)},
    }


def _keep_pairs(distilled: DistilledSet, out: Path, name: str) -> list[str]:
    """Write the pairs with images as float16, as long as they fit; return the files."""
    tensors = distilled.tensors()
    small = {key: value.half() if key.endswith("images") else value for key, value in tensors.items()}
    size = sum(value.numel() * value.element_size() for value in small.values())
    if size > FILE_BYTES or len(list(out.glob("pairs_*.safetensors"))) >= FILES:
        return []
    path = out / f"pairs_{name.replace(', ', '_').replace(' ', '_')}.safetensors"
    save_tensors(path, small)
    return [path.name]
