"""What every setting keeps to, whatever it means: numbers are finite and can be counted to, text can be written.

A size beyond these bounds is against no rule of the maths; the memory would refuse it, and name no setting.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from pairstill.config.checks import require

MOST = {
    "threads": 1024,
    "size": 2048,
    "width": 16_384,
    "text_width": 16_384,
    "max_tokens": 100_000,
    "rank": 16_384,
    **dict.fromkeys(("batch_size", "batch", "micro_batch", "stretches", "trajectories_per_step"), 100_000),
    **dict.fromkeys(("inner_steps", "num_students", "num_experts", "experts", "rounds", "clusters"), 100_000),
    **dict.fromkeys(("num_pairs", "pairs", "min_pairs", "max_phases", "frequencies"), 1_000_000),
    **dict.fromkeys(("epochs", "full_epochs", "endpoint", "range_start", "range_end", "matching_span"), 1_000_000),
    **dict.fromkeys(("train", "val", "test", "images"), 10_000_000),
    "max_pixels": 10**12,
}
"""The largest value of settings that sizes or counts depend on, by the last part of their names."""
MOST_OF_ALL = 10**9
SEED = 2**63
LONGEST_NAME, LONGEST_PATH = 255, 4000


def check_bounds(settings: Any, owner: str = "") -> None:
    """Refuse settings that no machine can take, and name the first.

    Args:
        settings: a dataclass of settings, with those inside it.
        owner: the dotted name that they are below, or an empty word.

    Raises:
        ConfigError: a number is not finite or beyond its bound, or a text cannot be written or is no name of a file.

    Example:
        >>> from pairstill.config import TeacherConfig
        >>> check_bounds(TeacherConfig(), "teacher")
    """
    for field in fields(settings):
        name = f"{owner}.{field.name}" if owner else field.name
        value = getattr(settings, field.name)
        for number, entry in enumerate(value if isinstance(value, tuple) else (value,)):
            _check(f"{name}[{number}]" if isinstance(value, tuple) else name, field.name, entry)


def _check(name: str, last: str, value: Any) -> None:
    if is_dataclass(value):
        check_bounds(value, name)
    elif isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, float):
        require(math.isfinite(value), f"{name} is {value}; it must be finite")
    elif isinstance(value, int):
        if last.endswith("seed") or ".seeds." in f".{name}":
            require(-SEED <= value < SEED, f"{name} is {value}; a seed must be a whole number of 64 bits")
        else:
            most = MOST.get(last, MOST_OF_ALL)
            require(value <= most, f"{name} is {value}; it must be at most {most:,}")


def _check_text(name: str, value: str) -> None:
    """Refuse a text that cannot be written as UTF-8, or not be the name of a file: most settings in words are paths."""
    require("\0" not in value, f"{name} is {value!r}, which holds a NUL; leave it out")
    try:
        parts = value.encode().split(b"/")
    except UnicodeEncodeError:
        require(condition=False, message=f"{name} is {ascii(value)}, which is no UTF-8; rename it")
        return
    require(
        len(value) <= LONGEST_PATH and max(map(len, parts)) <= LONGEST_NAME,
        f"{name} has {len(value):,} characters, beginning with {value[:40]!r}; a name may have {LONGEST_NAME} bytes, "
        f"and a path {LONGEST_PATH:,}",
    )
