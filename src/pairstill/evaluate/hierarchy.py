"""Whether methods differ beyond the distillations that were measured: a hierarchical paired bootstrap.

Students of one distillation are more alike than those of several, and distillations by the same teachers more than by
others. So a resample draws teachers, of each the distillations, of each the students, with replacement, and the test
images; the images are the same for all methods, which pairs them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairstill.evaluate.bootstrap import ImageHits, resampled_recalls

Levels = tuple[Hashable, ...]
"""What a student comes from, the outermost first: its teachers, its distillation, itself."""
_Tree = int | list["_Tree"]


@dataclass(frozen=True)
class RepeatedHits:
    """The hits of a method's students, and what each comes from.

    Attributes:
        students: the hits of each student, at least one.
        levels: of each student; all have as many, and no two the same.
    """

    students: tuple[ImageHits, ...]
    levels: tuple[Levels, ...]

    @property
    def distillations(self) -> int:
        """How many sets of pairs the students were trained on."""
        return len({levels[:-1] for levels in self.levels})

    @property
    def mean_recall(self) -> float:
        """Mean recall in percent: over students, of these over distillations, of these over teachers."""
        weights = _expected(_tree(self.levels), len(self.students))
        return float(weights @ torch.tensor([hits.mean_recall for hits in self.students], dtype=torch.float64))

    def is_same(self, other: "RepeatedHits") -> bool:
        """Whether these are the same students."""
        pairs = zip(self.students, other.students, strict=True)
        return self.levels == other.levels and all(torch.equal(one.captions, two.captions) for one, two in pairs)


def resampled_repeats(methods: Sequence[RepeatedHits], resamples: int, generator: torch.Generator) -> Tensor:
    """Return the mean recall of every method on resamples of its students and of the test images, (methods, resamples).

    A level with one member is not resampled: with one distillation of each method the result is for these.

    Args:
        methods: at least one, on the same test split.
        resamples: how many to draw.
        generator: draws them.

    Raises:
        DataError: the methods were not measured on the same images and captions.
    """
    weights = [_drawn(_tree(method.levels), len(method.students), resamples, generator) for method in methods]
    every = [hits for method in methods for hits in method.students]
    recalls = resampled_recalls(every, resamples, generator).split([len(method.students) for method in methods])
    return torch.stack([(of.T * counts).sum(1) for of, counts in zip(recalls, weights, strict=True)])


def _tree(levels: Sequence[Levels]) -> _Tree:
    """Return the numbers of students as lists in lists, a list for each group of a level."""

    def grouped(numbers: list[int], depth: int) -> _Tree:
        if depth == len(levels[0]):
            (number,) = numbers
            return number
        groups: dict[Hashable, list[int]] = {}
        for number in numbers:
            groups.setdefault(levels[number][depth], []).append(number)
        return [grouped(members, depth + 1) for members in groups.values()]

    return grouped(list(range(len(levels))), 0)


def _expected(tree: _Tree, students: int) -> Tensor:
    """Return the weight of each student in a mean of means, (students,)."""
    if isinstance(tree, int):
        return torch.eye(students, dtype=torch.float64)[tree]
    return torch.stack([_expected(branch, students) for branch in tree]).mean(0)


def _drawn(tree: _Tree, students: int, resamples: int, generator: torch.Generator) -> Tensor:
    """Return the weight of each student in each resample, (resamples, students)."""
    if isinstance(tree, int):
        return torch.eye(students, dtype=torch.float64)[tree].expand(resamples, students)
    if len(tree) == 1:
        return _drawn(tree[0], students, resamples, generator)
    total = torch.zeros(resamples, students, dtype=torch.float64)
    for _ in tree:
        chosen = torch.randint(len(tree), (resamples, 1), generator=generator)
        for number, branch in enumerate(tree):
            # a member that is drawn twice has its own members drawn anew
            total += (chosen == number) * _drawn(branch, students, resamples, generator)
    return total / len(tree)
