import bz2
import gzip
import io
import lzma
import os
import tarfile
from contextlib import suppress
from dataclasses import replace

import pytest

from pairstill.config import ColumnsConfig, DataConfig, SplitsConfig
from pairstill.core.errors import DataError
from pairstill.data.sources.shards import Sample, read_samples
from pairstill.data.sources.webdataset import read

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


def test_a_caption_ends_with_its_line_and_nowhere_else(config, tmp_path):
    rewrite(tmp_path / "val-000.tar", [("a.jpg", b"x"), ("a.txt", "one\u2028line\r\n\x0btwo\n\n".encode())])
    assert [pair.captions for pair in read(config, tmp_path / "cache").pairs if pair.split == "val"] == [
        ("one\u2028line", "\x0btwo")
    ]


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


def test_member_that_stands_twice(config, tmp_path):
    rewrite(
        tmp_path / "val-000.tar", [("a.jpg", b"1"), ("a.jpg", b"2"), ("a.txt", b"x"), ("b.jpg", b"3"), ("b.txt", b"y")]
    )
    raw = read(config, tmp_path / "cache")
    assert raw.unreadable == ("val-000.tar: member 'a.jpg' stands twice; the first is taken",)
    assert [(raw.image_root / pair.image).read_bytes() for pair in raw.pairs if pair.split == "val"] == [b"1", b"3"]


def test_members_that_belong_to_no_sample(config, tmp_path):
    link, folder = tarfile.TarInfo("c.jpg"), tarfile.TarInfo("folder")
    link.type, link.linkname, folder.type = tarfile.LNKTYPE, "a.jpg", tarfile.DIRTYPE
    with tarfile.open(tmp_path / "val-000.tar", "w") as tar:
        tar.addfile(folder)
        for name in ("a.jpg", "a.txt", "._a.jpg", "folder/.hidden", "__meta__", "README", "a.__bad__", "d.__key__"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
        tar.addfile(link)
    raw = read(config, tmp_path / "cache")
    assert [pair.captions for pair in raw.pairs if pair.split == "val"] == [("1",)]
    assert [problem.split(";")[0] for problem in raw.unreadable] == [
        "val-000.tar: member 'README' has no extension, so that it belongs to no sample",
        "val-000.tar: member 'c.jpg' is a link or a device",
        "val-000.tar: d: members __key__",
    ]


def compressed(content, kind):
    return {"": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind](content)


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_no_cut_of_a_shard_goes_unnoticed(tmp_path, kind):
    rewrite(tmp_path / "a.tar", [("a.jpg", b"1" * 600), ("a.txt", b"x"), ("b.jpg", b"2"), ("b.txt", b"y")])
    whole = (tmp_path / "a.tar").read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512 + 1024  # the last block of the last member, and two of zeros
    if kind:
        whole = compressed(whole, kind)
        cuts = range(0, len(whole))
    else:
        cuts = range(0, end, 64)
    path = tmp_path / "b.tar"
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="is not a readable shard"):
            list(read_samples(path, {"jpg": 1000, "txt": 1000}))
    path.write_bytes(whole if kind else whole[:end])
    assert [sample.key for sample in read_samples(path, {"jpg": 1000, "txt": 1000})] == ["a", "b"]


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_no_flipped_byte_loses_a_sample(tmp_path, kind):
    rewrite(tmp_path / "a.tar", [("a.jpg", b"1" * 600), ("a.txt", b""), ("b.jpg", b"2"), ("b.txt", b"")])
    whole = (tmp_path / "a.tar").read_bytes()
    whole = compressed(whole, kind)
    path = tmp_path / "b.tar"
    for place in range(0, len(whole) if kind else len(whole.rstrip(b"\0")) + 1024, 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with suppress(DataError):
            found = list(read_samples(path, {"jpg": 1000, "txt": 1000}))
            assert sum(len(sample.contents) + len(sample.others) for sample in found if isinstance(sample, Sample)) == 4


def test_joined_shards_are_refused(config, tmp_path):
    one, two = tmp_path / "train-000.tar", tmp_path / "train-001.tar"
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(DataError, match="train-000.tar is not a readable shard .it goes on after its end"):
        read(config, tmp_path / "cache")


def test_a_shard_of_several_gzip_streams_is_read_whole(config, tmp_path):
    path = tmp_path / "val-000.tar"
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(whole[:1000]) + gzip.compress(whole[1000:]))
    assert len(read(config, tmp_path / "cache").pairs) == 8


def test_headers_that_announce_too_much_or_less_than_nothing(tmp_path):
    path = tmp_path / "a.tar"
    for kind, size in ((tarfile.XHDTYPE, 2**32), (tarfile.GNUTYPE_LONGNAME, 2**32), (tarfile.REGTYPE, -512)):
        info = tarfile.TarInfo("a.jpg")
        info.type, info.size = kind, size
        path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
        with pytest.raises(DataError, match="is not a readable shard .*announces"):
            list(read_samples(path, {"jpg": 1000}))


def test_captions_of_megabytes_are_refused_before_they_are_read(config, tmp_path):
    announced = tarfile.TarInfo("a.txt")
    announced.size = 2**24 + 1
    (tmp_path / "val-000.tar").write_bytes(announced.tobuf() + b"x" * 1024)  # and far less follows
    with pytest.raises(DataError, match=r"val-000.tar has a member of 16777217 bytes, 'a\.txt', more than 16777216"):
        read(config, tmp_path / "cache")


def test_a_byte_order_mark_is_no_part_of_a_caption(config, tmp_path):
    rewrite(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("a.txt", b"\xef\xbb\xbfOne\nTwo\n")])
    raw = read(config, tmp_path / "cache")
    assert [pair.captions for pair in raw.pairs if pair.split == "val"] == [("One", "Two")]


def test_braces_name_shards_which_must_all_be_there(config, tmp_path):
    braces = SplitsConfig(train="train-{000..001}.tar", val="{val,test}-0*.tar", test="test-000.tar")
    named = replace(config, splits=braces)
    raw = read(named, tmp_path / "cache")
    assert [pair.where.split(":")[0] for pair in raw.pairs if pair.split != "test"] == [
        *["train-000.tar"] * 2,
        *["train-001.tar"] * 2,
        *["val-000.tar"] * 2,
        *["test-000.tar"] * 2,
    ]
    (tmp_path / "train-000.tar").unlink()
    with pytest.raises(DataError, match="matches 'train-000.tar', which is one of 'train-{000..001}.tar'"):
        read(named, tmp_path / "cache")
    with pytest.raises(DataError, match="stands for more than 100000 names.*give a glob"):
        read(replace(config, splits=replace(braces, train="t-{0..999999999}.tar")), tmp_path / "cache")


def test_shards_are_files_within_the_root(config, tmp_path):
    shard = tmp_path / "train-001.tar"
    shard.rename(tmp_path.parent / f"{tmp_path.name}-outside.tar")
    shard.symlink_to(tmp_path.parent / f"{tmp_path.name}-outside.tar")
    with pytest.raises(DataError, match="train-001.tar leads out of"):
        read(config, tmp_path / "cache")
    shard.unlink()
    shard.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="train-001.tar is missing"):
        read(config, tmp_path / "cache")
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(DataError, match="train-001.tar is not a file"):
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
