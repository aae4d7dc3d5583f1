"""What a search found, as one HTML page or as rows of characters."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pairstill.core.formatting import printable
from pairstill.data.images import decode_rgb
from pairstill.report.pictures import data_uri

THUMBNAIL = 256
_STYLE = "body{font-family:sans-serif;margin:2em}figure{display:inline-block;margin:.5em}figcaption{max-width:16em}"


def hits_page(query: str, hits: Sequence[tuple[Path, float]]) -> str:
    """Return a page of photos with their scores, best first, which needs no other file.

    Args:
        query: what was searched for.
        hits: photos and scores.
    """
    title = escape(printable(query))
    figures = [
        f'<figure><img alt="" src="{data_uri(_pixels(path), THUMBNAIL)}">'
        f"<figcaption>{score:.3f} {escape(printable(path.name))}</figcaption></figure>"
        for path, score in hits
    ]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{title}</h1>{"".join(figures)}</body></html>\n'


def thumbnail(path: Path, columns: int) -> list[str]:
    """Return a photo as lines of half blocks in 24-bit colours of a terminal, `columns` wide."""
    photo = decode_rgb(path.read_bytes())
    rows = max(1, round(columns * photo.height / photo.width / 2))
    small = photo.resize((columns, 2 * rows), Image.Resampling.BICUBIC)

    def cell(x: int, y: int) -> str:
        above, below = (small.getpixel((x, 2 * y + more)) for more in (0, 1))
        return f"\x1b[38;2;{_colour(above)};48;2;{_colour(below)}m▀"

    return ["".join(cell(x, y) for x in range(columns)) + "\x1b[0m" for y in range(rows)]


def _colour(pixel: object) -> str:
    assert isinstance(pixel, tuple)
    return ";".join(map(str, pixel))


def _pixels(path: Path) -> Tensor:
    photo = decode_rgb(path.read_bytes())
    photo.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1)
