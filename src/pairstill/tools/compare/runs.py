"""Finished runs, read from their folders, and which of them repeat each other with other seeds."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairstill.config import EvaluationProtocol, RunConfig
from pairstill.config.defaults import in_use
from pairstill.config.roles import with_role
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.distilled import stored_pairs
from pairstill.evaluate.bootstrap import ImageHits, image_hits
from pairstill.evaluate.hierarchy import Levels, RepeatedHits
from pairstill.evaluate.measurement import crossed, current, made_name
from pairstill.evaluate.results import student_seeds
from pairstill.evaluate.stored import StoredRanks
from pairstill.run.folder import FREE_SETTINGS, RunFolder, plain
from pairstill.run.log import read_events

REPEATED_SETTINGS = with_role(RunConfig, "seed", "teachers_place")
MADE_SETTINGS = with_role(RunConfig, "made")


@dataclass(frozen=True)
class MeasuredRun:
    """One run whose students are measured.

    Attributes:
        path: its folder, as given.
        config: its settings.
        results: measured as the settings say, one mapping per student and protocol.
        events: of its metrics.
        crossed: of its students with other encoders, one mapping for each.
    """

    path: Path
    config: RunConfig
    results: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]
    crossed: tuple[dict[str, Any], ...] = ()

    @property
    def made(self) -> str:
        """The name of the row of its own pairs."""
        return made_name(self.config)

    @property
    def reference_key(self) -> str:
        """What must be the same for its references to be those of another run: all but the pairs and the seeds."""
        settings = plain(self.config)
        kept = {k: v for k, v in settings.items() if k not in (*FREE_SETTINGS, *REPEATED_SETTINGS, *MADE_SETTINGS)}
        evaluate = settings["evaluate"]
        measured = [settings["student"], evaluate["references"], evaluate["rate_scales"]]
        return json.dumps([kept, measured], sort_keys=True)

    @property
    def made_key(self) -> str:
        """What must be the same for another run to be a repetition with other seeds."""
        made = in_use(asdict(self.config.distill))
        scaled = self.config.evaluate.scale_learned
        return json.dumps([self.reference_key, self.config.method, made, scaled], sort_keys=True)


def open_run(path: Path, config: RunConfig) -> MeasuredRun:
    """Read a run.

    Args:
        path: its folder.
        config: its settings, as its folder states them.

    Raises:
        ConfigError: its pairs are for several image towers.
        ArtifactError: nothing was measured, or by a version that did not keep the ranks of test queries.
    """
    config.check_one_tower("`pairstill compare`")
    folder = RunFolder(config, writes=False)
    pairs = stored_pairs(folder.distilled)
    results = current(config, folder.results(), pairs)
    if not results:
        raise ArtifactError(f"{path} holds no results that were measured as its settings say; {_evaluate(path)}")
    if any("ranks" not in result or "test_data" not in result for result in results):
        raise ArtifactError(
            f"{path} has results without the ranks of test queries, of an earlier version; {_evaluate(path)} again"
        )
    others = crossed((record.facts for record in folder.ledger("cross").records()), pairs)
    return MeasuredRun(path, config, tuple(results), tuple(read_events(folder.path / "metrics.jsonl")), tuple(others))


def _evaluate(run: Path) -> str:
    return f"run `pairstill evaluate --config {run / 'config.yaml'} --run_dir {run}`"


def check_same_test_data(runs: Sequence[MeasuredRun]) -> None:
    """Raise `ConfigError` if not all results were measured on the same test images and captions."""
    first, known = runs[0], str(runs[0].results[0]["test_data"])
    for run in runs:
        for result in run.results:
            if result["test_data"] != known:
                raise ConfigError(
                    f"{run.path} was measured on other test data (fingerprint {str(result['test_data'])[:16]}) than "
                    f"{first.path} ({known[:16]}): their recalls cannot be compared; give runs on the same test split"
                )


def hits_of(runs: Iterable[MeasuredRun], row: str, protocol: EvaluationProtocol) -> RepeatedHits | None:
    """Return the hits of a row's students over all of these runs, each once, or None if there are none.

    Random pairs are drawn anew for every student, so that each of these students has a set of its own.

    Raises:
        ArtifactError: ranks are missing, or do not give the recalls that stand beside them.
    """
    found: dict[Levels, ImageHits] = {}
    for run in runs:
        for result in run.results:
            if (result["method"], result["protocol"]) == (row, protocol):
                teachers, distillation, *student = student_seeds(result)
                drawn = tuple(student) if row == "random" else distillation
                levels = (teachers, drawn, tuple(student))
                if levels not in found:
                    stored = stored_ranks(run, result)
                    found[levels] = image_hits([stored.ranks], stored.caption_owner)
    return RepeatedHits(tuple(found.values()), tuple(found)) if found else None


def stored_ranks(run: MeasuredRun, result: dict[str, Any]) -> StoredRanks:
    """Return the ranks of a student of a run.

    Raises:
        ArtifactError: they are missing, or do not give the recalls that stand beside them.
    """
    path = run.path / result["ranks"]
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; copy the whole run, or {_evaluate(run.path)} again")
    stored = StoredRanks.load(path)
    if abs(stored.ranks.recalls.mean - result["mean_recall"]) > 1e-3:
        raise ArtifactError(
            f"{path} gives another recall than results.jsonl says; delete it and {_evaluate(run.path)} again"
        )
    return stored
