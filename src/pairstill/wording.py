"""How messages and pages count things."""


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
