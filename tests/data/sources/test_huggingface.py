import io
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from PIL import Image

from pairstill.config import ColumnsConfig, DataConfig, SplitsConfig
from pairstill.core.errors import DataError, MissingDependencyError
from pairstill.data.build import build_manifest
from pairstill.data.inside import MAX_FILE_BYTES
from pairstill.data.sources.huggingface import read

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")

SPLITS = SplitsConfig(train="train", val="validation", test="test")


def jpeg(grey):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(stream, "JPEG")
    return stream.getvalue()


def save(folder, rows_by_split):
    """Write rows of (image bytes or None, captions) as `datasets` saves them."""
    features = datasets.Features({"picture": datasets.Image(), "texts": datasets.List(datasets.Value("string"))})
    tables = {
        split: datasets.Dataset.from_list(
            [{"picture": {"bytes": content, "path": None} if content else None, "texts": t} for content, t in rows],
            features=features,
        )
        for split, rows in rows_by_split.items()
    }
    datasets.DatasetDict(tables).save_to_disk(str(folder))


@pytest.fixture
def config(tmp_path):
    save(
        tmp_path / "saved",
        {
            "train": [(jpeg(10), ["One", "Two"]), (jpeg(20), ["Three"])],
            "validation": [(jpeg(30), ["Four"])],
            "test": [(jpeg(40), ["Five"])],
        },
    )
    columns = ColumnsConfig(image="picture", caption="texts")
    return DataConfig(source="huggingface", root=str(tmp_path / "saved"), columns=columns, splits=SPLITS)


def test_saved_folder(config, tmp_path):
    raw = read(config, tmp_path / "cache")
    assert [(pair.captions, pair.split, pair.where) for pair in raw.pairs] == [
        (("One", "Two"), "train", "train row 0"),
        (("Three",), "train", "train row 1"),
        (("Four",), "val", "val row 0"),
        (("Five",), "test", "test row 0"),
    ]
    assert raw.image_root.parent == tmp_path / "cache" / "images"
    with Image.open(raw.image_root / raw.pairs[1].image) as image:
        assert image.format == "PNG"
        assert image.getpixel((0, 0)) == (20, 20, 20)


def test_images_are_extracted_once(config, tmp_path):
    first = read(config, tmp_path / "cache")
    written = {path: path.stat().st_mtime_ns for path in first.image_root.iterdir()}
    assert read(config, tmp_path / "cache") == first
    assert {path: path.stat().st_mtime_ns for path in first.image_root.iterdir()} == written
    assert [path.name for path in first.image_root.parent.glob("hugg*")] == [first.image_root.name]


def test_other_content_goes_to_another_folder(config, tmp_path):
    first = read(config, tmp_path / "cache")
    save(tmp_path / "saved2", {split: [(jpeg(50), ["x"])] for split in ("train", "validation", "test")})
    other = DataConfig(
        source="huggingface", root=str(tmp_path / "saved2"), columns=config.columns, splits=config.splits
    )
    assert read(other, tmp_path / "cache").image_root != first.image_root


def test_rows_that_repeat_an_image_become_one_record(tmp_path):
    rows = [(jpeg(10), ["One"]), (jpeg(10), ["Two"])]
    save(tmp_path / "saved", {"train": rows, "validation": [(jpeg(30), ["x"])], "test": [(jpeg(40), ["y"])]})
    columns = ColumnsConfig(image="picture", caption="texts")
    config = DataConfig(source="huggingface", root=str(tmp_path / "saved"), columns=columns, splits=SPLITS)
    manifest = build_manifest(config, tmp_path / "cache", need={"train": 1, "val": 1, "test": 1})
    assert [record.captions for record in manifest.split("train")] == [("one", "two")]


def test_bad_rows_are_kept_apart(tmp_path):
    rows = [(b"no image", ["One"]), (None, ["Two"]), (jpeg(1), []), (jpeg(2), ["x"])]
    save(tmp_path / "saved", {"train": rows, "validation": [(jpeg(3), ["x"])], "test": [(jpeg(4), ["x"])]})
    columns = ColumnsConfig(image="picture", caption="texts")
    config = DataConfig(source="huggingface", root=str(tmp_path / "saved"), columns=columns, splits=SPLITS)
    raw = read(config, tmp_path / "cache")
    assert [pair.where for pair in raw.pairs] == ["train row 3", "val row 0", "test row 0"]
    assert raw.unreadable[0].startswith("train row 0: the image cannot be decoded")
    assert raw.unreadable[1] == "train row 1: the image is absent"
    assert raw.unreadable[2].endswith("has no caption")


def test_folder_that_load_dataset_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    root = tmp_path / "parquet"
    (root / "data").mkdir(parents=True)
    for number, split in enumerate(("train", "validation", "test")):
        table = datasets.Dataset.from_list(
            [{"image": {"bytes": jpeg(number), "path": None}, "caption": f"picture {number}"}],
            features=datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")}),
        )
        table.to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"))
    config = DataConfig(source="huggingface", root=str(root), splits=SPLITS)
    raw = read(config, tmp_path / "cache")
    assert [(pair.captions, pair.split) for pair in raw.pairs] == [
        (("picture 0",), "train"),
        (("picture 1",), "val"),
        (("picture 2",), "test"),
    ]
    assert read(config, tmp_path / "cache") == raw


def with_settings(config, **settings):
    return DataConfig(
        source="huggingface", **{"root": config.root, "columns": config.columns, "splits": config.splits, **settings}
    )


def test_missing_split_column_and_dataset(config, tmp_path):
    splits = SplitsConfig(train="train", val="dev", test="test")
    with pytest.raises(DataError, match=r"split 'dev' .* cannot be loaded .*it has 'train', 'validation', 'test'"):
        read(with_settings(config, splits=splits), tmp_path)
    with pytest.raises(DataError, match=r"no column 'caption'; it has 'picture', 'texts'\. Set data\.columns\.caption"):
        read(with_settings(config, columns=ColumnsConfig(image="picture")), tmp_path)
    with pytest.raises(DataError, match=r"column 'texts' .* not images\. Set data\.columns\.image"):
        read(with_settings(config, columns=ColumnsConfig(image="texts", caption="texts")), tmp_path)
    with pytest.raises(DataError, match=r"data.columns.image and data.columns.caption are the same column"):
        read(with_settings(config, columns=ColumnsConfig(image="picture", caption="picture")), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Check data.root and data.splits.train"):
        read(with_settings(config, root=str(tmp_path / "empty")), tmp_path)


def save_paths(folder, paths):
    """Write a train split whose cells name files, as nobody's `save_to_disk` does, and two plain ones."""
    save(folder, {split: [(jpeg(30 + number), ["x"])] for number, split in enumerate(("train", "validation", "test"))})
    kind = datasets.Features({"picture": datasets.Image(), "texts": datasets.List(datasets.Value("string"))})
    rows = {"picture": [{"bytes": None, "path": path} for path in paths], "texts": [["x"]] * len(paths)}
    table = pyarrow.table(rows, schema=kind.arrow_schema)
    (arrow,) = (folder / "train").glob("*.arrow")
    with pyarrow.OSFile(str(arrow), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def test_cells_may_name_files_in_the_folder_of_the_dataset_alone(config, tmp_path):
    folder, secret = tmp_path / "named", tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(99))
    inside = ["in.jpg", str(folder / "in.jpg")]
    outside = [str(secret), "../secret.jpg", "link.jpg", "link/secret.jpg", "/dev/zero", "pipe.jpg", "a\0b", "", "."]
    save_paths(folder, [*inside, *outside])
    (folder / "in.jpg").write_bytes(jpeg(50))
    (folder / "link.jpg").symlink_to(secret)
    (folder / "link").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.jpg")
    raw = read(with_settings(config, root=str(folder)), tmp_path / "cache")
    assert [pair.where for pair in raw.pairs] == ["train row 0", "train row 1", "val row 0", "test row 0"]
    assert len(raw.unreadable) == len(outside)
    assert sum("leads out of" in problem for problem in raw.unreadable) == 5
    assert raw.unreadable[0].startswith(f"train row 2: the image '{secret}' leads out of {folder}")
    contents = {Image.open(path).convert("RGB").getpixel((0, 0))[0] for path in raw.image_root.glob("*.png")}
    assert contents == {50, 31, 32}


def test_a_large_file_is_not_read(config, tmp_path):
    save_paths(tmp_path / "named", ["in.jpg"])
    with (tmp_path / "named" / "in.jpg").open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    raw = read(with_settings(config, root=str(tmp_path / "named")), tmp_path / "cache")
    assert raw.unreadable[0].endswith(f"bytes; at most {MAX_FILE_BYTES} are allowed")


@pytest.mark.parametrize("named", ["../../other/train/data-00000-of-00001.arrow", "/dev/zero", "pipe", "a\0b", 7, None])
def test_a_saved_split_may_name_files_of_its_own_alone(config, tmp_path, named):
    folder = tmp_path / "saved" / "train"
    save(tmp_path / "other", {"train": [(jpeg(99), ["secret"])]})
    os.mkfifo(folder / "pipe")
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": named}]
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="split 'train' of dataset .* cannot be loaded"):
        read(config, tmp_path / "cache")


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"_data_files": 3}', '{"_data_files": [{}]}', "\xff"]
)
def test_a_damaged_saved_split_is_an_error_that_says_so(config, tmp_path, name, content):
    path = tmp_path / "saved" / "train" / name
    path.write_bytes(content.encode("latin-1"))
    try:
        read(config, tmp_path / "cache")
    except DataError as error:
        assert "split 'train'" in str(error) and "data.splits.train" in str(error)
    else:
        assert name == "dataset_info.json" and content.endswith("}"), "all in it is optional"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"splits": 3}', '{"splits": {}}', "\xff"])
def test_a_damaged_list_of_splits(config, tmp_path, content):
    (tmp_path / "saved" / "dataset_dict.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match="cannot be loaded"):
        read(config, tmp_path / "cache")


@pytest.mark.parametrize("missing", ["state.json", "dataset_info.json", "*.arrow"])
def test_a_saved_split_that_lacks_a_file(config, tmp_path, missing):
    (path,) = (tmp_path / "saved" / "train").glob(missing)
    path.unlink()
    with pytest.raises(DataError, match="split 'train' of dataset .* cannot be loaded"):
        read(config, tmp_path / "cache")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.95])
def test_cut_and_flipped_data_is_never_a_traceback(config, tmp_path, part):
    (path,) = (tmp_path / "saved" / "train").glob("*.arrow")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError):
        read(config, tmp_path / "cache")
    for place in range(int(part * len(whole)), len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with suppress(DataError):
            read(config, tmp_path / f"cache{place}")


def test_one_damaged_split_leaves_the_others(config, tmp_path):
    (tmp_path / "saved" / "test" / "state.json").write_text("{")
    splits = SplitsConfig(train="train", val="validation", test="validation")
    assert read(with_settings(config, splits=splits), tmp_path / "cache").pairs


def test_a_saved_format_plays_no_part(config, tmp_path):
    first = read(config, tmp_path / "cache")
    path = tmp_path / "saved" / "train" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_format_type": "numpy"}))
    again = read(config, tmp_path / "cache")
    assert again.pairs == first.pairs


def test_another_content_under_the_same_fingerprint_is_read(config, tmp_path):
    first = read(config, tmp_path / "cache")
    save(tmp_path / "other", {"train": [(jpeg(77), ["Other"])]})
    for name in ("state.json", "dataset_info.json"):
        os.replace(tmp_path / "saved" / "train" / name, tmp_path / "other" / name)
    state = json.loads((tmp_path / "other" / "state.json").read_text())
    for path in (tmp_path / "other" / "train").glob("*.arrow"):
        os.replace(path, tmp_path / "saved" / "train" / path.name)
        state["_data_files"] = [{"filename": path.name}]
    for name in ("state.json", "dataset_info.json"):
        os.replace(tmp_path / "other" / name, tmp_path / "saved" / "train" / name)
    (tmp_path / "saved" / "train" / "state.json").write_text(json.dumps(state))
    again = read(config, tmp_path / "cache")
    assert again.pairs[0].captions == ("Other",) and first.pairs[0].captions == ("One", "Two")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of images with a table, beside a secret one."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", str(tmp_path / "hf" / "downloads"))
    for number, place in enumerate(("set/train", "set/validation", "set/test", "secret")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.jpg").write_bytes(jpeg(10 * number + 10))
        line = json.dumps({"file_name": "a.jpg", "caption": place})
        (tmp_path / place / "metadata.jsonl").write_text(line + "\n")
    return tmp_path / "set"


def test_a_folder_of_images(folder, tmp_path):
    raw = read(DataConfig(source="huggingface", root=str(folder), splits=SPLITS), tmp_path / "cache")
    assert [pair.captions for pair in raw.pairs] == [("set/train",), ("set/validation",), ("set/test",)]
    assert raw.unreadable == ()


def test_a_folder_that_names_images_elsewhere(folder, tmp_path):
    (folder / "train" / "a.jpg").unlink()
    (folder / "train" / "a.jpg").symlink_to(tmp_path / "secret" / "a.jpg")
    with pytest.raises(DataError, match=r"it names .*a\.jpg', which leads out of"):
        read(DataConfig(source="huggingface", root=str(folder), splits=SPLITS), tmp_path / "cache")


@pytest.mark.parametrize("pattern", ["../secret/*", "SECRET/*", "hf://datasets/a/b/c.csv", "zip://a.jpg::../a.zip"])
def test_a_card_that_names_data_elsewhere(folder, tmp_path, pattern):
    pattern = pattern.replace("SECRET", str(tmp_path / "secret"))
    names = [("train", pattern), ("validation", "validation/*"), ("test", "test/*")]
    files = "".join(f"  - split: {split}\n    path: {path!r}\n" for split, path in names)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    with pytest.raises(DataError, match="cannot be loaded"):
        read(DataConfig(source="huggingface", root=str(folder), splits=SPLITS), tmp_path / "cache")


@pytest.mark.parametrize("about", ["README.md", "dataset_infos.json", ".huggingface.yaml"])
def test_a_card_that_is_a_device_or_a_pipe(folder, tmp_path, about):
    (folder / about).symlink_to("/dev/zero")
    with pytest.raises(DataError, match=f"it names '{about}', which leads out of"):
        read(DataConfig(source="huggingface", root=str(folder), splits=SPLITS), tmp_path / "cache")
    (folder / about).unlink()
    os.mkfifo(folder / about)
    with pytest.raises(DataError, match=f"it names '{about}', which is not a file"):
        read(DataConfig(source="huggingface", root=str(folder), splits=SPLITS), tmp_path / "cache")


def test_needs_datasets(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pairstill\[huggingface\]"'):
        read(config, tmp_path)


def test_a_column_names_the_split_where_the_dataset_has_one(config, tmp_path):
    rows = [
        {"picture": {"bytes": jpeg(9 * n), "path": None}, "texts": "x", "part": ("train", "val")[n]} for n in (0, 1)
    ]
    features = datasets.Features(
        {"picture": datasets.Image(), "texts": datasets.Value("string"), "part": datasets.Value("string")}
    )
    datasets.DatasetDict(all=datasets.Dataset.from_list(rows, features=features)).save_to_disk(str(tmp_path / "one"))
    columns = replace(config.columns, split="part")
    one = replace(config, root=str(tmp_path / "one"), splits=SplitsConfig(train="all"), columns=columns)
    assert [pair.split for pair in read(one, tmp_path / "cache").pairs] == ["train", "val"]
    drawn = replace(one, split="random 1:1:0")
    assert [pair.split for pair in read(drawn, tmp_path / "cache").pairs] == ["train", "val"]
    for other in (config.columns, replace(columns, split=None)):  # none of this name, none asked for
        assert {pair.split for pair in read(replace(drawn, columns=other), tmp_path / "cache").pairs} == {"train"}
    with pytest.raises(DataError, match=r"has no column 'split'; it has .*'part'. Set data\.columns\.split"):
        read(replace(one, columns=config.columns), tmp_path / "cache")
    with pytest.raises(DataError, match=r"data\.columns\.split is null: name data\.splits\.val"):
        read(replace(one, columns=replace(columns, split=None)), tmp_path / "cache")


def test_photos_are_written_upright_and_on_the_background(config, tmp_path):
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGBA", (8, 4), (0, 0, 0, 0)).save(stream, "PNG", exif=exif)
    save(tmp_path / "odd", {"train": [(stream.getvalue(), ["x"])]})
    odd = replace(config, root=str(tmp_path / "odd"), splits=SplitsConfig(train="train"), split="random 1:1:1")
    for background, colour in (("white", (255, 255, 255)), ("black", (0, 0, 0))):
        raw = read(replace(odd, background=background), tmp_path / "cache")
        with Image.open(raw.image_root / raw.pairs[0].image) as image:
            assert (image.size, image.getpixel((0, 0)), image.getexif().get(0x0112)) == ((4, 8), colour, None)
