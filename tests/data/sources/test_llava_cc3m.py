import json
from collections import Counter

import pytest

from pairstill.config import DataConfig
from pairstill.core.errors import DataError
from pairstill.data.sources.llava_cc3m import read, split_at_random
from pairstill.data.sources.raw import RawPair


def config_for(tmp_path, content):
    (tmp_path / "chat.json").write_text(json.dumps(content))
    return DataConfig(source="llava_cc3m", root=str(tmp_path), annotations="chat.json")


def test_chat(tmp_path):
    content = [
        {
            "id": "GCC_train_002582585",
            "image": "GCC_train_002582585.jpg",
            "conversations": [
                {"from": "human", "value": "Provide a brief description of the given image.\n<image>"},
                {"from": "gpt", "value": "olive oil is a healthy ingredient used liberally ."},
            ],
        }
    ]
    assert read(config_for(tmp_path, content), tmp_path).pairs == (
        RawPair("GCC_train_002582585.jpg", ("olive oil is a healthy ingredient used liberally .",), "train", "entry 0"),
    )


def test_metadata_takes_the_caption_of_the_web_not_the_generated_one(tmp_path):
    content = [{"id": "1", "image": "1.jpg", "caption": "a web page", "blip_caption": "a guess", "url": "http://x"}]
    assert read(config_for(tmp_path, content), tmp_path).pairs[0].captions == ("a web page",)


def test_split_is_three_to_one_to_one():
    splits = split_at_random([f"{number}.jpg" for number in range(100)], seed=0)
    assert Counter(splits.values()) == {"train": 60, "val": 20, "test": 20}
    uneven = split_at_random([f"{number}.jpg" for number in range(9)], seed=0)
    assert Counter(uneven.values()) == {"train": 7, "val": 1, "test": 1}


def test_split_depends_on_the_seed_but_not_on_order_or_repetition():
    images = [f"{number}.jpg" for number in range(50)]
    assert split_at_random([*reversed(images), "0.jpg"], seed=0) == split_at_random(images, seed=0)
    assert split_at_random(images, seed=1) != split_at_random(images, seed=0)


def test_a_name_that_no_text_holds_is_told_like_any_other(tmp_path):
    content = [{"image": name, "caption": "x"} for name in ("a.jpg", "\ud800.jpg")]
    (problem,) = read(config_for(tmp_path, content), tmp_path).unreadable
    assert problem.startswith("entry 1: ") and "half a surrogate pair" in problem


def test_reader_applies_the_split(tmp_path):
    content = [{"image": f"{number}.jpg", "caption": "x"} for number in range(10)]
    raw = read(config_for(tmp_path, content), tmp_path)
    assert {pair.image: pair.split for pair in raw.pairs} == split_at_random([e["image"] for e in content], seed=0)


def test_malformed_entries_are_kept_apart(tmp_path):
    content = [3, {"image": "a.jpg"}, {"caption": "x"}, {"image": "a.jpg", "conversations": [{"from": "human"}]}]
    content.append({"image": "a.jpg", "conversations": 7})
    assert read(config_for(tmp_path, content), tmp_path).unreadable == (
        "entry 0: 3 is not an object",
        "entry 1: the caption is None; it must be a string or a list of strings",
        "entry 2: the image is None; it must be a path",
        "entry 3: the caption is None; it must be a string or a list of strings",
        "entry 4: the caption is 7; it must be a string or a list of strings",
    )


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="is not a list at its top"):
        read(config_for(tmp_path, {"images": []}), tmp_path)
