import io
import sys
import tarfile

import pytest

from pairstill.config import ColumnsConfig, DataConfig, SplitsConfig
from pairstill.data.sources.webdataset import read
from pairstill.errors import DataError, MissingDependencyError

wds = pytest.importorskip("webdataset")

COLUMNS = ColumnsConfig(image="jpg; png", caption="txt")


@pytest.fixture
def config(tmp_path):
    """Two shards for train, one each for val and test, written by the library itself."""
    number = 0
    for name in ("train-000", "train-001", "val-000", "test-000"):
        with (tmp_path / f"{name}.tar").open("wb") as stream, wds.TarWriter(stream) as sink:
            for _ in range(2):
                sink.write({"__key__": f"{number:06d}", "jpg": f"pixels {number}".encode(), "txt": f"text {number}"})
                number += 1
    splits = SplitsConfig(train="train-*.tar", val="val-*.tar", test="test-*.tar")
    return DataConfig(source="webdataset", root=str(tmp_path), columns=COLUMNS, splits=splits)


def test_shards(config, tmp_path):
    raw = read(config, tmp_path / "cache")
    assert [(pair.captions, pair.split, pair.where) for pair in raw.pairs[:5]] == [
        (("text 0",), "train", "train-000.tar: 000000"),
        (("text 1",), "train", "train-000.tar: 000001"),
        (("text 2",), "train", "train-001.tar: 000002"),
        (("text 3",), "train", "train-001.tar: 000003"),
        (("text 4",), "val", "val-000.tar: 000004"),
    ]
    assert len(raw.pairs) == 8
    assert (raw.image_root / raw.pairs[3].image).read_bytes() == b"pixels 3"
    assert raw.pairs[3].image.endswith(".jpg")


def test_images_are_extracted_once(config, tmp_path):
    first = read(config, tmp_path / "cache")
    written = {path: path.stat().st_mtime_ns for path in first.image_root.iterdir()}
    assert read(config, tmp_path / "cache") == first
    assert {path: path.stat().st_mtime_ns for path in first.image_root.iterdir()} == written


def rewrite(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_member_names_cannot_leave_the_cache(config, tmp_path):
    members = [("../../evil.jpg", b"1"), ("../../evil.txt", b"a"), ("/abs/olute.PNG", b"2"), ("/abs/olute.txt", b"b")]
    rewrite(tmp_path / "val-000.tar", members)
    raw = read(config, tmp_path / "cache")
    images = [pair.image for pair in raw.pairs if pair.split == "val"]
    assert [image.rsplit(".")[-1] for image in images] == ["jpg", "png"]
    assert all("/" not in image and (raw.image_root / image).is_file() for image in images)
    assert not list(tmp_path.rglob("evil*"))


def test_a_text_member_holds_a_caption_per_line(config, tmp_path):
    rewrite(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("a.txt", "One\nZwölf\n\n".encode())])
    raw = read(config, tmp_path / "cache")
    assert [pair.captions for pair in raw.pairs if pair.split == "val"] == [("One", "Zwölf")]


def test_bad_samples_are_kept_apart(config, tmp_path):
    members = [("a.jpg", b"1"), ("b.txt", b"x"), ("c.jpg", b"2"), ("c.txt", b"\xff"), ("d.png", b"3"), ("d.txt", b"\n")]
    rewrite(tmp_path / "val-000.tar", members)
    raw = read(config, tmp_path / "cache")
    assert raw.unreadable[0].startswith("val-000.tar: a: members jpg; it needs an image (jpg or png) and txt.")
    assert raw.unreadable[1].startswith("val-000.tar: b: members txt; it needs an image (jpg or png) and txt.")
    assert raw.unreadable[2].startswith("val-000.tar: c: the caption is not text in UTF-8")
    assert [pair.captions for pair in raw.pairs if pair.split == "val"] == [("",)]


@pytest.mark.parametrize("size", [100, 700])
def test_damaged_shard_is_named_and_leaves_no_finished_folder(config, tmp_path, size):
    shard = tmp_path / "train-001.tar"
    shard.write_bytes(b"x" * size if size == 100 else shard.read_bytes()[:size])
    with pytest.raises(DataError, match=f"{shard} is not a readable shard"):
        read(config, tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").glob("[!.]*")) == []


def test_shard_that_repeats_a_member(config, tmp_path):
    rewrite(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("a.jpg", b"2"), ("a.txt", b"x")])
    with pytest.raises(DataError, match="val-000.tar is not a readable shard .*duplicate file name"):
        read(config, tmp_path / "cache")


def test_glob_without_shards(config, tmp_path):
    for name in ("val-000.tar", "test-000.tar"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"no shard in .* matches 'val-\*.tar'; set data.root and data.splits.val"):
        read(config, tmp_path / "cache")


def test_absolute_glob_is_refused(config, tmp_path):
    splits = SplitsConfig(train="/data/*.tar", val="val-*.tar", test="test-*.tar")
    absolute = DataConfig(source="webdataset", root=config.root, columns=COLUMNS, splits=splits)
    with pytest.raises(DataError, match="give a glob relative to data.root"):
        read(absolute, tmp_path / "cache")


def test_needs_webdataset(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset.tariterators", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pairstill\[webdataset\]"'):
        read(config, tmp_path / "cache")
