import json

import pytest

from pairstill.config import DataConfig, SplitsConfig
from pairstill.core.errors import ConfigError, DataError
from pairstill.data.build import build_manifest
from pairstill.data.sources.coco import read

IMAGES = [{"id": 9, "file_name": "a.png"}, {"id": "7", "file_name": "b.png"}]
ANNOTATIONS = [
    {"image_id": 9, "id": 1, "caption": "One"},
    {"image_id": "7", "id": 2, "caption": "Two"},
    {"image_id": 9, "id": 3, "caption": "Three"},
]


@pytest.fixture
def config(tmp_path, make_image):
    """One file for all; the pictures lie where COCO's do."""
    make_image(tmp_path / "train2017" / "a.png", colour=(1, 0, 0))
    make_image(tmp_path / "val2017" / "b.png", colour=(2, 0, 0))
    write(tmp_path / "captions.json")
    return DataConfig(source="coco", root=str(tmp_path), annotations="captions.json", split="random 1:1:0")


def write(path, images=IMAGES, annotations=ANNOTATIONS):
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))


def test_captions_are_gathered_by_image_wherever_it_lies(config, tmp_path):
    raw = read(config, tmp_path)
    assert [(pair.image, pair.captions, pair.split, pair.where) for pair in raw.pairs] == [
        ("train2017/a.png", ("One", "Three"), "train", "images[0]"),
        ("val2017/b.png", ("Two",), "train", "images[1]"),
    ]
    manifest = build_manifest(config, tmp_path / "cache")
    assert sorted(record.split for record in manifest.records) == ["train", "val"]


def test_a_file_for_each_split(config, tmp_path):
    for name, image in (("train", 0), ("val", 1)):
        write(tmp_path / f"captions_{name}.json", IMAGES[image : image + 1], [ANNOTATIONS[image]])
    write(tmp_path / "captions_test.json", [{"id": 1, "file_name": "b.png"}], [{"image_id": 1, "caption": "x"}])
    splits = SplitsConfig(*(f"captions_{name}.json" for name in ("train", "val", "test")))
    raw = read(DataConfig(source="coco", root=str(tmp_path), splits=splits), tmp_path)
    assert [(pair.split, pair.where) for pair in raw.pairs] == [
        (split, f"captions_{split}.json: images[0]") for split in ("train", "val", "test")
    ]


def test_an_image_in_the_folder_itself_comes_first_and_one_below_twice_is_a_problem(config, tmp_path, make_image):
    make_image(tmp_path / "a.png")
    make_image(tmp_path / "more" / "b.png")
    raw = read(config, tmp_path)
    assert [pair.image for pair in raw.pairs] == ["a.png"]
    assert raw.unreadable == (
        "images[1]: image 'b.png' is there 2 times (more/b.png, val2017/b.png); set data.images to the folder that is "
        "meant",
    )


@pytest.mark.parametrize(
    ("images", "annotations", "problem"),
    [
        ([None], [], "images[2]: None is not an object with an 'id'"),
        ([{"id": True, "file_name": "x"}], [], "images[2]: {'id': True, 'file_name': 'x'} is not an object with"),
        ([{"id": [1], "file_name": "x"}], [], "images[2]: {'id': [1], 'file_name': 'x'} is not an object with"),
        ([{"id": 9, "file_name": "x"}], [], "images[2]: the id 9 stands twice"),
        ([{"id": 1, "file_name": "x.png"}], [], "images[2]: image 'x.png' has no caption"),
        ([{"id": 1}], [{"image_id": 1, "caption": "x"}], "images[2]: the image is None; it must be a path"),
        ([], [{"image_id": 5, "caption": "x"}], "annotations[3]: it is of image 5, which is not in 'images'"),
        ([], ["x"], "annotations[3]: it is of image 'x', which is not in 'images'"),
        ([{"id": 1, "file_name": "x"}], [{"image_id": 1, "caption": 3}], "images[2]: the caption is [3]; it must be a"),
        ([{"id": 1, "file_name": "x"}], [{"image_id": 1}], "images[2]: the caption is [None]; it must be a string"),
    ],
)
def test_what_is_wrong_is_named_and_takes_nothing_along(config, tmp_path, images, annotations, problem):
    write(tmp_path / "captions.json", [*IMAGES, *images], [*ANNOTATIONS, *annotations])
    raw = read(config, tmp_path)
    assert [pair.captions for pair in raw.pairs] == [("One", "Three"), ("Two",)]
    assert len(raw.unreadable) == 1 and raw.unreadable[0].startswith(problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": IMAGES}, "has no lists 'images' and 'annotations' at its top"),
        (7, "has no lists 'images' and 'annotations'"),
        ({"images": IMAGES, "annotations": [{"image_id": 9, "bbox": []}]}, "those called captions_.*json have them"),
        ([{"image": "a.png", "caption": "x"}], "looks like a list of images and captions: --data.source blip"),
        ({"images": [{"filename": "a", "sentences": []}]}, "a Karpathy split file: --data.source karpathy"),
    ],
)
def test_other_files_are_refused_and_the_right_source_named(config, tmp_path, content, message):
    (tmp_path / "captions.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read(config, tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a\0.png", "link/secret.png", ""])
def test_paths_lead_nowhere_else(config, tmp_path, make_image, name):
    make_image(tmp_path.parent / "secret.png")
    (tmp_path / "link").symlink_to(tmp_path.parent)
    write(
        tmp_path / "captions.json",
        [*IMAGES, {"id": 1, "file_name": name}],
        [*ANNOTATIONS, {"image_id": 1, "caption": "x"}],
    )
    with pytest.raises(DataError, match="1 problem"):
        build_manifest(config, tmp_path / "cache")


def test_settings_say_where_each_split_comes_from():
    with pytest.raises(ConfigError, match="one file of data.annotations says nothing of splits; set data.split"):
        DataConfig(source="coco", root="x", annotations="a.json")
    with pytest.raises(ConfigError, match="set either data.splits.train, .* or data.annotations"):
        DataConfig(source="coco", root="x")
    with pytest.raises(ConfigError, match="set either"):
        DataConfig(source="blip", root="x", annotations="a.json", splits=SplitsConfig("a", "b", "c"))
    with pytest.raises(ConfigError, match="set data.splits.train, data.splits.val and data.splits.test; or"):
        DataConfig(source="coco", root="x", splits=SplitsConfig("a", "b"))
