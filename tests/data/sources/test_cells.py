import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairstill.data.sources.cells import all_captions, caption_columns, numbered, together, written_out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["two guys", "two men"]', ["two guys", "two men"]),
        ("['two guys', 'two men']", ["two guys", "two men"]),
        ("""['a man\\'s hat', "the man's hat",]""", ["a man's hat", "the man's hat"]),
        ("('a dog', 'a cat')", ["a dog", "a cat"]),
        ('["caf\\u00e9 \\ud83d\\ude00 \\/"]', ["café 😀 /"]),
        (" [ ] ", []),
        ("[red] dogs", None),
        ("[a dog]", None),
        ("('hello') he said", None),
        ("(a dog)", None),
        ("a dog", None),
        ("", None),
    ],
)
def test_lists_that_were_stored_as_text(text, expected):
    assert written_out(text) == expected


@pytest.mark.parametrize(
    "text",
    ["['a' 'b']", '["a", "b', "['a', None]", "[None, 'a']", "[nan]", '["a", 3]', "['a', __import__('os')]", '["\\x"]'],
)
def test_what_begins_as_a_list_and_is_none_is_refused(text):
    with pytest.raises(ValueError, match="begins as a list that was stored as text|cannot be read"):
        written_out(text)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_what_json_and_python_write_is_read(captions):
    assert written_out(json.dumps(captions)) == captions
    assert written_out(json.dumps(captions, ensure_ascii=False)) in (captions, None) or "\x00" in str(captions)
    assert written_out(repr(captions)) == captions


def test_captions_of_columns_come_together_and_empty_cells_hold_none():
    assert together(["one"]) == "one"
    assert together(["one", "", None, " ", ["two", "three"]]) == ["one", "two", "three"]
    assert together([None, ""]) == []
    assert all_captions(['["a", "b"]', "c"]) == ["a", "b", "c"]
    assert all_captions(3) == 3 and all_captions(["a", 3]) == ["a", 3]


def test_columns_of_captions_by_name_by_list_and_by_pattern():
    present = ["caption_0", "image", "caption_1", "raw*"]
    assert caption_columns("caption_1", present) == ["caption_1"]
    assert caption_columns("caption_1; caption_0", present) == ["caption_0", "caption_1"]
    assert caption_columns("caption_*", present) == ["caption_0", "caption_1"]
    assert caption_columns("raw*", present) == ["raw*"], "a name that is there is that name"
    assert caption_columns("caption_0;caption_2", present) == []
    assert numbered("caption", present) == " For 'caption_0' to 'caption_1' it is 'caption_*'."
    assert numbered("text", present) == ""
