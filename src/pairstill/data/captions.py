"""Captions as every encoder sees them."""

import re
import unicodedata
from typing import assert_never

from pairstill.config import MAX_CAPTION_WORDS, CaptionForm

MAX_CAPTION_CHARACTERS = 100_000
"""A longer text is no caption; encoders would read all of it before they cut it."""

# Joining, not parting: "man's" becomes "mans", not the two words "man" and "s".
_APOSTROPHES = "'’`"
_PAPERS_MARKS = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


def caption_as(form: CaptionForm, text: str) -> str:
    """Return a caption in one of the forms of `data.captions`; it may be empty, or nothing but white space.

    Args:
        form: the form.
        text: the caption as its source has it.
    """
    match form:
        case "plain":
            return plain_caption(text)
        case "paper":
            return paper_caption(text)
        case "as_they_are":
            return text.strip()
        case _:
            assert_never(form)


def plain_caption(text: str) -> str:
    """Return `text` in lower case, without punctuation, with single spaces and at most 30 words.

    Apostrophes vanish; every other punctuation mark (and every symbol of ASCII, such as "$") becomes a space.
    Letters and signs of other scripts stay. The result may be empty. Doing it twice changes nothing.

    Example:
        >>> plain_caption("A man's hat -- the RED one!")
        'a mans hat the red one'
    """
    return " ".join(text.lower().translate(_PLAIN).split()[:MAX_CAPTION_WORDS])


def paper_caption(text: str) -> str:
    """Return `text` as the code of arXiv 2603.25388 has it: lower case, ten marks as spaces, at most 30 words.

    The marks are `.!"()*#:;~`. Commas, hyphens, apostrophes, question marks and everything else stay. Only runs of
    white space become a single space, and words are what stands between spaces.

    Example:
        >>> paper_caption("A man's hat -- the RED one!")
        "a man's hat -- the red one"
    """
    spaced = re.sub(r"\s{2,}", " ", text.lower().translate(_PAPERS_MARKS))
    return " ".join(spaced.rstrip("\n").strip(" ").split(" ")[:MAX_CAPTION_WORDS])


class _Replacements(dict[int, str]):
    """What each character becomes in a plain caption, found out when it is first met: large sets have few of them."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        is_ascii_symbol = character.isascii() and category.startswith("S")
        if character in _APOSTROPHES:
            self[code] = ""
        else:
            self[code] = " " if category.startswith("P") or category == "Cc" or is_ascii_symbol else character
        return self[code]


_PLAIN = _Replacements()
