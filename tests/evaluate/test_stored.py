import pytest
import torch

from pairstill.core.errors import ArtifactError
from pairstill.evaluate.retrieval import QueryRanks
from pairstill.evaluate.stored import LARGEST, StoredRanks
from pairstill.storage import save_tensors

OWNER = torch.tensor([0, 0, 1])


def test_ranks_come_back_compact(tmp_path):
    ranks = QueryRanks(torch.tensor([0, 7, 40_000]), torch.tensor([3, 32_767]))
    StoredRanks(ranks, OWNER).save(tmp_path / "r.safetensors")
    found = StoredRanks.load(tmp_path / "r.safetensors")
    assert found.ranks.captions.tolist() == [0, 7, LARGEST] and found.ranks.images.tolist() == [3, 32_767]
    assert found.caption_owner.tolist() == OWNER.tolist()
    assert found.ranks.recalls == ranks.recalls


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"captions": torch.zeros(3), "images": torch.zeros(2)}, "holds no ranks"),
        ({"captions": torch.zeros(2), "images": torch.zeros(2), "caption_owner": OWNER}, "does not fit together"),
        ({"captions": torch.zeros(3), "images": torch.zeros(1), "caption_owner": OWNER}, "does not fit together"),
        ({"captions": torch.zeros(3), "images": torch.zeros(2), "caption_owner": OWNER - 1}, "does not fit together"),
    ],
)
def test_other_contents_are_refused(tmp_path, tensors, message):
    save_tensors(tmp_path / "r.safetensors", tensors)
    with pytest.raises(ArtifactError, match=message):
        StoredRanks.load(tmp_path / "r.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.safetensors does not exist"):
        StoredRanks.load(tmp_path / "gone.safetensors")
