import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairstill.data.captions import normalise_caption


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
    assert normalise_caption(text) == expected


def test_keeps_thirty_words_and_cuts_the_thirty_first():
    words = [f"w{number}" for number in range(31)]
    assert normalise_caption(" ".join(words[:30])) == " ".join(words[:30])
    assert normalise_caption(" ".join(words)) == " ".join(words[:30])


@settings(deadline=None)
@given(st.text())
def test_result_is_a_fixed_point_in_single_spaces(text):
    result = normalise_caption(text)
    assert normalise_caption(result) == result
    assert result == " ".join(result.split())
    assert len(result.split()) <= 30


@settings(deadline=None)
@given(st.text(alphabet=string.printable))
def test_ascii_text_keeps_only_lower_case_letters_and_digits(text):
    assert set(normalise_caption(text)) <= set(string.ascii_lowercase + string.digits + " ")
