import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairstill.data.captions import caption_as, caption_lines, paper_caption, plain_caption, visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Dog", "a dog"),
        ("  a \t dog\nruns ", "a dog runs"),
        ("A dog runs .", "a dog runs"),
        ("the man's hat", "the mans hat"),
        ("the man’s hat", "the mans hat"),
        ("black-and-white/grey", "black and white grey"),
        ('"Stop!", he said: (now)', "stop he said now"),
        ("costs $5 + 3~4", "costs 5 3 4"),
        ("Ein Mädchen – « hier »", "ein mädchen hier"),
        ("一只狗。", "一只狗"),
        ("", ""),
        (" .!? ", ""),
        ("tea\x00cup", "tea cup"),
    ],
)
def test_examples(text, expected):
    assert plain_caption(text) == expected


def test_keeps_thirty_words_and_cuts_the_thirty_first():
    words = [f"w{number}" for number in range(31)]
    assert plain_caption(" ".join(words[:30])) == " ".join(words[:30])
    assert plain_caption(" ".join(words)) == " ".join(words[:30])


@settings(deadline=None)
@given(st.text())
def test_result_is_a_fixed_point_in_single_spaces(text):
    result = plain_caption(text)
    assert plain_caption(result) == result
    assert result == " ".join(result.split())
    assert len(result.split()) <= 30


@settings(deadline=None)
@given(st.text(alphabet=string.printable))
def test_ascii_text_keeps_only_lower_case_letters_and_digits(text):
    assert set(plain_caption(text)) <= set(string.ascii_lowercase + string.digits + " ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's red-and-white hat, worn well .", "a man's red-and-white hat, worn well"),
        ("Is it a dog?  No: it's a 'cat'!", "is it a dog? no it's a 'cat'"),
        ('"Stop!", he said; (now) ~ #1 * 2', "stop , he said now 1 2"),  # a mark parts words, it does not join them
        ("end.start", "end start"),
        ("snow - and/or ice & salt", "snow - and/or ice & salt"),
        ("the man’s `hat´", "the man’s `hat´"),
        (" two  blanks\n\nand lines\n", "two blanks and lines"),
        ("one\ttab", "one\ttab"),
        (" .!: ", ""),
    ],
)
def test_the_papers_captions_lose_ten_marks_and_nothing_else(text, expected):
    assert paper_caption(text) == expected


def test_the_papers_captions_end_after_thirty_words():
    words = [f"w{number}," for number in range(31)]  # of which a lone dash is one, too
    assert paper_caption(" ".join(words[:30])) == " ".join(words[:30])
    assert paper_caption(" ".join(words)) == " ".join(words[:30])
    assert paper_caption(" - ".join(words)) == " - ".join(words[:15]) + " -"


def test_every_form_of_a_caption():
    text = " The boy's T-shirt, red! "
    assert caption_as("plain", text) == "the boys t shirt red"
    assert caption_as("paper", text) == "the boy's t-shirt, red"
    assert caption_as("as_they_are", text) == "The boy's T-shirt, red!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cafe\u0301", "a caf\u00e9"),
        ("\ufeffa\u200b dog\u00ad\u2060", "a dog"),
        ("\u202ea dog\u202c \u2066runs\u2069\u200f", "a dog runs"),
        ("a do\u200dg\u200c", "a dog"),
        ("Auf\u200clage", "Auflage"),
        ("a\u3164dog\u2800runs", "a dog runs"),
        ("x\U000e0067\U000e0062 y", "x y"),
        ("e\u200b\u0301", "\u00e9"),
        # what joins or parts visibly stays: a family, a Persian verb, a conjunct of Devanagari, the flag of England
        *(
            (text, text)
            for text in (
                "\U0001f468\u200d\U0001f469\u200d\U0001f467 here",
                "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            )
        ),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        ),
        ("\u06dd\u0661", "\u06dd\u0661"),
    ],
)
def test_what_nobody_sees_goes_and_what_shapes_stays(text, expected):
    assert visible(text) == expected
    assert caption_as("as_they_are", text) == expected


@settings(deadline=None)
@given(st.text(), st.sampled_from(["plain", "paper", "as_they_are"]))
def test_captions_are_composed_and_doing_it_twice_changes_nothing(text, form):
    caption = caption_as(form, text)
    assert unicodedata.is_normalized("NFC", caption)
    assert visible(visible(text)) == visible(text)
    if form != "paper":  # whose cut after 30 words may end in a space
        assert caption_as(form, caption) == caption


def test_only_ends_of_lines_part_captions():
    assert caption_lines("a\nb\r\nc\rd\n\n \n") == ["a", "b", "c", "d"]
    assert caption_lines("a\u2028b\x0bc\x1ed\x85e") == ["a\u2028b\x0bc\x1ed\x85e"]
