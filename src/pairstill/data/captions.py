"""Captions as every encoder sees them."""

import unicodedata

from pairstill.config import MAX_CAPTION_WORDS

MAX_CAPTION_CHARACTERS = 100_000
"""A longer text is no caption; encoders would read all of it before they cut it."""

# Joining, not parting: "man's" becomes "mans", not the two words "man" and "s".
_APOSTROPHES = "'’`"


def normalise_caption(text: str) -> str:
    """Return `text` in lower case, without punctuation, with single spaces and at most 30 words.

    Apostrophes vanish; every other punctuation mark (and every symbol of ASCII, such as "$") becomes a space.
    Letters and signs of other scripts stay. The result may be empty. Normalising twice changes nothing.

    Example:
        >>> normalise_caption("A man's hat -- the RED one!")
        'a mans hat the red one'
    """
    kept = "".join(_replacement(character) for character in text.lower())
    return " ".join(kept.split()[:MAX_CAPTION_WORDS])


def _replacement(character: str) -> str:
    if character in _APOSTROPHES:
        return ""
    category = unicodedata.category(character)
    is_ascii_symbol = character.isascii() and category.startswith("S")
    return " " if category.startswith("P") or category == "Cc" or is_ascii_symbol else character
