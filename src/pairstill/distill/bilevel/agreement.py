"""How far start epochs agree: the gradients that distilled images receive from them, and the cosines between those."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import normalize

from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.bilevel.segments import Segment
from pairstill.distill.learned import initial_values
from pairstill.distill.pairs import IMAGES


def start_gradients(
    objective: TrajectoryObjective,
    starts: Sequence[float],
    repeats: int,
) -> Iterator[Tensor]:
    """Yield the matching loss's gradient for the images at each start epoch, as in the paper's Appendix B.2.

    g(T) = mean over repeats r of dL(T, r)/d images, at the pairs that `objective` begins with. Repeat r follows expert
    r, modulo their number, and sees the same mini-batches and dropout masks whatever the start, so that starts differ
    by nothing else. It is the exact gradient through the inner loop, also where the run's is
    truncated.

    Args:
        objective: the pairs, the paths (shortcuts or recorded), the inner loop; its images may be features.
        starts: start epochs; `starts + matching_span` must lie on the paths.
        repeats: segments that are averaged at each start.

    Yields:
        For each start one row (values of all images), on the CPU.

    Raises:
        NumericalError: the inner loop leaves the finite numbers; the message names the step and the tensor.
    """
    settings = objective.config.hypergradient
    if settings.mode == "truncated":
        exact = replace(settings, mode="auto")
        objective = replace(objective, config=replace(objective.config, hypergradient=exact))
    values = {n: v.clone().requires_grad_() for n, v in initial_values(objective.variables()).items()}
    draws = [make_generator(objective.seed, "start gradients", repeat) for repeat in range(repeats)]
    steps = [objective.draws.inner_steps(generator) for generator in draws]
    for start in starts:
        segments = [Segment(r % len(objective.paths), start, steps[r]) for r in range(repeats)]
        _, gradients = objective.gradients(values, segments)
        yield gradients[IMAGES].detach().flatten().cpu()


def cosines(gradients: Tensor) -> Tensor:
    """Return the cosine similarity between rows, (rows, rows); a row of zeros agrees with none.

    Example:
        >>> cosines(torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, -1.0]])).tolist()
        [[1.0, 0.6000000238418579, 0.0], [0.6000000238418579, 1.0, -0.800000011920929], [0.0, -0.800000011920929, 1.0]]
    """
    directions = normalize(gradients, dim=1)
    return directions @ directions.T
