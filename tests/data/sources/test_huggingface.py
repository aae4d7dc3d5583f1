import io
import sys

import pytest
from PIL import Image

from pairstill.config import ColumnsConfig, DataConfig, SplitsConfig
from pairstill.data.manifest import build_manifest
from pairstill.data.sources.huggingface import read
from pairstill.errors import DataError, MissingDependencyError

datasets = pytest.importorskip("datasets")

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
    assert [path.name for path in first.image_root.parent.iterdir()] == [first.image_root.name]


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
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Check data.root and data.splits.train"):
        read(with_settings(config, root=str(tmp_path / "empty")), tmp_path)


def test_needs_datasets(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pairstill\[huggingface\]"'):
        read(config, tmp_path)
