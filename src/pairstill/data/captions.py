"""Captions as every encoder sees them."""

import re
import sys
import unicodedata
from functools import cache
from typing import assert_never

from pairstill.config import MAX_CAPTION_WORDS, CaptionForm

MAX_CAPTION_CHARACTERS = 100_000
"""A longer text is no caption; encoders would read all of it before they cut it."""

# Joining, not parting: "man's" becomes "mans", not the two words "man" and "s".
_APOSTROPHES = "'’`"
_PAPERS_MARKS = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))

# Signs of Unicode's class "format" that are seen or shape what is written: Arabic number signs, the Mongolian vowel
# separator, Kaithi numbers, hieroglyphs in their squares, shorthand and music.
_SEEN_FORMATS = ((0x600, 0x605), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2), (0x180E, 0x180E),
                 (0x110BD, 0x110CD), (0x13430, 0x1345F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A))  # fmt: skip
_BLANK_LETTERS = "\u3164\uffa0\u2800"
"""Two fillers of Hangul and the empty cell of Braille: letters by their class, and nothing to see."""
# A joiner or non-joiner between two signs that are no ASCII shapes them (an emoji of a family, a Persian plural); a tag
# after an emoji is the name of a flag. Anywhere else nobody sees them.
_STRAY = re.compile(
    "(?<![^\\x00-\\x7f\\s])[\u200c\u200d]|[\u200c\u200d](?![^\\x00-\\x7f\\s\u200c\u200d])"
    "|(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007f]+"
)
_MISSING = frozenset(("nan", "none", "null", "n/a", "#n/a", "na", "<na>", "nat"))


def caption_as(form: CaptionForm, text: str) -> str:
    """Return a caption in one of the forms of `data.captions`; it may be empty, or nothing but white space.

    Args:
        form: the form, which is given to what `visible` leaves of the text.
        text: the caption as its source has it.
    """
    text = visible(text)
    match form:
        case "plain":
            written = plain_caption(text)
        case "paper":
            written = paper_caption(text)
        case "as_they_are":
            written = text.strip()
        case _:
            assert_never(form)
    # what a form takes away may have stood between a letter and its accent
    return written if written.isascii() else unicodedata.normalize("NFC", written)


def visible(text: str) -> str:
    """Return `text` in Unicode's form NFC, without characters that nobody sees.

    Two captions that look the same are then the same. Zero-width spaces, soft hyphens, byte order marks, and marks and
    overrides of the direction go. Joiners stay between two signs that are no ASCII, where they shape them: emoji of
    several parts, Persian and Indic scripts. Letters that are blank become spaces.

    Example:
        >>> visible("a cafe\u0301\u200b with a\u00ad\ufeff dog")
        'a café with a dog'
    """
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text.translate(_unseen()))
    return unicodedata.normalize("NFC", _STRAY.sub("", composed))


@cache
def _unseen() -> dict[int, str | None]:
    """Return what becomes of each character that nobody sees: nothing, or a space."""
    kept = {code for first, last in _SEEN_FORMATS for code in range(first, last + 1)}
    kept |= {0x200C, 0x200D, *range(0xE0020, 0xE0080)}
    formats = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf")
    return {**{code: None for code in formats if code not in kept}, **{ord(blank): " " for blank in _BLANK_LETTERS}}


def stands_for_nothing(text: str) -> bool:
    """Return whether a caption is a word that tables write where a value is missing.

    Example:
        >>> [stands_for_nothing(text) for text in ("nan", " None ", "null", "a nan and her dog")]
        [True, True, True, False]
    """
    return text.strip().lower() in _MISSING


def caption_lines(text: str) -> list[str]:
    r"""Return the lines of a text whose lines are captions, without those that are blank.

    Only what ends lines in files does: Unicode's own separators, and the signs that ASCII once had for it, may stand
    within a caption.

    Example:
        >>> caption_lines("a dog\r\n\n two\u2028lines\n")
        ['a dog', ' two\u2028lines']
    """
    return [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]


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
