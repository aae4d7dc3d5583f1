"""The choice of an epoch of a training, by each protocol on the split that is its own."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from pairstill.config import EvaluationProtocol
from pairstill.model.dual_encoder import Parameters


@dataclass(frozen=True)
class Candidate:
    """One training at its best epoch, not yet measured on the test split.

    Attributes:
        parameters: at that epoch.
        recall: the mean recall that chose it.
        epoch: its number, over all phases.
        settings: what distinguishes it from other candidates, such as its rates.
        seconds: time of training and of the choice.
        reads: how often the split that chooses was read.
    """

    parameters: Parameters
    recall: float
    epoch: int
    settings: dict[str, float]
    seconds: float
    reads: int = 1


Split = TypeVar("Split")


def best_epochs(
    recall: Callable[[Parameters, Split], float],
    epochs: Iterable[tuple[int, Parameters]],
    choosers: Mapping[EvaluationProtocol, Split],
    settings: dict[str, float] | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[EvaluationProtocol, Candidate]:
    """Train by drawing from `epochs`, and choose for every protocol the first epoch with the best mean recall.

    Args:
        recall: returns the mean recall of parameters on a split.
        epochs: trains as it is drawn from, and yields each epoch's number and live parameters.
        choosers: the split that chooses, by protocol; each chooses by itself.
        settings: what the candidates are remembered by.
        clock: returns the seconds since some moment.

    Returns:
        The candidates by protocol; seconds and reads are those that the protocol alone would have taken.
    """
    chosen: dict[EvaluationProtocol, Candidate] = {}
    choosing = dict.fromkeys(choosers, 0.0)
    training, reads, began = 0.0, 0, clock()
    for epoch, parameters in epochs:
        reads += 1
        training += clock() - began
        for protocol, split in choosers.items():
            began = clock()
            found = recall(parameters, split)
            if protocol not in chosen or found > chosen[protocol].recall:
                kept = {name: value.detach().clone() for name, value in parameters.items()}
                chosen[protocol] = Candidate(kept, found, epoch, settings or {}, 0.0)
            choosing[protocol] += clock() - began
        began = clock()
    return {p: replace(candidate, seconds=training + choosing[p], reads=reads) for p, candidate in chosen.items()}
