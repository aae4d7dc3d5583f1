"""Explicit random generators, derived from named parts so that no work depends on what ran before it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on every part and on their order.

    Example:
        >>> derive_seed(0, "teacher", 1) == derive_seed(0, "teacher", 1)
        True
        >>> derive_seed(0, "teacher", 1) == derive_seed(0, "teacher", 2)
        False
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `derive_seed(*parts)`.

    Every draw of pairstill is made on the CPU and moved, so that the same seed means the same draw on any device.
    """
    return torch.Generator().manual_seed(derive_seed(*parts))


@contextmanager
def seeded_globally(*parts: int | str) -> Iterator[None]:
    """Seed the library's global CPU generator inside the block, and put its state back afterwards.

    For code of other libraries that takes no generator (parameter initialisation, augmentation).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(*parts))
        yield
