import csv
from dataclasses import replace

import pytest

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.core.errors import DataError
from pairstill.core.schema import ImageRecord
from pairstill.data.build import build_manifest
from pairstill.data.sources import csv_records
from pairstill.data.sources.raw import RawPair
from pairstill.data.sources.table import read


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


GOOD = "image,caption,split\n"


@pytest.mark.parametrize(
    ("rows", "problems", "kept"),
    [
        ('a.jpg,"open,train\nb.jpg,x,val\nc.jpg,y,val\n', ["line 2: a quote that opens here is never closed"], "bc"),
        ('b.jpg,x,val\na.jpg,"open,train\nc.jpg,"a, b",val\n', ["line 3: ',' expected after '\"'"], "bc"),
        ('a.jpg,"open,train\nb.jpg,"\nc.jpg,y,val\n', ["line 2: the row has 2", "line 3: a quote that opens"], "c"),
        ('b.jpg,"two\nlines",val\na.jpg,"x"y,val\nc.jpg,"two\nmore",val\n', ["line 4: ',' expected"], "bc"),
        ('a.jpg,"said \\"hi\\"",val\nb.jpg,"said ""hi""",val\n', ["line 2: ',' expected"], "b"),
        ("a.jpg,caf\xe9,val\nb.jpg,café,val\n", ["line 2: not text in UTF-8"], "b"),
        ('\n\nb.jpg,x,val\n\na.jpg,"open', ["line 6: a quote that opens here is never closed"], "b"),
    ],
)
def test_a_damaged_csv_row_is_named_by_its_line_and_takes_no_other_along(tmp_path, rows, problems, kept):
    content = GOOD.encode() + rows.encode().replace(b"caf\xc3\xa9,val\nb", b"caf\xe9,val\nb")
    raw = read(config_for(tmp_path, "pairs.csv", content), tmp_path)
    assert [pair.image[0] for pair in raw.pairs] == list(kept)
    for found, start in zip(raw.unreadable, problems, strict=True):
        assert found.startswith(start)


def test_a_long_field_is_a_bad_pair_like_any_other(tmp_path, make_image):
    for number, name in enumerate("abc"):
        make_image(tmp_path / f"{name}.png", colour=(number, 0, 0))
    content = f"{GOOD}a.png,one,train\nb.png,{'x' * 200_000},val\nc.png,three,val\n"
    before = csv.field_size_limit()
    config = config_for(tmp_path, "pairs.csv", content)
    with pytest.raises(DataError, match=r"1 problem .*\n  - line 3: image 'b\.png' has a caption of 200000 characters"):
        build_manifest(config, tmp_path)
    manifest = build_manifest(replace(config, on_bad_pair="drop"), tmp_path)
    assert [record.image for record in manifest.records] == ["a.png", "c.png"]
    assert csv.field_size_limit() == before, "the limit is the process's"


def test_many_open_quotes_are_found_in_one_go(tmp_path):
    content = GOOD + 'a.jpg,"x ""\n' * 20_000 + "b.jpg,x,val\n" * 20_000
    raw = read(config_for(tmp_path, "pairs.csv", content), tmp_path)
    assert len(raw.pairs) == 20_000 and len(raw.unreadable) == 20_000


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_a_line_that_memory_does_not_hold_is_refused(tmp_path, monkeypatch, name):
    config = config_for(tmp_path, name, GOOD if name == "pairs.csv" else "")
    with (tmp_path / name).open("r+b") as stream:
        stream.truncate(3 * 2**31)  # a hole, which takes no room on the disk
    monkeypatch.setattr(csv_records, "MAX_LINE", 1000)
    with pytest.raises(DataError, match=f"{name} has a line of 1000 characters or more; it is no table"):
        list(read(config, tmp_path).listings)


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


def test_jsonl_lines_that_are_no_text_or_name_a_key_twice(tmp_path):
    content = b'\xff\n{"image": "a.jpg", "caption": "x", "caption": "y", "split": "val"}\n'
    content += b'{"image": "b.jpg", "caption": "z", "split": "val"}\n'
    raw = read(config_for(tmp_path, "pairs.jsonl", content), tmp_path)
    assert raw.unreadable[0].startswith("line 1: not text in UTF-8")
    assert raw.unreadable[1] == "line 2: not valid JSON (the key 'caption' stands twice in one object)"
    assert [pair.where for pair in raw.pairs] == ["line 3"]


def test_parquet_rows_that_are_no_text_or_stand_under_two_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    captions = pyarrow.array([b"x", b"\xff"]).view(pyarrow.string())
    columns = [pyarrow.array(["a.jpg", "b.jpg"]), captions, pyarrow.array(["val", "val"])]
    table = pyarrow.table(columns, names=["image", "caption", "split"])
    parquet.write_table(table, tmp_path / "pairs.parquet")
    raw = read(config_for(tmp_path, "pairs.parquet"), tmp_path)
    assert [pair.where for pair in raw.pairs] == ["row 0"]
    assert raw.unreadable[0].startswith("row 1: cannot be read")
    parquet.write_table(
        pyarrow.table([*columns, captions], names=[*table.column_names, "caption"]), tmp_path / "2.parquet"
    )
    with pytest.raises(DataError, match="has 2 columns 'caption'"):
        read(config_for(tmp_path, "2.parquet"), tmp_path)


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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", "image,text,split\n", r"no column 'caption'; it has 'image', 'text', 'split'"),
        ("pairs.csv", "", "has no column 'image'; it has none"),
        ("pairs.csv", b"image,caption,split,\xff\n", "is not a table of text in UTF-8 .line 1: not text in UTF-8"),
        ("pairs.csv", 'image,"caption,split\na.jpg,x,train\n', "line 1: a quote that opens here is never closed"),
        ("pairs.csv", "image,caption,split,caption\n", "has 2 columns 'caption'; rename those that are not meant"),
        ("pairs.xlsx", "", "has suffix '.xlsx'; a table must be .csv, .tsv, .txt, .psv, .token, .jsonl or .parquet"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read(config_for(tmp_path, name, content), tmp_path)


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "captions.txt"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_what_stands_between_columns_is_found_out(tmp_path, name, separator):
    rows = [("split", "image", "caption"), ("val", "a.jpg", "one, two; three"), ("train", "b.jpg", "x")]
    content = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
    assert read(config_for(tmp_path, name, content), tmp_path).pairs == (
        RawPair("a.jpg", ("one, two; three",), "val", "line 2"),
        RawPair("b.jpg", ("x",), "train", "line 3"),
    )


def test_flickrs_results_have_bars_and_blanks_and_a_row_without_one(tmp_path):
    content = (
        "image_name| comment_number| comment\n"
        '1.jpg| 0| Two men , "in" green .\n'
        "2.jpg| 4   A dog runs .\n"
        "2.jpg| 1| A dog ; sits , there .\n"
    )
    columns = ColumnsConfig(image="image_name", caption="comment")
    config = config_for(tmp_path, "results.csv", content, columns=columns, split="random 8:1:1")
    raw = read(config, tmp_path)
    assert [(pair.image, pair.captions) for pair in raw.pairs] == [
        ("1.jpg", ('Two men , "in" green .',)),
        ("2.jpg", ("A dog ; sits , there .",)),
    ]
    assert raw.unreadable == ("line 3: the row has 2 fields, the header 3; quote captions that contain bars",)


def test_flickrs_token_files_have_no_header(tmp_path):
    content = b"1.jpg#0\tA child , in pink .\n1.jpg#1\tA girl .\nbroken\n2.jpg#0\tcaf\xe9\n"
    raw = read(config_for(tmp_path, "Flickr8k.token.txt", content, split="random 8:1:1"), tmp_path)
    assert [(pair.image, pair.captions) for pair in raw.pairs] == [
        ("1.jpg", ("A child , in pink .",)),
        ("1.jpg", ("A girl .",)),
    ]
    assert [found.split(":")[0] for found in raw.unreadable] == ["line 3", "line 4"]


def test_an_error_says_how_the_table_was_read_and_what_to_do(tmp_path):
    content = "image\ttext\tpart\na.jpg\tx\ttrain\n"
    with pytest.raises(DataError, match=r"'image', 'text', 'part', read with tabs between them\. Set data\.columns\.c"):
        read(config_for(tmp_path, "a.csv", content), tmp_path)
    columns = ColumnsConfig(caption="text")
    with pytest.raises(DataError, match=r"no column 'split'.*or have splits drawn, such as data\.split 'random 8:1:1'"):
        read(config_for(tmp_path, "a.csv", content, columns=columns), tmp_path)
    with pytest.raises(DataError, match=r"For 'caption_0' to 'caption_1' it is 'caption_\*'\."):
        read(config_for(tmp_path, "b.csv", "image,caption_0,caption_1,split\n"), tmp_path)


@pytest.mark.parametrize("named", ["caption_*", "caption_0; caption_1;caption_2"])
def test_captions_may_stand_in_several_columns(tmp_path, named):
    columns = ColumnsConfig(caption=named)
    content = "caption_0,image,caption_1,caption_2,split\none,a.jpg,,three,train\n,b.jpg,,,train\n"
    raw = read(config_for(tmp_path, "pairs.csv", content, columns=columns), tmp_path)
    assert [pair.captions for pair in raw.pairs] == [("one", "three")]
    assert raw.unreadable == ("line 3: image 'b.jpg' has no caption",)
    row = '{"image": "a.jpg", "caption_0": "one", "caption_1": null, "caption_2": ["two", "three"], "split": "val"}\n'
    raw = read(config_for(tmp_path, "pairs.jsonl", row, columns=columns), tmp_path)
    assert raw.pairs[0].captions == ("one", "two", "three")


def test_a_list_that_was_stored_as_text_is_several_captions(tmp_path):
    content = (
        'image,caption,split\na.jpg,"[""two guys"", ""two men""]",train\nb.jpg,"[\'one\', ""it\'s two""]",val\n'
        "c.jpg,['a' 'b'],val\n"
    )
    raw = read(config_for(tmp_path, "pairs.csv", content), tmp_path)
    assert [pair.captions for pair in raw.pairs] == [("two guys", "two men"), ("one", "it's two")]
    assert raw.unreadable[0].startswith("line 4: the caption \"['a' 'b']\" begins as a list that was stored as text")


def test_parquet_with_pictures_inside_is_for_huggingface(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for number, image in enumerate(({"bytes": b"x", "path": "a"}, b"x")):
        rows = {"image": [image], "caption": ["x"], "split": ["train"]}
        parquet.write_table(pyarrow.table(rows), tmp_path / f"{number}.parquet")
        with pytest.raises(DataError, match=r"holds the pictures themselves.*--data\.source huggingface --data\.root"):
            read(config_for(tmp_path, f"{number}.parquet"), tmp_path)
    names = {"image": ["a.jpg"], "caption_0": ["x"], "caption_1": ["y"]}
    parquet.write_table(pyarrow.table(names), tmp_path / "2.parquet")
    config = config_for(tmp_path, "2.parquet", columns=ColumnsConfig(caption="caption_*"), split="random 8:1:1")
    assert read(config, tmp_path).pairs == (RawPair("a.jpg", ("x", "y"), "train", "row 0"),)
