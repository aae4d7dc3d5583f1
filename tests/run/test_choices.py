import pytest
import torch

from pairstill.core.errors import ArtifactError
from pairstill.run.choices import chosen_once


def test_what_was_chosen_is_not_chosen_anew(tmp_path):
    path, first = tmp_path / "choice.safetensors", [torch.tensor([4, 1]), torch.tensor([[2, 0, 3]])]
    assert [rows.tolist() for rows in chosen_once(path, [2, 1], 5, lambda: first)] == [[4, 1], [[2, 0, 3]]]
    assert [rows.tolist() for rows in chosen_once(path, [2, 1], 5, lambda: first[::-1])] == [[4, 1], [[2, 0, 3]]]
    for sizes, captions in (([2, 2], 5), ([2], 5), ([2, 1], 4)):
        with pytest.raises(ArtifactError, match="was chosen for other phases or data"):
            chosen_once(path, sizes, captions, lambda: first)
