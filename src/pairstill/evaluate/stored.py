"""The ranks of a student's test queries on disk, for comparisons that need every query."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.evaluate.retrieval import QueryRanks
from pairstill.storage import load_tensors, save_tensors

LARGEST = torch.iinfo(torch.int16).max


@dataclass(frozen=True)
class StoredRanks:
    """A student's ranks, and which queries belong together; ranks from 32,767 on are kept as that.

    Attributes:
        ranks: of every query of the test split.
        caption_owner: the image that each caption belongs to, (captions,).
    """

    ranks: QueryRanks
    caption_owner: Tensor

    def save(self, path: Path) -> None:
        """Write the ranks as 16-bit numbers, atomically."""
        ranks = {"captions": self.ranks.captions, "images": self.ranks.images}
        compact = {name: values.clamp_max(LARGEST).to(torch.int16) for name, values in ranks.items()}
        save_tensors(path, {**compact, "caption_owner": self.caption_owner.to(torch.int32)})

    @staticmethod
    def load(path: Path) -> "StoredRanks":
        """Read ranks.

        Raises:
            ArtifactError: the file is missing, damaged, or holds something else.
        """
        tensors = {name: values.long() for name, values in load_tensors(path).items()}
        if tensors.keys() != {"captions", "images", "caption_owner"}:
            raise ArtifactError(f"{path} holds no ranks; delete it and run `pairstill evaluate` again")
        captions, images, owner = tensors["captions"], tensors["images"], tensors["caption_owner"]
        if len(owner) != len(captions) or not bool(((owner >= 0) & (owner < len(images))).all()):
            raise ArtifactError(f"{path} does not fit together; delete it and run `pairstill evaluate` again")
        return StoredRanks(QueryRanks(captions, images), owner)
