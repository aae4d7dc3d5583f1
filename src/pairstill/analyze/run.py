"""Which code makes which analysis, and where its files go."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, assert_never

from pairstill.analyze.draw.gradients import draw_gradients
from pairstill.analyze.draw.proposition import draw_proposition
from pairstill.analyze.draw.teachers import draw_teachers
from pairstill.analyze.draw.trajectories import draw_trajectories
from pairstill.analyze.gradients import measure_gradients, summarise_gradients
from pairstill.analyze.inputs import whole_teachers
from pairstill.analyze.proposition import measure_proposition, summarise_proposition
from pairstill.analyze.settings import (
    ANALYSES,
    Analysis,
    GradientsAnalysis,
    PropositionAnalysis,
    TeachersAnalysis,
    TrajectoriesAnalysis,
)
from pairstill.analyze.teachers import measure_teachers, summarise_recalls
from pairstill.analyze.trajectories import measure_trajectories, summarise_trajectories
from pairstill.analyze.work import work_folder
from pairstill.core.provenance import commit
from pairstill.run.context import RunContext
from pairstill.run.folder import plain
from pairstill.storage import write_json

SUMMARY = "summary.json"
# each of these is measured by itself: more of them leave what is there
_PARTS = ("last_starts", "students")


def analyse(context: RunContext, settings: Analysis) -> Path | None:
    """Make an analysis of a run's teachers and return the folder of its figures, `RUN/analysis/NAME`.

    The figures are PNG and SVG files with their data as CSV beside them; `summary.json` holds what they come down to,
    with the settings. What was measured with the same settings is not measured again. Under torchrun the main rank does
    it alone; the others return None.
    """
    name = next(name for name, kind in ANALYSES.items() if isinstance(settings, kind))
    context.config.check_one_tower("`pairstill analyze`")
    experts = whole_teachers(context, None if isinstance(settings, TeachersAnalysis) else settings.experts)
    alone = context.leave()
    if alone is None:
        return None
    folder = alone.folder.path / "analysis" / name
    own = json.loads(json.dumps(asdict(settings)))
    decisive = {key: value for key, value in own.items() if key not in _PARTS}
    work = work_folder(folder, plain(alone.config), {"analysis": decisive, "data": alone.manifest.fingerprint})
    with alone.timed(f"analyze {name}"):
        found = _measure_and_draw(alone, settings, experts, folder, work)
    write_json(folder / SUMMARY, {"analysis": name, "settings": own, "commit": commit(), **found})
    return folder


def _measure_and_draw(
    context: RunContext, settings: Analysis, experts: list[Path], folder: Path, work: Path
) -> dict[str, Any]:
    match settings:
        case GradientsAnalysis():
            shapes = measure_gradients(context, experts, settings.pairs, work)
            draw_gradients(shapes, folder)
            return summarise_gradients(shapes)
        case TrajectoriesAnalysis():
            paths = measure_trajectories(experts)
            draw_trajectories(paths, folder)
            return summarise_trajectories(paths)
        case TeachersAnalysis():
            measured = measure_teachers(context, experts, settings, work)
            draw_teachers(measured, folder)
            return summarise_recalls(measured)
        case PropositionAnalysis():
            proposition = measure_proposition(context, experts, settings, work)
            draw_proposition(proposition, folder)
            return summarise_proposition(proposition)
        case _:
            assert_never(settings)
