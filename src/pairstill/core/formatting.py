"""How messages and pages count things and name what is near."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

SHOWN_NAMES = 3
NEAR, MARGIN = 0.7, 0.15
"""Names are shown that are at least as alike as this, where 1 is the same, and not much less alike than the best."""


def counted(number: int, thing: str) -> str:
    """Return how many things there are, in words.

    Example:
        >>> counted(1, "student"), counted(7500, "pair")
        ('1 student', '7,500 pairs')
    """
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Return a time for people.

    Example:
        >>> duration(4.21), duration(59.96), duration(75), duration(7384)
        ('4.2 s', '1 min 0 s', '1 min 15 s', '2 h 3 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_UNSEEN = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    # the second set of controls, marks that turn the order of what follows, halves of characters
    **dict.fromkeys(
        (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)), 0xFFFD
    ),
}


def printable(text: str) -> str:
    r"""Return a text of strangers with signs in place of what terminals and pages would act on; new lines stay.

    Example:
        >>> printable("a \x1b[31mred\x07 dog")
        'a ␛[31mred␇ dog'
    """
    return text.translate(_UNSEEN)


def human_bytes(count: int) -> str:
    """Return a byte count for people.

    Example:
        >>> human_bytes(123), human_bytes(2_500_000)
        ('123 B', '2.5 MB')
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if round(value, 1) < 1000:
            break
        value, unit = value / 1000, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def with_spread(mean: float | None, spread: float | None) -> str:
    """Return a mean and its spread, as far as there is one; nothing without a mean.

    Example:
        >>> with_spread(32.64, 0.25), with_spread(32.64, None), with_spread(None, None)
        ('32.6 ± 0.2', '32.6', '')
    """
    return "" if mean is None else f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}")


def nearest(name: str, names: Iterable[str] | Mapping[str, str]) -> list[str]:
    """Return the names that are most like one, the most alike first: as a whole, and in what follows the last dot.

    Args:
        name: what was got.
        names: what is allowed, perhaps with how it is shown.

    Example:
        >>> nearest("distil.inner_step", ["distill.inner_steps", "distill.ema", "device"])
        ['distill.inner_steps']
        >>> nearest("epochs", {"teacher.epochs": "--teacher.epochs", "seed": "--seed"})
        ['--teacher.epochs']
    """
    shown = names if isinstance(names, Mapping) else {each: each for each in names}
    scores = {each: _likeness(name, each) for each in shown}
    best = sorted(scores, key=lambda each: -scores[each])[:SHOWN_NAMES]
    return [shown[each] for each in best if scores[each] >= max(NEAR, scores[best[0]] - MARGIN)]


def _likeness(name: str, other: str) -> float:
    last, other_last = name.rpartition(".")[2], other.rpartition(".")[2]
    return (SequenceMatcher(None, name, other).ratio() + SequenceMatcher(None, last, other_last).ratio()) / 2


def did_you_mean(names: Iterable[str]) -> str:
    """Return a question about the names that are near to one that does not exist, as the end of a sentence.

    Example:
        >>> did_you_mean(["lors"]), did_you_mean([])
        ('; did you mean lors?', '.')
    """
    names = list(names)
    return f"; did you mean {' or '.join(names)}?" if names else "."
