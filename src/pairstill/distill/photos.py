"""Which photos are kept: drawn, chosen by a teacher's joint features, or by how well they match the teachers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pairstill.core.errors import DataError
from pairstill.core.rng import derive_seed


def nearest_to_centres(features: Tensor, count: int, seed: int) -> Tensor:
    """Choose the row nearest to the centre of each of as many clusters, the larger clusters first, (count,).

    Args:
        features: (pairs, width), at least `count` of them.
        count: clusters, and rows to choose.
        seed: of the clustering.

    Example:
        >>> points = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.4], [5.5]])
        >>> sorted(nearest_to_centres(points, 2, seed=0).tolist())
        [1, 4]
    """
    from sklearn.cluster import MiniBatchKMeans  # a second to import

    means = MiniBatchKMeans(count, random_state=seed % 2**32, batch_size=max(1024, 4 * count))
    labels = torch.from_numpy(means.fit_predict(features.numpy())).long()
    centres = torch.from_numpy(means.cluster_centers_).to(features)
    distances = (features - centres[labels]).norm(dim=1)
    sizes = labels.bincount(minlength=count)
    chosen: list[int] = []
    for cluster in sizes.argsort(descending=True, stable=True).tolist():
        members = (labels == cluster).nonzero().flatten()
        if len(members):
            chosen.append(int(members[distances[members].argmin()]))
    # where points coincide there are empty clusters: the rows nearest to any centre stand in
    for row in distances.argsort(stable=True).tolist():
        if len(chosen) == count:
            break
        if row not in chosen:
            chosen.append(row)
    return torch.tensor(chosen)


def greedily(
    rows: int, count: int, groups: int, proposals: int, loss: Callable[[Tensor], float], generator: torch.Generator
) -> Tensor:
    """Choose rows group after group, each time the group of several random ones with which the loss is least, (count,).

    Args:
        rows: how many there are to choose from.
        count: rows to choose.
        groups: groups that they are chosen in, as equal as can be.
        proposals: random groups that are tried for each.
        loss: of some rows, (chosen,).
        generator: draws the groups.

    Raises:
        DataError: there are fewer rows than wanted.
    """
    if count > rows:
        raise DataError(f"{count} pairs are asked for, but there are {rows}; ask for fewer")
    chosen, open_rows = torch.empty(0, dtype=torch.int64), torch.ones(rows, dtype=torch.bool)
    for group in torch.arange(count).tensor_split(min(groups, count)):
        left = open_rows.nonzero().flatten()
        tries = [left[torch.randperm(len(left), generator=generator)[: len(group)]] for _ in range(proposals)]
        losses = [loss(torch.cat([chosen, rows_of])) for rows_of in tries]
        best = tries[min(range(len(tries)), key=losses.__getitem__)]
        chosen = torch.cat([chosen, best])
        open_rows[best] = False
    return chosen


def dealt(chosen: Tensor, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Deal rows out to phases at random, so that each has some of every kind; one phase has them as they are."""
    if len(sizes) > 1:
        generator = torch.Generator().manual_seed(derive_seed(seed, "photos of phases") % 2**63)
        chosen = chosen[torch.randperm(len(chosen), generator=generator)]
    return list(chosen.split(list(sizes)))
