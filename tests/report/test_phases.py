import torch

from pairstill.config import PhaseConfig
from pairstill.distill.auto_phases import EndpointRange, Evidence, PhaseRange
from pairstill.report.phases import EPOCH_HEADER, epoch_cells, phase_lines, phases_to_json

EVIDENCE = Evidence(
    recalls=torch.tensor([[1.0, 20.0, 30.0, 29.0], [1.0, 22.0, 31.0, 27.0]]),
    lengths=torch.tensor([4.0, 2.0, 1.0]),
    admissible=EndpointRange(2, 2, 0.5),
    shortcuts={2: torch.tensor([1.0, 16.0, 31.0])},
    agreement={2: torch.tensor([[1.0, 0.25], [0.25, 1.0]])},
)
RANGES = [PhaseRange(0, 0, 2, 1.0), PhaseRange(1, 1, 2, 1.0)]
PHASES = (PhaseConfig(6, 3, 0, 0, 2), PhaseConfig(4, 2, 1, 1, 2))


def test_a_row_for_each_epoch():
    assert epoch_cells(EVIDENCE, RANGES) == [
        ("0", "4", "1.00", "1", "1.00", "100 %", ""),
        ("1", "2", "21.00", "2", "16.00", "50 %", "0.25"),
        ("2", "1", "30.50", "", "31.00", "0 %", ""),
        ("3", "", "28.00", "", "", "", ""),
    ]
    assert all(len(row) == len(EPOCH_HEADER) for row in epoch_cells(EVIDENCE, RANGES))


def test_sentences_say_what_and_why():
    why, first, second = phase_lines(EVIDENCE, RANGES, PHASES)
    assert why == (
        "Endpoints 2 to 2: validation recall there is within its error over 2 teachers, 0.50, of the best, 30.50."
    )
    assert first == "Phase 1: 6 pairs, 3 outer steps, starts 0 to 0, endpoint 2."
    (wide,) = phase_lines(EVIDENCE, [PhaseRange(0, 1, 2, 0.25)], [PhaseConfig(10, 5, 0, 1, 2)])[1:]
    assert wide == "Phase 1: 10 pairs, 5 outer steps, starts 0 to 1, whose gradients agree to 0.25, endpoint 2."
    assert second.startswith("Phase 2: 4 pairs")


def test_the_file_holds_phases_and_reasons():
    found = phases_to_json(EVIDENCE, RANGES, PHASES)
    assert [PhaseConfig(**phase) for phase in found["phases"]] == list(PHASES)
    assert found["why"]["step_norms"] == [4.0, 2.0, 1.0]
    assert found["why"]["agreement_of_starts"] == {"2": [[1.0, 0.25], [0.25, 1.0]]}
    assert found["why"]["admissible_endpoints"] == {"first": 2, "last": 2, "error": 0.5}
