"""What the learned similarities of two runs on the same pairs are worth: one's pairs with the other's similarities.

python benchmarks/flickr8k/similarities.py RUN OTHER

Both are folders of runs with one phase and as many pairs. Prints a Markdown table: the entries of the similarities,
and the mean recall of RUN's students with its own, with OTHER's, and with OTHER's whose entries beside the diagonal are
shuffled. Everything else is RUN's: pairs, rates, encoders, protocol.
"""

import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from torch import Tensor

from pairstill.cli.command import settings_of_run
from pairstill.distilled import DistilledSet
from pairstill.report.tables import markdown_table
from pairstill.run.pipeline import Run


def with_similarity(distilled: DistilledSet, similarity: Tensor) -> DistilledSet:
    """Return a set of one phase with another similarity (pairs, pairs)."""
    (phase,) = distilled.phases
    return replace(distilled, phases=(replace(phase, similarity_factors={"matrix": similarity}),))


def shuffled(similarity: Tensor) -> Tensor:
    """Return a similarity (pairs, pairs) whose entries beside the diagonal have changed places."""
    beside = ~torch.eye(len(similarity), dtype=torch.bool)
    entries, mixed = similarity[beside], similarity.clone()
    mixed[beside] = entries[torch.randperm(len(entries), generator=torch.Generator().manual_seed(0))]
    return mixed


def cells(name: str, similarity: Tensor, distilled: DistilledSet, pipeline: Run) -> list[str]:
    """Return a row: what the similarity looks like, and the recalls of students on the set with it."""
    beside = similarity[~torch.eye(len(similarity), dtype=torch.bool)]
    tried = with_similarity(distilled, similarity)
    students = range(pipeline.config.evaluate.num_students)
    outcomes = [pipeline.context.evaluator.distilled(tried, student)[0] for student in students]
    numbers = [similarity.diagonal().mean(), beside.mean(), 100 * (beside > 0.5).float().mean()]
    recalls = [mean(o.validation or 0.0 for o in outcomes), mean(o.recalls.mean for o in outcomes)]
    return [name, *(f"{float(number):.2f}" for number in numbers), *(f"{recall:.1f}" for recall in recalls)]


def main(run: Path, other: Path) -> None:
    """Print the table."""
    own, others = (DistilledSet.load(folder / "distilled") for folder in (run, other))
    similarity, foreign = (found.phases[0].similarity for found in (own, others))
    with TemporaryDirectory() as folder:
        config = replace(settings_of_run(run), run_dir=folder)
        pipeline = Run(replace(config, evaluate=replace(config.evaluate, protocol="strict")), Console(stderr=True))
        lines = [
            cells("its own", similarity, own, pipeline),
            cells("the other's", foreign, own, pipeline),
            cells("the other's, shuffled", shuffled(foreign), own, pipeline),
        ]
    header = ["similarities", "on the diagonal", "beside it", "above 0.5, %", "validation", "test"]
    print(markdown_table(header, lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
