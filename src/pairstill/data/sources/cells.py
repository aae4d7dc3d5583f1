"""Captions as cells hold them: one or a list, in one column or in several, as values or written out as text."""

import ast
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

_STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_STRINGS = re.compile(_STRING, re.DOTALL)
_LIST = re.compile(rf"\[\s*(?:{_STRING}\s*(?:,\s*{_STRING}\s*)*,?\s*)?\]", re.DOTALL)
_TUPLE = re.compile(rf"\(\s*{_STRING}\s*,\s*(?:{_STRING}\s*(?:,\s*{_STRING}\s*)*,?\s*)?\)", re.DOTALL)
_BEGINS_AS_LIST = re.compile(r"""\[\s*(?:["']|\]\Z|(?:None|null|nan|NaN)\s*[,\]])""")


def written_out(text: str) -> list[str] | None:
    """Return the captions of a list that was stored as text, as JSON or as Python writes it; None of any other text.

    Raises:
        ValueError: it begins as such a list and is none; the message is the end of a sentence about it.

    Example:
        >>> written_out('["two guys", "two men"]'), written_out("a [red] dog")
        (['two guys', 'two men'], None)
    """
    text = text.strip()
    if text[:1] not in ("[", "("):
        return None
    if _LIST.fullmatch(text) or _TUPLE.fullmatch(text):
        return [_value(literal) for literal in _STRINGS.findall(text)]
    if _BEGINS_AS_LIST.match(text):
        raise ValueError(
            'begins as a list that was stored as text, and is none; write it whole, as JSON: ["one caption", "another"]'
        )
    return None


def _value(literal: str) -> str:
    """Return the text that a string of JSON or Python stands for."""
    if literal.startswith('"') and r"\/" in literal:
        literal = literal.replace(r"\/", "/")  # which JSON may write so, and Python does not know
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python leaves as they are
            value = str(ast.literal_eval(literal))
        return value.encode("utf-16", "surrogatepass").decode("utf-16")  # JSON writes two halves for one sign
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"is a list stored as text with a string that cannot be read ({error})") from error


def all_captions(value: Any) -> Any:
    """Return the captions of a cell as a list, those of lists that were stored as text one by one.

    What is neither a text nor a list of texts is returned as it is.

    Raises:
        ValueError: a text begins as a list and is none.
    """
    if isinstance(value, str):
        return [value] if (found := written_out(value)) is None else found
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return [caption for each in value for caption in all_captions(each)]
    return value


def caption_columns(named: str, present: Iterable[str]) -> list[str]:
    """Return the columns that hold captions, in their order; none if one that is named is not there.

    Args:
        named: a column; or several, with `;` between them, in which `*` stands for anything.
        present: the columns that are there.

    Example:
        >>> caption_columns("caption_*", ["image", "caption_0", "caption_1"])
        ['caption_0', 'caption_1']
    """
    present = list(present)
    if named in present:
        return [named]
    patterns = [_pattern(part.strip()) for part in named.split(";")]
    if not all(any(pattern.fullmatch(name) for name in present) for pattern in patterns):
        return []
    return [name for name in present if any(pattern.fullmatch(name) for pattern in patterns)]


def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, part.split("*"))), re.DOTALL)


def numbered(named: str, present: Iterable[str]) -> str:
    """Return what to ask for where a column is not there but `caption_0`, `caption_1` and so on are, as a sentence."""
    found = [name for name in present if re.fullmatch(rf"{re.escape(named)}s?[ _.-]?\d+", name)]
    if not found:
        return ""
    start = re.sub(r"\d+\Z", "", found[0])
    return f" For {found[0]!r} to {found[-1]!r} it is '{start}*'."


def together(cells: Sequence[Any]) -> Any:
    """Return the cells of several columns as one: those that are empty hold no caption."""
    if len(cells) == 1:
        return cells[0]
    full = [cell for cell in cells if cell is not None and not (isinstance(cell, str) and not cell.strip())]
    return [one for cell in full for one in (cell if isinstance(cell, list | tuple) else [cell])]
