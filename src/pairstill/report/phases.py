"""Phases that set themselves, and why they are so, as a table, as sentences and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pairstill.config import PhaseConfig
from pairstill.core.formatting import counted
from pairstill.distill.auto_phases import Evidence, PhaseRange, gain_ahead

EPOCH_HEADER = ("epoch", "next step's norm", "validation recall", "phase", "on its shortcut", "gain ahead", "agreement")


def epoch_cells(evidence: Evidence, ranges: Sequence[PhaseRange]) -> list[tuple[str, ...]]:
    """Return one row for each epoch of the teachers.

    The last three columns are of the start epochs: validation recall on the shortcut of its phase, the share of that
    shortcut's gain that lies ahead, and the cosine between its gradient and that of the start before. Starts that no
    phase has are shown on the shortcut of the last phase, as far as they were measured.
    """
    rows = []
    for epoch, recall in enumerate(evidence.recalls.mean(0).tolist()):
        length = f"{evidence.lengths[epoch]:.3g}" if epoch < len(evidence.lengths) else ""
        number = next((n for n, s in enumerate(ranges) if s.first <= epoch <= s.last), None)
        endpoint = ranges[-1 if number is None else number].endpoint
        along, cosines = evidence.shortcuts[endpoint], evidence.agreement[endpoint]
        on_it = f"{along[epoch]:.2f}" if epoch < len(along) else ""
        ahead = f"{100 * gain_ahead(along)[epoch]:.0f} %" if epoch < len(along) else ""
        agrees = f"{cosines[epoch, epoch - 1]:.2f}" if 0 < epoch < len(cosines) else ""
        phase = "" if number is None else str(number + 1)
        rows.append((str(epoch), length, f"{recall:.2f}", phase, on_it, ahead, agrees))
    return rows


def phase_lines(evidence: Evidence, ranges: Sequence[PhaseRange], phases: Sequence[PhaseConfig]) -> list[str]:
    """Return what was chosen and why, a sentence each."""
    best, admissible = float(evidence.recalls.mean(0).max()), evidence.admissible
    lines = [
        f"Endpoints {admissible.first} to {admissible.last}: validation recall there is within its error over "
        f"{counted(len(evidence.recalls), 'teacher')}, {admissible.error:.2f}, of the best, {best:.2f}."
    ]
    for number, (chosen, phase) in enumerate(zip(ranges, phases, strict=True), start=1):
        agree = "" if chosen.first == chosen.last else f", whose gradients agree to {chosen.agreement:.2f}"
        lines.append(
            f"Phase {number}: {counted(phase.num_pairs, 'pair')}, {counted(phase.outer_steps, 'outer step')}, "
            f"starts {chosen.first} to {chosen.last}{agree}, endpoint {chosen.endpoint}."
        )
    return lines


def phases_to_json(evidence: Evidence, ranges: Sequence[PhaseRange], phases: Sequence[PhaseConfig]) -> dict[str, Any]:
    """Return the phases, in the form of the settings, and all that they were chosen by."""
    return {
        "phases": [asdict(phase) for phase in phases],
        "why": {
            "admissible_endpoints": asdict(evidence.admissible),
            "validation_recall_by_teacher": evidence.recalls.tolist(),
            "step_norms": evidence.lengths.tolist(),
            "validation_recall_along_shortcut": {str(e): v.tolist() for e, v in evidence.shortcuts.items()},
            "agreement_of_starts": {str(e): v.tolist() for e, v in evidence.agreement.items()},
            "agreement_within_phases": [chosen.agreement for chosen in ranges],
        },
    }
