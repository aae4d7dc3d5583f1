"""Patterns of file names with braces, as shards are often given: `train-{000..003}.tar`."""

import re

MAX_NAMES = 100_000
_BRACES = re.compile(r"\{(?:(\d{1,9})\.\.(\d{1,9})|([^{}]*,[^{}]*))\}")


def expand_braces(pattern: str, *, most: int = MAX_NAMES) -> list[str]:
    """Return what a pattern stands for: ranges of numbers and lists in braces are written out, all else stays.

    A range has as many digits as its ends where one of them begins with a zero.

    Raises:
        ValueError: there are more than `most` names.

    Example:
        >>> expand_braces("train-{08..10}.tar"), expand_braces("{a,b}-*.tar")
        (['train-08.tar', 'train-09.tar', 'train-10.tar'], ['a-*.tar', 'b-*.tar'])
    """
    done, pending = [], [pattern]
    while pending:
        now = pending.pop()
        match = _BRACES.search(now)
        if match is None:
            done.append(now)
            continue
        if match[3] is None and abs(int(match[2]) - int(match[1])) + len(done) + len(pending) >= most:
            raise ValueError(f"it stands for more than {most} names")
        choices = match[3].split(",") if match[3] is not None else _numbers(match[1], match[2])
        pending += [f"{now[: match.start()]}{choice}{now[match.end() :]}" for choice in reversed(choices)]
        if len(done) + len(pending) > most:
            raise ValueError(f"it stands for more than {most} names")
    return done


def _numbers(first: str, last: str) -> list[str]:
    low, high = int(first), int(last)
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}d}" for number in range(min(low, high), max(low, high) + 1)]
