"""Phases that set themselves: numbers that the teachers show go in, phases come out.

The paper sets start ranges and endpoints by hand (Table 12) and names their choice an open problem. Here

- *endpoints* lie where the teachers' validation recall is the best, but for its error: before, they have something
  left to learn, beyond, they overfit;
- *starts* count while more than a share of the gain in validation recall lies ahead on the shortcut;
- *phases* are runs of neighbouring starts whose gradients for the images do not oppose each other; the number of
  phases is the smallest that covers the most starts so;
- *sizes* go with the length of the teachers' path that a phase covers; outer steps are shared equally.

docs/auto_phases.md has the equations and their reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from pairstill.config import AutoPhasesConfig, PhaseConfig
from pairstill.core.errors import ConfigError, NumericalError


@dataclass(frozen=True)
class EndpointRange:
    """Epochs that shortcuts may end at.

    Attributes:
        first: the first whose mean validation recall is within the error of the best.
        last: the last such epoch.
        error: standard error of the best epoch's mean recall over teachers, in percentage points.
    """

    first: int
    last: int
    error: float


@dataclass(frozen=True)
class Evidence:
    """What the teachers show, on training and validation pairs.

    Attributes:
        recalls: validation recall in % by teacher and epoch, from 0, (teachers, epochs + 1).
        lengths: step norm |theta_{k+1} - theta_k| over all layers, mean over teachers, (epochs,).
        admissible: the endpoints that `recalls` allow.
        shortcuts: by endpoint, mean validation recall in % along the shortcut, (endpoint + 1,).
        agreement: by endpoint, cosines between the gradients of its start epochs, (starts, starts), as far as any
            phase may reach.
    """

    recalls: Tensor
    lengths: Tensor
    admissible: EndpointRange
    shortcuts: Mapping[int, Tensor]
    agreement: Mapping[int, Tensor]


@dataclass(frozen=True)
class PhaseRange:
    """A phase without its size.

    Attributes:
        first: first start epoch.
        last: last start epoch.
        endpoint: epoch that its shortcut ends at.
        agreement: mean cosine between the gradients of its start epochs; 1 for a single one.
    """

    first: int
    last: int
    endpoint: int
    agreement: float


def levelled(recalls: Tensor, towers: int) -> Tensor:
    """Return the recalls of several towers' teachers, all shifted to one best mean: what towers differ by is no error.

    Args:
        recalls: validation recall in %, (teachers, epochs + 1), as many teachers of each tower, tower after tower.
        towers: how many towers; with one, nothing changes.

    Example:
        >>> levelled(torch.tensor([[1.0, 20.0, 30.0], [3.0, 44.0, 42.0]]), 2).tolist()
        [[8.0, 27.0, 37.0], [-4.0, 37.0, 35.0]]
    """
    if towers == 1:
        return recalls
    own = recalls.unflatten(0, (towers, -1))
    best = own.mean(1).amax(1)
    return (own + (best.mean() - best).reshape(-1, 1, 1)).flatten(0, 1)


def admissible_endpoints(recalls: Tensor, span: int = 1) -> EndpointRange:
    """Return the epochs whose mean validation recall is within one standard error of the best epoch's.

    With r(k) the mean over n teachers, k* = argmax r and s the sample standard deviation at k* over sqrt n, they reach
    from the first to the last k with r(k) >= r(k*) - s, r(k) > r(0) and k >= `span`. One teacher has none: s = 0.

    Args:
        recalls: validation recall in %, (teachers, epochs + 1), from epoch 0, the untrained model.
        span: epochs from start to target; an endpoint before has no segment.

    Raises:
        ConfigError: there is no such epoch.

    Example:
        >>> found = admissible_endpoints(torch.tensor([[1.0, 20.0, 29.8, 30.5, 28.0], [1.0, 20.0, 29.6, 29.5, 28.0]]))
        >>> found.first, found.last, round(found.error, 2)
        (2, 3, 0.5)
    """
    mean = recalls.mean(0)
    best = int(mean.argmax())
    error = float(recalls[:, best].std()) / len(recalls) ** 0.5 if len(recalls) > 1 else 0.0
    least = float(mean[best]) - error
    near = [k for k, recall in enumerate(mean.tolist()) if recall >= least and recall > float(mean[0]) and k >= span]
    if not near:
        raise ConfigError(
            f"the teachers' validation recall is best after epoch {best}, and no epoch near it is better than the "
            f"untrained model and {span} (distill.matching_span) after its start: there is nothing to distil; lower "
            "teacher.lr_image and teacher.lr_text, or matching_span, or raise teacher.epochs"
        )
    return EndpointRange(near[0], near[-1], error)


def endpoints_of(admissible: EndpointRange, phases: int) -> tuple[int, ...]:
    """Return each phase's endpoint: evenly from the first admissible one to the last, rounded up.

    Example:
        >>> endpoints_of(EndpointRange(6, 9, 0.0), 3)
        (6, 8, 9)
    """
    gaps, width = max(phases - 1, 1), admissible.last - admissible.first
    return tuple(admissible.first - (-number * width // gaps) for number in range(phases))


def gain_ahead(recalls: Tensor) -> Tensor:
    """Return the share of a shortcut's gain in recall that lies ahead of each epoch: (r(t) - r(T)) / (r(t) - r(0)).

    Args:
        recalls: mean validation recall in % along the shortcut, (endpoint + 1,); the last exceeds the first.
    """
    return (recalls[-1] - recalls) / (recalls[-1] - recalls[0])


def useful_starts(recalls: Tensor, gain_left: float, span: int = 1) -> int:
    """Return how many start epochs count: those before the first with no more than `gain_left` of the gain ahead.

    Args:
        recalls: mean validation recall in % along the shortcut, (endpoint + 1,).
        gain_left: the share, from 0 below 1.
        span: epochs from start to target, which must not go past the endpoint.

    Example:
        >>> useful_starts(torch.tensor([1.0, 28.0, 34.0, 35.0, 36.0]), 0.05)
        3
    """
    few = (gain_ahead(recalls) <= gain_left).nonzero()
    return min(int(few[0]), len(recalls) - span)


def most_phases(config: AutoPhasesConfig, pairs: int, steps: int) -> int:
    """Return how many phases so many pairs and outer steps allow."""
    return max(1, min(config.max_phases, pairs // config.min_pairs, steps))


def divide_starts(
    agreement: Mapping[int, Tensor], endpoints: Sequence[int], starts: int, config: AutoPhasesConfig, span: int = 1
) -> list[PhaseRange] | None:
    """Return the division of starts 0..starts-1 into one phase for each endpoint, or None if there is none.

    Allowed are divisions into neighbouring starts, in order, in which no two starts of a phase have a cosine below
    `min_agreement` on that phase's own shortcut, and no segment goes past its endpoint. Of these it is the one with the
    largest sum over phases of |sum over T of g(T) / |g(T)|| = sqrt(sum over T, T' of cos(T, T')), as in spherical
    k-means; of equals, the one with the shortest first phases.

    Args:
        agreement: by endpoint, cosines between the start epochs of its shortcut, (starts, starts).
        endpoints: each phase's endpoint.
        starts: start epochs to divide.
        config: the settings.
        span: epochs from start to target.
    """
    best: list[PhaseRange] | None = None
    best_score = -1.0
    for cuts in combinations(range(1, starts), len(endpoints) - 1):
        bounds = [0, *cuts, starts]
        found: list[PhaseRange] = []
        score = 0.0
        for first, end, endpoint in zip(bounds[:-1], bounds[1:], endpoints, strict=True):
            if end - 1 + span > endpoint:
                break
            cosines = agreement[endpoint][first:end, first:end].clone().fill_diagonal_(1.0)
            if float(cosines.min()) < config.min_agreement:
                break
            found.append(PhaseRange(first, end - 1, endpoint, _mean_between(cosines)))
            score += float(cosines.sum().clamp_min(0).sqrt())
        if len(found) == len(endpoints) and score > best_score:
            best, best_score = found, score
    return best


def _mean_between(cosines: Tensor) -> float:
    count = len(cosines)
    return 1.0 if count == 1 else float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))


def choose_ranges(evidence: Evidence, most: int, config: AutoPhasesConfig, span: int = 1) -> list[PhaseRange]:
    """Return the phases: the smallest number, of at most `most`, that covers the most starts without opposition.

    Which starts count is said by the shortcut of the last phase. They are given up from the last one on: every student
    passes through the first.

    Args:
        evidence: what the teachers show.
        most: at most so many phases.
        config: the settings.
        span: epochs from start to target.

    Raises:
        NumericalError: a cosine is not finite.
    """
    for endpoint, cosines in evidence.agreement.items():
        if not bool(cosines.isfinite().all()):
            raise NumericalError(f"the gradients of start epochs on the shortcut to {endpoint} are not finite")
    best: list[PhaseRange] = []
    for count in range(1, most + 1):
        endpoints = endpoints_of(evidence.admissible, count)
        starts = useful_starts(evidence.shortcuts[endpoints[-1]], config.gain_left, span)
        covered = best[-1].last + 1 if best else 0
        for more in range(starts, max(covered, count - 1), -1):
            found = divide_starts(evidence.agreement, endpoints, more, config, span)
            if found is not None:
                best = found
                break
    return best


def share_out(total: int, weights: Sequence[float], least: int) -> list[int]:
    """Return whole parts of `total`, as proportional to `weights` as parts of at least `least` can be.

    `least` is lowered to an equal share where there is not enough. Parts below it get it, the others share the rest;
    what rounding leaves goes to the largest remainders, of equals to the first.

    Example:
        >>> share_out(100, [3.0, 2.0, 0.5], 20)
        [48, 32, 20]
    """
    least = min(least, total // len(weights))
    low: set[int] = set()
    while True:
        free = [i for i in range(len(weights)) if i not in low]
        rest, whole = total - least * len(low), sum(weights[i] for i in free)
        exact = {i: rest * weights[i] / whole for i in free}
        short = {i for i in free if exact[i] < least}
        if not short:
            break
        low |= short
    parts = [least if i in low else int(exact[i]) for i in range(len(weights))]
    for i in sorted(free, key=lambda i: int(exact[i]) - exact[i])[: total - sum(parts)]:
        parts[i] += 1
    return parts


def sized_phases(
    ranges: Sequence[PhaseRange], lengths: Tensor, pairs: int, steps: int, least_pairs: int
) -> tuple[PhaseConfig, ...]:
    """Return the phases with their pairs and outer steps; ranges are inclusive.

    Phase p gets pairs in proportion to the path that its starts walk, sum of |theta_{k+1} - theta_k| over them, but at
    least `least_pairs`; outer steps are shared equally, as in Table 12.

    Args:
        ranges: the phases.
        lengths: mean step norm of the teachers by epoch, (epochs,).
        pairs: all distilled pairs.
        steps: all outer steps.
        least_pairs: the least number of pairs in a phase.
    """
    walked = [float(lengths[s.first : s.last + 1].sum()) for s in ranges]
    sizes = share_out(pairs, walked, least_pairs)
    counts = share_out(steps, [1.0] * len(ranges), 1)
    return tuple(
        PhaseConfig(size, count, chosen.first, chosen.last, chosen.endpoint)
        for chosen, size, count in zip(ranges, sizes, counts, strict=True)
    )
