"""The hub where it cannot be reached: what was fetched before is found on the disk, and nothing else is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0
"""Seconds for the hub to answer; its own library would ask again and again, for most of a minute."""


@contextmanager
def without_waiting(*, asks: bool = True, endpoint: str | None = None) -> Iterator[None]:
    """Take the hub for offline in the block unless it answers at once.

    Args:
        asks: whether the block needs anything of it.
        endpoint: its address, if it is not the one that its own library asks.
    """
    if not asks:
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(endpoint or constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    """Return whether anything answers there, through a proxy where there is one."""
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except Exception:  # of whichever library it asks with
        return False
    return True
