import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairstill.core.errors import ConfigError, DataError
from pairstill.core.schema import ImageRecord
from pairstill.data.manifest import Manifest
from pairstill.data.tasks.labelled import class_of, draw_classes, read_captions, read_folder, read_hub
from pairstill.data.tasks.settings import ZeroShot


def picture(shade):
    return Image.fromarray(np.full((4, 5, 3), shade, dtype=np.uint8))


@pytest.fixture
def folders(tmp_path):
    """Three class folders with one, two and three images."""
    for number, name in enumerate(("big_cat", "dog", "zebra"), start=1):
        (tmp_path / "set" / name).mkdir(parents=True)
        for image in range(number):
            picture(10 * number + image).save(tmp_path / "set" / name / f"{image}.png")
    return tmp_path / "set"


def test_class_folders(folders, checking):
    (folders / ".cache").mkdir()
    (folders / "dog" / ".hidden").write_text("no image")
    found = read_folder(ZeroShot(root=str(folders)), checking)
    assert found.class_names == ("big cat", "dog", "zebra") and found.labels == (0, 1, 1, 2, 2, 2)
    assert [path.name for path in found.paths] == ["0.png", "0.png", "1.png", "0.png", "1.png", "2.png"]
    assert len(set(found.digests)) == 6 and len(found.fingerprint) == 64


def test_names_of_folders_from_a_list_as_imagenet_has_it(folders, tmp_path, checking):
    (tmp_path / "names.txt").write_text("dog domestic dog, Canis familiaris\nbig_cat lion\nzebra zebra\nunused x\n")
    task = ZeroShot(root=str(folders), class_names=str(tmp_path / "names.txt"))
    assert read_folder(task, checking).class_names == ("lion", "domestic dog", "zebra")
    (tmp_path / "names.txt").write_text("dog lion\nbig_cat lion\nzebra zebra\n")
    with pytest.raises(DataError, match="the same class name; make them differ:\n  - lion"):
        read_folder(task, checking)
    (tmp_path / "names.txt").write_text("dog lion\nzebra\n")
    with pytest.raises(DataError, match="names no class for these folders:\n  - big_cat\n  - zebra"):
        read_folder(task, checking)


def test_a_seed_draws_the_classes(folders, checking):
    chosen = [
        read_folder(ZeroShot(root=str(folders), num_classes=2, class_seed=seed), checking).class_names
        for seed in (0, 0, 1, 2, 3, 4, 5)
    ]
    assert chosen[0] == chosen[1] and len(set(chosen)) > 1 and all(len(names) == 2 for names in chosen)
    with pytest.raises(DataError, match="3 classes were found but 4 are needed"):
        read_folder(ZeroShot(root=str(folders), num_classes=4), checking)
    assert draw_classes(["a", "b", "c"], ZeroShot(root="x")) == [0, 1, 2]


def test_bad_images_and_empty_classes_are_listed(folders, checking):
    (folders / "dog" / "notes.txt").write_text("no image")
    with pytest.raises(
        DataError, match=r"1 images of .* cannot be used; remove them:\n  - dog/notes.txt cannot be dec"
    ):
        read_folder(ZeroShot(root=str(folders)), checking)
    (folders / "dog" / "notes.txt").unlink()
    (folders / "empty").mkdir()
    with pytest.raises(DataError, match="these classes have no image; leave them out:\n  - empty"):
        read_folder(ZeroShot(root=str(folders)), checking)
    with pytest.raises(DataError, match="which is no folder"):
        read_folder(ZeroShot(root=str(folders / "nowhere")), checking)


def test_images_of_class_folders_come_from_within_them(folders, tmp_path, checking):
    picture(99).save(tmp_path / "secret.png")
    (folders / "dog" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="dog/link.png leads out of"):
        read_folder(ZeroShot(root=str(folders)), checking)
    (folders / "dog" / "link.png").unlink()
    os.mkfifo(folders / "dog" / "pipe.png")
    with pytest.raises(DataError, match="dog/pipe.png is not a file"):
        read_folder(ZeroShot(root=str(folders)), checking)


def test_names_of_classes_with_a_byte_order_mark_or_in_another_encoding(folders, tmp_path, checking):
    task = ZeroShot(root=str(folders), class_names=str(tmp_path / "names.txt"))
    (tmp_path / "names.txt").write_text("\ufeffbig_cat lion\ndog dog\nzebra zebra\n")
    assert read_folder(task, checking).class_names[0] == "lion"
    (tmp_path / "names.txt").write_bytes(b"big_cat l\xf6we\n")
    with pytest.raises(DataError, match="as text in UTF-8"):
        read_folder(task, checking)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("labelled", [True, False])
def test_a_hub_dataset(tmp_path, labelled, checking):
    datasets = pytest.importorskip("datasets")
    kind = datasets.ClassLabel(names=["a_cat", "dog"]) if labelled else datasets.Value("string")
    rows = {"photo": [picture(1), picture(2), picture(3)], "what": [1, 0, 1] if labelled else ["dog", "a cat", "dog"]}
    features = datasets.Features({"photo": datasets.Image(), "what": kind})
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"validation": table}).save_to_disk(str(tmp_path / "hub"))
    names = {"image_column": "photo", "class_column": "what", "split": "validation"}
    task = ZeroShot(source="huggingface", root=str(tmp_path / "hub"), **names)
    found = read_hub(task, checking)
    assert found.class_names == ("a cat", "dog") and found.labels == (1, 0, 1)
    assert [np.asarray(Image.open(path)).max() for path in found.paths] == [1, 2, 3]
    with pytest.raises(DataError, match="has no column 'label'.*Set zeroshot.class_column"):
        read_hub(ZeroShot(**{**vars(task), "class_column": "label"}), checking)
    with pytest.raises(DataError, match="Check zeroshot.root and zeroshot.split"):
        read_hub(ZeroShot(**{**vars(task), "split": "test"}), checking)


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["A dog.", "two DOGS", "grass"], 0),
        (["a dog", "grass", "grass"], None),  # a third is not more than half
        (["a dog", "grass"], None),  # nor is a half
        (["a dog", "a dog", "a horse"], None),  # names two
        (["a dogged runner", "a seahorse"], None),  # whole words only
        (["a horse", "the horse"], 1),
    ],
)
def test_the_class_that_captions_name(captions, expected):
    assert class_of(captions, [["dog", "dogs"], ["horse"]]) == expected


def test_classes_from_the_captions_of_the_test_split(tmp_path):
    texts = [("test", "a dog"), ("train", "a dog"), ("test", "a horse"), ("test", "a tree"), ("test", "one pup")]
    records = tuple(ImageRecord(f"{n}.jpg", (text,), split) for n, (split, text) in enumerate(texts))
    manifest = Manifest.of_records(tmp_path / "pairs.arrow", "table", Path("/photos"), records, "abcde")
    found = read_captions(ZeroShot(source="captions", classes=("dog|pup", "horse")), manifest)
    assert [path.name for path in found.paths] == ["0.jpg", "2.jpg", "4.jpg"]
    assert (found.labels, found.class_names, found.digests) == ((0, 1, 0), ("dog", "horse"), ("a", "c", "e"))
    assert "of 4 test images" in found.rule and "dog|pup" in found.rule
    for classes in (("dog", "horse|dog"), ("Dog", "horse"), ("big dog", "horse")):
        with pytest.raises(DataError, match="a word stands for one class"):
            read_captions(ZeroShot(source="captions", classes=classes), manifest)
    with pytest.raises(DataError, match="these classes have no image; leave them out:\n  - cow"):
        read_captions(ZeroShot(source="captions", classes=("dog", "cow")), manifest)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "captions"}, "set zeroshot.classes, and leave zeroshot.root out"),
        ({"source": "captions", "classes": ("a", "b"), "root": "x"}, "leave zeroshot.root out"),
        ({}, "zeroshot.source is folder: set zeroshot.root"),
        ({"root": "x", "classes": ("a",)}, "leave zeroshot.classes"),
        ({"root": "x", "source": "huggingface", "class_names": "x"}, "class_names is for folder alone"),
        ({"root": "x", "templates": ("a photo",)}, "must hold {} once"),
        ({"root": "x", "templates": ()}, "one is needed"),
        ({"root": "x", "num_classes": 1}, "must be at least 2"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ConfigError, match=message):
        ZeroShot(**settings)
