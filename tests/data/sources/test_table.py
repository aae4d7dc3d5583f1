import sys

import pytest

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.data.manifest import build_manifest
from pairstill.data.sources.raw import RawPair
from pairstill.data.sources.table import read
from pairstill.errors import DataError, MissingDependencyError
from pairstill.schema import ImageRecord


def config_for(tmp_path, name, content=None, **settings):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return DataConfig(source="table", root=str(tmp_path), annotations=name, **settings)


def test_csv(tmp_path):
    content = 'split,image,caption,more\ntrain,a.jpg,"A dog, running",1\ntest,b/c.jpg,Ein Mädchen,2\n'
    assert read(config_for(tmp_path, "pairs.csv", content), tmp_path).pairs == (
        RawPair("a.jpg", ("A dog, running",), "train", "line 2"),
        RawPair("b/c.jpg", ("Ein Mädchen",), "test", "line 3"),
    )


def test_csv_of_excel_with_byte_order_mark_and_windows_lines(tmp_path):
    content = b"\xef\xbb\xbfimage,caption,split\r\na.jpg,x,train\r\n"
    assert read(config_for(tmp_path, "pairs.csv", content), tmp_path).pairs[0].image == "a.jpg"


def test_csv_row_over_two_lines_is_named_by_its_first(tmp_path):
    content = 'image,caption,split\na.jpg,"two\nlines",train\nb.jpg,x,val\n'
    raw = read(config_for(tmp_path, "pairs.csv", content), tmp_path)
    assert [(pair.captions[0], pair.where) for pair in raw.pairs] == [("two\nlines", "line 2"), ("x", "line 4")]


def test_csv_rows_of_other_widths_are_kept_apart(tmp_path):
    content = "image,caption,split\na.jpg,one, two,train\nb.jpg,x\nc.jpg,x,val\n"
    raw = read(config_for(tmp_path, "pairs.csv", content), tmp_path)
    assert [pair.image for pair in raw.pairs] == ["c.jpg"]
    assert raw.unreadable == (
        "line 2: the row has 4 fields, the header 3; quote captions that contain commas",
        "line 3: the row has 2 fields, the header 3; quote captions that contain commas",
    )


def test_csv_rows_of_one_image_merge_in_order(tmp_path, make_image):
    for number, name in enumerate(("a.png", "b.png")):
        make_image(tmp_path / name, colour=(number, 0, 0))
    content = "image,caption,split\na.png,One,train\nb.png,Two,val\na.png,Three,train\n"
    manifest = build_manifest(config_for(tmp_path, "pairs.csv", content), tmp_path)
    assert manifest.records == (
        ImageRecord("a.png", ("one", "three"), "train"),
        ImageRecord("b.png", ("two",), "val"),
    )


def test_csv_that_lists_a_pair_twice(tmp_path, make_image):
    make_image(tmp_path / "a.png")
    config = config_for(tmp_path, "pairs.csv", "image,caption,split\na.png,One,train\na.png,one!,train\n")
    with pytest.raises(DataError, match="line 3: image 'a.png' is listed twice with caption 'one'"):
        build_manifest(config, tmp_path)


def test_jsonl_takes_one_caption_or_a_list(tmp_path):
    content = (
        '{"file": "a.jpg", "text": "One", "part": "train"}\n\n'
        '{"file": "b.jpg", "text": ["Two", "Three"], "part": "val"}\n'
    )
    columns = ColumnsConfig(image="file", caption="text", split="part")
    assert read(config_for(tmp_path, "pairs.jsonl", content, columns=columns), tmp_path).pairs == (
        RawPair("a.jpg", ("One",), "train", "line 1"),
        RawPair("b.jpg", ("Two", "Three"), "val", "line 3"),
    )


def test_jsonl_lines_that_cannot_be_read_are_kept_apart(tmp_path):
    content = '{"image": \n[1]\n{"image": "a.jpg", "caption": [], "split": "val"}\n{"caption": "x", "split": "val"}\n'
    unreadable = read(config_for(tmp_path, "pairs.jsonl", content), tmp_path).unreadable
    assert unreadable[0].startswith("line 1: not valid JSON")
    assert unreadable[1:] == (
        "line 2: [1] is not an object",
        "line 3: image 'a.jpg' has no caption",
        "line 4: the image is None; it must be a path",
    )


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {"image": ["a.jpg", None], "caption": [["One", "Two"], ["x"]], "split": ["train", "val"], "more": [1, 2]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "pairs.parquet")
    raw = read(config_for(tmp_path, "pairs.parquet"), tmp_path)
    assert raw.pairs == (RawPair("a.jpg", ("One", "Two"), "train", "row 0"),)
    assert raw.unreadable == ("row 1: the image is None; it must be a path",)


def test_parquet_without_a_column_or_damaged(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"image": ["a.jpg"], "text": ["x"]}), tmp_path / "pairs.parquet")
    with pytest.raises(DataError, match=r"no column 'caption'; it has 'image', 'text'\. Set data\.columns\.caption"):
        read(config_for(tmp_path, "pairs.parquet"), tmp_path)
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        read(config_for(tmp_path, "bad.parquet", "no parquet"), tmp_path)


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pairstill\[huggingface\]"'):
        read(config_for(tmp_path, "pairs.parquet", "x"), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", "image,text,split\n", r"no column 'caption'; it has 'image', 'text', 'split'"),
        ("pairs.csv", "", "has no column 'image'; it has none"),
        ("pairs.csv", b"image,caption,split\na.jpg,\xff,train\n", "is not a CSV file in UTF-8"),
        ("pairs.jsonl", b"\xff", "is not text in UTF-8"),
        ("pairs.xlsx", "", "has suffix '.xlsx'; a table must be .csv, .jsonl or .parquet"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read(config_for(tmp_path, name, content), tmp_path)
