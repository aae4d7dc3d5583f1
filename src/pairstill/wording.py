"""How messages and pages count things."""


def counted(number: int, thing: str) -> str:
    """Return how many things there are, in words.

    Example:
        >>> counted(1, "student"), counted(7500, "pair")
        ('1 student', '7,500 pairs')
    """
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
