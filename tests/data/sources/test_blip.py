import json
from dataclasses import replace

import pytest

from pairstill.config import ColumnsConfig, DataConfig, SplitsConfig
from pairstill.core.errors import DataError
from pairstill.data.sources.blip import read


@pytest.fixture
def config(tmp_path):
    return DataConfig(source="blip", root=str(tmp_path), annotations="a.json", split="random 8:1:1")


def read_list(config, tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    return read(config, tmp_path)


def test_a_file_for_each_split_with_one_caption_or_a_list(tmp_path):
    for name, caption in (("train", "One"), ("val", ["Two", "Three"]), ("test", '["Four", "Five"]')):
        entries = [{"image": f"{name}/a.jpg", "caption": caption, "image_id": "flickr_0"}]
        (tmp_path / f"flickr30k_{name}.json").write_text(json.dumps(entries))
    splits = SplitsConfig(*(f"flickr30k_{name}.json" for name in ("train", "val", "test")))
    raw = read(DataConfig(source="blip", root=str(tmp_path), splits=splits), tmp_path)
    assert [(pair.image, pair.captions, pair.split, pair.where) for pair in raw.pairs] == [
        ("train/a.jpg", ("One",), "train", "flickr30k_train.json: entry 0"),
        ("val/a.jpg", ("Two", "Three"), "val", "flickr30k_val.json: entry 0"),
        ("test/a.jpg", ("Four", "Five"), "test", "flickr30k_test.json: entry 0"),
    ]


def test_entries_may_name_their_split(config, tmp_path):
    entries = [{"image": "a.jpg", "caption": "x", "split": "test"}, {"image": "b.jpg", "caption": "y"}]
    raw = read_list(replace(config, split=None), tmp_path, entries)
    assert [pair.split for pair in raw.pairs] == ["test"]
    assert raw.unreadable == ("entry 1: the split is None; it must be a string",)
    assert [pair.split for pair in read_list(config, tmp_path, entries).pairs] == ["test", "train"]
    anew = replace(config, columns=ColumnsConfig(split=None))
    assert [pair.split for pair in read_list(anew, tmp_path, entries).pairs] == ["train", "train"]
    with pytest.raises(DataError, match=r"no entry of a\.json has 'split', the split; name a file for each"):
        read_list(replace(config, split=None), tmp_path, entries[1:])


def test_keys_of_other_names(config, tmp_path):
    columns = ColumnsConfig(image="file", caption="text_*")
    entries = [{"file": "a.jpg", "text_0": "x", "text_1": "", "text_2": "z"}]
    assert read_list(replace(config, columns=columns), tmp_path, entries).pairs[0].captions == ("x", "z")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (None, "entry 0: None is not an object"),
        ({"caption": "x"}, "entry 0: the image is None; it must be a path"),
        ({"image": 3, "caption": "x"}, "entry 0: the image is 3; it must be a path"),
        ({"image": "a.jpg"}, "entry 0: the caption is None; it must be a string or a list of strings"),
        ({"image": "a.jpg", "caption": {}}, "entry 0: the caption is {}; it must be"),
        ({"image": "a.jpg", "caption": ["x", 3]}, "entry 0: the caption is ['x', 3]; it must be"),
        ({"image": "a.jpg", "caption": []}, "entry 0: image 'a.jpg' has no caption"),
        ({"image": "a.jpg", "caption": "['x' 'y']"}, "entry 0: the caption \"['x' 'y']\" begins as a list that was"),
    ],
)
def test_what_is_wrong_is_named(config, tmp_path, entry, problem):
    raw = read_list(config, tmp_path, [entry])
    assert not raw.pairs and raw.unreadable[0].startswith(problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "is not a list at its top"),
        ([{"image": "a.jpg", "conversations": []}], "LLaVA's conversations: --data.source llava_cc3m"),
        ({"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}, "COCO captions: --data.source coco"),
    ],
)
def test_other_files_are_refused(config, tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_list(config, tmp_path, content)
