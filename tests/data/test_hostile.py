"""Data that someone made to do harm, or that has grown out of all proportion."""

import gzip
import io
import json
import struct
import tarfile
import zlib
from dataclasses import replace

import pytest
from PIL import Image

from pairstill.config import ColumnsConfig, DataConfig, SplitsConfig
from pairstill.core.errors import DataError, shown
from pairstill.data import captions
from pairstill.data.build import build_manifest
from pairstill.data.sources import folder, webdataset

PLAIN = {"filename": "a.png", "split": "train", "sentences": [{"raw": "a caption"}]}


def entry(**changes):
    return {**PLAIN, **changes}


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "..", "", "a\0.png"])
def test_paths_that_lead_out_of_the_folder_are_refused(make_karpathy, make_image, tmp_path, name):
    make_image(tmp_path / "secret.png")
    config = make_karpathy([PLAIN])
    (tmp_path / "dataset.json").write_text(json.dumps({"images": [PLAIN, entry(filename=name)]}))
    with pytest.raises(DataError, match="1 problem"):
        build_manifest(config, tmp_path)


def test_a_link_to_a_folder_outside_is_refused(make_karpathy, make_image, tmp_path):
    make_image(tmp_path / "outside" / "secret.png")
    config = make_karpathy([PLAIN, entry(filename="link/secret.png")])
    (tmp_path / "images" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="leads out of .*images"):
        build_manifest(config, tmp_path)


def test_names_with_newlines_and_control_characters_are_names(make_karpathy, tmp_path):
    name = "a\nb\x1b[31m'\"<script>.png"
    config = make_karpathy([entry(filename=name), entry(filename="\n.png", sentences=[{"raw": ""}])])
    with pytest.raises(DataError) as caught:
        build_manifest(config, tmp_path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3, "a heading, a problem and a remedy"
    config = make_karpathy([entry(filename=name.replace("<script>", "script"))])
    assert build_manifest(config, tmp_path).records[0].image == name.replace("<script>", "script")


def bomb(side):
    """A PNG whose header announces side x side pixels, in a few bytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [10_000, 60_000, 2**31 - 1])
def test_decompression_bombs_are_refused_from_their_header(make_karpathy, tmp_path, side):
    config = make_karpathy([PLAIN])
    (tmp_path / "images" / "a.png").write_bytes(bomb(side))
    with pytest.raises(DataError, match="has too many pixels|cannot be decoded"):
        build_manifest(config, tmp_path)


def test_a_text_chunk_that_unpacks_to_megabytes_is_refused(make_karpathy, tmp_path):
    config = make_karpathy([PLAIN])
    whole = (tmp_path / "images" / "a.png").read_bytes()
    text = b"key\0\0" + zlib.compress(b"a" * 80_000_000, 1)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    (tmp_path / "images" / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    with pytest.raises(DataError, match="cannot be decoded"):
        build_manifest(config, tmp_path)


def test_pixels_that_are_no_numbers_are_refused(make_karpathy, tmp_path):
    config = make_karpathy([entry(filename="a.tiff")])
    Image.new("F", (4, 4), float("nan")).save(tmp_path / "images" / "a.tiff")
    with pytest.raises(DataError, match="has mode F"):
        build_manifest(config, tmp_path)


def test_a_caption_of_ten_megabytes_is_a_bad_pair_with_a_short_message(make_karpathy, tmp_path):
    config = make_karpathy([entry(sentences=[{"raw": "word " * 2_000_000}])])
    with pytest.raises(DataError, match="has a caption of 10000000 characters, more than 100000") as caught:
        build_manifest(config, tmp_path)
    assert len(str(caught.value)) < 1000
    limit = captions.MAX_CAPTION_CHARACTERS
    config = make_karpathy([entry(sentences=[{"raw": "a" * limit}, {"raw": "a" * (limit + 1)}])], on_bad_pair="drop")
    manifest = build_manifest(config, tmp_path)
    assert [len(caption) for caption in manifest.records[0].captions] == [limit]
    assert len(manifest.dropped) == 1


@pytest.mark.parametrize("broken", [{"a": "b" * 10**7}, {"filename": "x" * 10**7, "sentences": []}, "y" * 10**7])
def test_listings_of_megabytes_that_are_wrong_have_short_messages(make_karpathy, tmp_path, broken):
    config = make_karpathy([PLAIN])
    (tmp_path / "dataset.json").write_text(json.dumps({"images": [broken]}))
    with pytest.raises(DataError) as caught:
        build_manifest(config, tmp_path)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000, '{"images": [' + "9" * 5000 + "]}", '{"images": NaN}'])
def test_numbers_without_end_and_endless_nesting(make_karpathy, tmp_path, text):
    config = make_karpathy([PLAIN])
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json"):
        build_manifest(config, tmp_path)
    (tmp_path / "table.jsonl").write_text(text + "\n")
    table = DataConfig(source="table", root=str(tmp_path), annotations="table.jsonl")
    with pytest.raises(DataError, match="line 1: "):
        build_manifest(table, tmp_path)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "1" * 4000])
def test_a_number_in_place_of_a_caption(make_karpathy, tmp_path, number):
    config = make_karpathy([PLAIN])
    (tmp_path / "dataset.json").write_text(
        '{"images": [{"filename": "a.png", "split": "train", "sentences": [' + number + "]}]}"
    )
    with pytest.raises(DataError, match="it must be a string or a list of strings"):
        build_manifest(config, tmp_path)


def test_a_table_with_one_endless_field(tmp_path):
    (tmp_path / "t.csv").write_text("image,caption,split\na.png," + "x" * 10**7 + ",train\n")
    with pytest.raises(DataError, match=r"line 2: image 'a\.png' is missing"):
        build_manifest(DataConfig(source="table", root=str(tmp_path), annotations="t.csv"), tmp_path)


@pytest.fixture
def shards(tmp_path):
    """Return a config, and a function that writes a compressed shard for all splits."""
    splits = SplitsConfig(train="a.tar.gz", val="a.tar.gz", test="a.tar.gz")
    columns = ColumnsConfig(image="jpg", caption="txt")

    def write(members):
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
            for info, content in members:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return DataConfig(source="webdataset", root=str(tmp_path), columns=columns, splits=splits)

    return write


def test_a_shard_that_unpacks_to_more_than_any_image_is_refused(shards, tmp_path):
    config = shards([(tarfile.TarInfo("x.jpg"), b"\0")])
    announced = tarfile.TarInfo("x.jpg")
    announced.size = 2**28 + 1
    with gzip.open(tmp_path / "a.tar.gz", "wb") as shard:  # as if so much followed, which nothing may unpack to see
        shard.write(announced.tobuf() + b"\0" * 1024)
    with pytest.raises(DataError, match=r"a\.tar\.gz has a member of 268435457 bytes, 'x\.jpg', more than 268435456"):
        build_manifest(config, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.jpg"))


def test_links_devices_and_paths_in_a_shard_lead_nowhere(shards, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    link, device = tarfile.TarInfo("a.jpg"), tarfile.TarInfo("b.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.jpg")
    device.type = tarfile.CHRTYPE
    above = [(tarfile.TarInfo("../../out.jpg"), b"1"), (tarfile.TarInfo("../../out.txt"), b"\x1b[31m")]
    config = shards([(link, b""), (tarfile.TarInfo("a.txt"), b"a"), (device, b""), *above])
    raw = webdataset.read(config, tmp_path / "cache")
    assert all(pair.image.count("/") == 0 for pair in raw.pairs)
    contents = {path.read_bytes() for path in raw.image_root.glob("*.jpg")}
    assert contents == {b"1"}
    assert not list(tmp_path.parent.glob("out.*")) and not list(tmp_path.glob("out.*"))


def test_names_that_are_no_utf8_are_said_as_python_writes_them(shards, tmp_path):
    config = shards([(tarfile.TarInfo("a.jpg"), b"1"), (tarfile.TarInfo("a.x\udcff"), b"x")])
    (tmp_path / "a.tar.gz").rename(tmp_path / "a\udcff.tar.gz")
    splits = SplitsConfig(**dict.fromkeys(("train", "val", "test"), "a*.tar.gz"))
    raw = webdataset.read(replace(config, splits=splits), tmp_path / "cache")
    assert raw.unreadable[0].startswith(r"'a\udcff.tar.gz': a: members jpg, 'x\udcff'; it needs an image")


def test_a_suffix_that_is_no_utf8_is_said_as_python_writes_it(make_image, tmp_path):
    make_image(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "a.txt").write_text("one")
    (tmp_path / "train" / "b.q\udcff").write_text("x")
    raw = folder.read(DataConfig(source="folder", root=str(tmp_path), images="."), tmp_path / "cache")
    assert raw.notes[0].endswith(r"left out: 1 '.q\udcff'")


@pytest.mark.parametrize("name", ["a\udcffb", "a\0b", "x" * 300, "~nobody-of-this-name/x", "loop"])
@pytest.mark.parametrize(
    ("source", "setting"),
    [
        *(("table", setting) for setting in ("root", "annotations", "images")),
        *((source, "root") for source in ("karpathy", "llava_cc3m", "folder", "webdataset", "huggingface")),
    ],
)
def test_settings_that_can_be_no_path(tmp_path, source, setting, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "a.jsonl").write_text("{}\n")
    if setting == "root" and name == "loop":
        name = str(tmp_path / "loop")
    known = {"root": str(tmp_path), "annotations": "a.jsonl", "images": "."}
    splits = SplitsConfig(train="a", val="a", test="a")
    with pytest.raises(DataError):
        build_manifest(DataConfig(source=source, splits=splits, **{**known, setting: name}), tmp_path / "cache")


def test_shown_is_short_and_in_one_line():
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 10**6)) < 230 and shown("x" * 10**6).endswith("... (1000002 characters)")
