import os
from zlib import crc32

import pytest

from pairstill.config import DataConfig, SplitsConfig
from pairstill.core.errors import DataError
from pairstill.data.build import build_manifest
from pairstill.data.sources.folder import MAX_TEXT_BYTES, read


@pytest.fixture
def pairs(tmp_path, make_image):
    """Write a picture and its text below `data`, and return its path without its end."""

    def write(name, caption, end=".txt", picture=".png"):
        stem = tmp_path / "data" / name
        make_image(stem.parent / f"{stem.name}{picture}", colour=tuple(crc32(name.encode()).to_bytes(4)[:3]))
        (stem.parent / f"{stem.name}{end}").write_bytes(caption if isinstance(caption, bytes) else caption.encode())
        return stem

    return write


def config(tmp_path, **settings):
    return DataConfig(source="folder", root=str(tmp_path / "data"), **{"split": "random 8:1:1", **settings})


def test_each_line_of_the_text_beside_an_image_is_a_caption(pairs, tmp_path):
    pairs("a", "One\nTwo\r\n\n")
    pairs("deep/er/b", b"\xef\xbb\xbfThree", end=".CAPTION", picture=".jpg")
    raw = read(config(tmp_path), tmp_path)
    assert [(pair.image, pair.captions, pair.split, pair.where) for pair in raw.pairs] == [
        ("a.png", ("One", "Two"), "train", "'a.txt'"),
        ("deep/er/b.jpg", ("Three",), "train", "'deep/er/b.CAPTION'"),
    ]
    assert raw.notes == ()


def test_splits_are_folders_of_their_names_or_of_others(pairs, tmp_path):
    for folder in ("train", "val", "test", "validation"):
        pairs(f"{folder}/a", folder)
    raw = read(config(tmp_path, split=None), tmp_path)
    assert [(pair.image, pair.split) for pair in raw.pairs] == [
        (f"{split}/a.png", split) for split in ("test", "train", "val")
    ]
    (problem,) = raw.unreadable
    assert problem.startswith("'validation/a.txt': it is in none of the folders of splits, 'train', 'val', 'test'; ")
    assert "--data.split 'random 8:1:1'" in problem
    named = SplitsConfig(train="train", val="validation/", test="test")
    raw = read(config(tmp_path, split=None, splits=named), tmp_path)
    assert [pair.split for pair in raw.pairs] == ["test", "train", "val"]


def test_a_draw_leaves_the_folders_of_val_and_test_and_gives_them_nothing(pairs, tmp_path):
    for name in ("a", "b/test/c", "train/d", "train/e", "test/f", "test/g"):
        pairs(name, name)
    manifest = build_manifest(config(tmp_path, split="random 3:1:0"), tmp_path / "cache")
    assert manifest.division == "random 3:1:0, seed 0"
    assert {record.image for record in manifest.split("test")} == {"test/f.png", "test/g.png"}
    assert [len(manifest.split(split)) for split in ("train", "val")] == [3, 1]
    with pytest.raises(
        DataError, match=r"data\.split gives a share to test, which has 2 images already; write 0 for it"
    ):
        build_manifest(config(tmp_path), tmp_path / "cache")


def test_files_that_have_no_other_half_are_problems_and_others_are_told(pairs, tmp_path, make_image):
    pairs("a", "x")
    for name in ("a.json", "notes.md", "more.md", ".hidden", "LICENSE"):
        (tmp_path / "data" / name).write_text("x")
    (tmp_path / "data" / "lonely.txt").write_text("x")
    make_image(tmp_path / "data" / "lonely" / "b.png")
    pairs("c", "x", picture=".jpg")
    make_image(tmp_path / "data" / "c.png")
    (tmp_path / "data" / "elsewhere").symlink_to(tmp_path)
    raw = read(config(tmp_path), tmp_path)
    assert [pair.image for pair in raw.pairs] == ["a.png"]
    assert raw.unreadable == (
        "'elsewhere' is a link to a folder; copy or move it",
        "'c.jpg', 'c.png', 'c.txt' share a name; keep one picture and one text",
        "'lonely.txt': there is no picture of this name beside it",
        "'lonely/b.png': there is no text of this name beside it",
    )
    (note,) = raw.notes
    assert note.startswith("4 files in ") and note.endswith("left out: 2 .md, 1 without suffix, 1 .json")
    drop = config(tmp_path, split="random 1:1:1", on_bad_pair="drop")
    assert build_manifest(drop, tmp_path / "cache").notes == (note,)


def test_texts_that_are_no_captions_are_problems(pairs, tmp_path):
    pairs("good", "x")
    pairs("latin", "caf\xe9".encode("latin-1"))
    pairs("list", '["two guys", "two m')
    (pairs("fifo", "x").parent / "fifo.txt").unlink()
    os.mkfifo(tmp_path / "data" / "fifo.txt")
    (pairs("out", "x").parent / "out.txt").unlink()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "data" / "out.txt").symlink_to(tmp_path / "secret.txt")
    with (pairs("large", "x").parent / "large.txt").open("wb") as large:
        large.truncate(MAX_TEXT_BYTES + 1)
    pairs("empty", "\n \n")
    raw = read(config(tmp_path), tmp_path)
    assert [pair.image for pair in raw.pairs] == ["empty.png", "good.png"], "what is empty is told by the manifest"
    found = "\n".join(raw.unreadable)
    assert len(raw.unreadable) == 5 and "secret'" not in found
    told = (
        *(
            "'fifo.txt' is not a file",
            "'large.txt' has 16777217 bytes",
            "'latin.txt': the caption is not text in UTF-8",
        ),
        *("'list.txt': the caption", "'out.txt' leads out of"),
    )
    assert all(part in found for part in told)
    with pytest.raises(DataError, match=r"'empty\.txt': image 'empty\.png' has the empty caption"):
        build_manifest(config(tmp_path), tmp_path / "cache")


def test_a_folder_without_pictures_names_what_it_looks_like(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"holds no picture \(\.jpg.*set data\.root and data\.images"):
        read(config(tmp_path), tmp_path)
    (tmp_path / "data" / "train-000.tar").write_bytes(b"")
    with pytest.raises(DataError, match="looks like tar shards: --data.source webdataset"):
        read(config(tmp_path), tmp_path)


@pytest.mark.parametrize("images", [".", "images"])
def test_pictures_without_any_text_name_the_listing_beside_them(tmp_path, make_image, images):
    make_image(tmp_path / "data" / "images" / "a.png")
    with pytest.raises(DataError, match=r"pictures, but no text \(.txt, .caption\) beside any of them; write the"):
        read(config(tmp_path, images=images), tmp_path)
    (tmp_path / "data" / "pairs.tsv").write_text("image\tcaption\na.png\tA dog\n")
    with pytest.raises(DataError, match=r"a table, pairs\.tsv: --data\.source table --data\.annotations pairs\.tsv;"):
        read(config(tmp_path, images=images), tmp_path)
