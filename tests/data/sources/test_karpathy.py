import json

import pytest

from pairstill.config import DataConfig
from pairstill.core.errors import DataError
from pairstill.data.sources.karpathy import read
from pairstill.data.sources.raw import RawPair

FLICKR = {
    "dataset": "flickr30k",
    "images": [
        {
            "sentids": [0, 1],
            "imgid": 0,
            "sentences": [
                {"tokens": ["two", "men"], "raw": "Two men.", "imgid": 0, "sentid": 0},
                {"tokens": ["men"], "raw": "Men", "imgid": 0, "sentid": 1},
            ],
            "split": "train",
            "filename": "1000092795.jpg",
        },
        {"sentids": [2], "imgid": 1, "sentences": [{"raw": "A dog."}], "split": "test", "filename": "10002456.jpg"},
    ],
}
COCO = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014",
            "sentids": [0],
            "filename": "COCO_val2014_000000391895.jpg",
            "imgid": 0,
            "split": "test",
            "sentences": [{"raw": "A man"}],
            "cocoid": 391895,
        },
        {"filepath": "val2014", "filename": "b.jpg", "split": "restval", "sentences": [{"raw": "A boat"}]},
        {"filepath": "train2014", "filename": "c.jpg", "split": "train", "sentences": [{"raw": "A cat"}]},
        {"filepath": "val2014", "filename": "d.jpg", "split": "val", "sentences": [{"raw": "A car"}]},
    ],
}


def config_for(tmp_path, content):
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return DataConfig(source="karpathy", root=str(tmp_path), annotations="dataset.json", images="images")


def test_flickr(tmp_path):
    raw = read(config_for(tmp_path, FLICKR), tmp_path)
    assert raw.image_root == tmp_path / "images"
    assert raw.pairs == (
        RawPair("1000092795.jpg", ("Two men.", "Men"), "train", "images[0]"),
        RawPair("10002456.jpg", ("A dog.",), "test", "images[1]"),
    )
    assert raw.unreadable == ()


def test_coco_has_folders_and_counts_restval_as_train(tmp_path):
    raw = read(config_for(tmp_path, COCO), tmp_path)
    assert [(pair.image, pair.split) for pair in raw.pairs] == [
        ("val2014/COCO_val2014_000000391895.jpg", "test"),
        ("val2014/b.jpg", "train"),
        ("train2014/c.jpg", "train"),
        ("val2014/d.jpg", "val"),
    ]


def test_malformed_entries_are_kept_apart(tmp_path):
    entries = [
        "text",
        {"split": "train", "sentences": [{"raw": "x"}]},
        {"filename": "a.jpg", "sentences": [{"raw": "x"}]},
        {"filename": "a.jpg", "split": "train", "sentences": ["x"]},
        {"filename": "a.jpg", "split": "train"},
        {"filename": "a.jpg", "split": "train", "sentences": 3},
    ]
    raw = read(config_for(tmp_path, {"images": entries}), tmp_path)
    assert raw.pairs == (RawPair("a.jpg", ("x",), "train", "images[3]"),)
    assert raw.unreadable == (
        "images[0]: 'text' is not an object",
        "images[1]: the image is None; it must be a path",
        "images[2]: the split is None; it must be a string",
        "images[4]: image 'a.jpg' has no caption",
        "images[5]: the caption is 3; it must be a string or a list of strings",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not valid JSON"), ("[]", "no list 'images'"), ('{"images": 3}', "not a Karpathy split file")],
)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(config_for(tmp_path, content), tmp_path)


def test_missing_file_and_folder(tmp_path):
    config = config_for(tmp_path, FLICKR)
    (tmp_path / "images").rmdir()
    with pytest.raises(DataError, match="images is not a folder; set data.images"):
        read(config, tmp_path)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(DataError, match="dataset.json is not a file; set data.annotations"):
        read(config, tmp_path)


def test_a_key_that_stands_twice_in_an_object_would_lose_what_it_held_first(tmp_path):
    (tmp_path / "d.json").write_text('{"images": [{"filename": "a.jpg", "split": "val"}], "images": []}')
    config = DataConfig(source="karpathy", root=str(tmp_path), annotations="d.json")
    with pytest.raises(DataError, match="not valid JSON .the key 'images' stands twice in one object"):
        read(config, tmp_path)


def test_a_file_that_memory_does_not_hold_is_refused(tmp_path):
    config = config_for(tmp_path, {"images": []})
    with (tmp_path / config.annotations).open("r+b") as stream:
        stream.truncate(2**31 + 1)  # a hole, which takes no room on the disk
    with pytest.raises(DataError, match="has 2147483649 bytes, more than the 2147483648 of JSON that fit into memory"):
        read(config, tmp_path)
