import hashlib

import pytest
import torch
from safetensors.torch import save_file

from pairstill.core.errors import ArtifactError, DataError
from pairstill.encoders.row_files import SCHEMES, RowFile, caption_digest, write_row_file

CAPTIONS = ["a dog", "eine Straße", "a dog", "two cats"]
ROWS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0], [5.0, 0.1]])


def digests(captions):
    return [caption_digest(caption) for caption in captions]


def take(file, captions):
    return file.take(digests(captions), lambda i: captions[i], "captions")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "texts.safetensors"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_rows_come_back_in_any_order_and_of_equal_captions_once(path, dtype):
    assert write_row_file(path, "texts", digests(CAPTIONS), ROWS.to(dtype), "by hand") == 3
    file = RowFile.open(path, "texts")
    assert file.width == 2 and file.vectors.dtype == dtype
    found = take(file, ["two cats", "a dog", "eine Straße", "a dog"])
    assert found.dtype == torch.float32
    assert torch.equal(found, ROWS[[3, 0, 1, 0]].to(dtype).float())


def test_a_file_by_other_means_is_read_by_the_stated_scheme(path):
    keys = torch.tensor([list(hashlib.sha256(text.encode()).digest()) for text in ("one", "two")], dtype=torch.uint8)
    header = {"kind": "texts", "digests": SCHEMES["texts"]}
    save_file({"digests": keys, "vectors": ROWS[:2]}, path, metadata=header)
    assert take(RowFile.open(path, "texts"), ["two"]).tolist() == [[3.0, 4.0]]


def test_all_that_lack_are_named_once(path):
    write_row_file(path, "texts", digests(CAPTIONS), ROWS, "")
    with pytest.raises(DataError, match="no row for 2 captions:\n  - no\n  - nor this"):
        take(RowFile.open(path, "texts"), ["no", "a dog", "nor this", "no"])


def test_a_file_of_another_kind_is_refused(path):
    write_row_file(path, "features", digests(CAPTIONS), ROWS, "")
    with pytest.raises(ArtifactError, match="a file of texts says kind 'texts'"):
        RowFile.open(path, "texts")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"digests": torch.zeros(2, 31, dtype=torch.uint8)}, r"digests are torch.uint8 \(2, 31\)"),
        ({"digests": torch.zeros(2, 32, dtype=torch.int64)}, "digests are torch.int64"),
        ({"digests": torch.zeros(2, 32, dtype=torch.uint8)}, "1 digests twice"),
        ({"vectors": torch.ones(3, 2)}, r"vectors are torch.float32 \(3, 2\)"),
        ({"vectors": torch.ones(2, 2, dtype=torch.float64)}, "must be float16 or float32"),
        ({"vectors": torch.tensor([[1.0, 1.0], [1.0, torch.inf]])}, "1 vectors are not finite, the first in row 1"),
        ({"more": torch.ones(1)}, "it must hold"),
    ],
)
def test_a_file_that_cannot_be_is_refused(path, tensors, message):
    whole = {"digests": torch.eye(2, 32, dtype=torch.uint8), "vectors": torch.ones(2, 2), **tensors}
    save_file(whole, path, metadata={"kind": "texts", "digests": SCHEMES["texts"]})
    with pytest.raises(ArtifactError, match=message):
        RowFile.open(path, "texts")


def test_a_value_that_float16_does_not_hold_is_refused(path):
    with pytest.raises(DataError, match="not finite in torch.float16; write float32"):
        write_row_file(path, "texts", digests(["a dog"]), torch.tensor([[1e6]]).half(), "")
    assert not path.exists()
