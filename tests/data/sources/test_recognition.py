import json
import os

import pytest

from pairstill.config import DataConfig, SplitsConfig
from pairstill.core.errors import DataError
from pairstill.data.sources import read_source
from pairstill.data.sources.recognition import hint, looks_like

COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]}
KARPATHY = {"images": [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": "x"}]}]}
BLIP = [{"image": "a.jpg", "caption": "x"}]
LLAVA = [{"image": "a.jpg", "conversations": [{"from": "gpt", "value": "x"}]}]
WRITTEN = {"coco": COCO, "karpathy": KARPATHY, "blip": BLIP, "llava_cc3m": LLAVA}


@pytest.mark.parametrize("source", ["coco", "karpathy", "blip", "llava_cc3m", "table"])
@pytest.mark.parametrize("right", WRITTEN)
def test_a_wrong_source_names_the_right_one(tmp_path, source, right):
    if source == right or (source, right) == ("llava_cc3m", "blip"):
        pytest.skip("it reads these")
    (tmp_path / "a.json").write_text(json.dumps(WRITTEN[right]))
    config = DataConfig(source=source, root=str(tmp_path), annotations="a.json", split="random 8:1:1")
    with pytest.raises(DataError, match=f"; this looks like .*: --data.source {right}"):
        read_source(config, tmp_path)


@pytest.mark.parametrize("source", ["coco", "karpathy", "blip", "llava_cc3m"])
@pytest.mark.parametrize(
    ("name", "content", "right"),
    [("a.csv", "image,caption\n", "table"), ("a.json", '{"image": "a"}\n{"image": "b"}\n', "table"),
     ("a.tar", "x", "webdataset")],
)  # fmt: skip
def test_files_that_are_no_json_name_theirs(tmp_path, source, name, content, right):
    (tmp_path / name).write_text(content)
    config = DataConfig(source=source, root=str(tmp_path), annotations=name, split="random 8:1:1")
    with pytest.raises(DataError, match=f"--data.source {right}"):
        read_source(config, tmp_path)


def test_folders_name_theirs(tmp_path):
    files = {"webdataset": "a/train-0.tar", "folder": "b/x/1.jpg b/x/1.txt", "huggingface": "c/data/train.parquet"}
    for right, names in files.items():
        for name in names.split():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        folder = names[0]
        config = DataConfig(source="table", root=str(tmp_path), annotations=folder)
        with pytest.raises(DataError, match=f"is not a file; this looks like .*: --data.source {right}"):
            read_source(config, tmp_path)
    shards = DataConfig(source="webdataset", root=str(tmp_path / "b"), splits=SplitsConfig("a", "b", "c"))
    with pytest.raises(DataError, match=r"no shard in .*with a text file beside each: --data\.source folder"):
        read_source(shards, tmp_path)


@pytest.mark.parametrize(
    "content", [None, 3, "x", [], {}, [None], [[]], {"images": None}, {"images": [3], "annotations": {}}]
)
def test_what_is_nothing_known_has_no_name(content):
    assert looks_like(content) is None


def test_what_cannot_be_looked_at_has_no_hint(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    (tmp_path / "c.json").write_text("[" * 100_000)
    (tmp_path / "d.json").symlink_to("d.json")
    for name in ("a.json", "b.json", "c.json", "d.json", "no.json", "no"):
        assert hint(tmp_path / name, "table") == ""


@pytest.mark.parametrize("source", ["table", "karpathy", "coco", "blip", "llava_cc3m", "folder", "webdataset"])
def test_a_root_that_is_no_folder_is_told_as_such(tmp_path, source):
    (tmp_path / "file").touch()
    where = (
        {"splits": SplitsConfig("a", "b", "c")} if source == "webdataset"
        else {} if source == "folder" else {"annotations": "a"}
    )  # fmt: skip
    for name, what in (("none", "does not exist"), ("file", "is a file")):
        config = DataConfig(source=source, root=str(tmp_path / name), split="random 8:1:1", **where)
        with pytest.raises(DataError, match=f"^data.root is .*/{name}, but .*/{name} {what}; set it to the folder"):
            read_source(config, tmp_path)
