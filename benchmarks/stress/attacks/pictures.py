"""Picture files of every kind, whole and damaged, in place of one that a listing names."""

import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from attacks.attack import BYTES, PLACES, Attack, Base, Step, damage
from attacks.datasets_made import PAIRS, encoded, listing, picture, prepare, write_listing, write_pictures

KIND = "pictures"
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
CHECKED = ("PNG",)
"""Formats whose pixels carry a checksum, so that every flip is found."""


def pictures(base: Base) -> list[Attack]:
    """Return the attacks by pictures."""

    def put(content: bytes, bad: str, folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        (folder / "user" / "images" / "p0.png").write_bytes(content)
        return _prepare(folder, bad)

    def placed(how: str, bad: str, folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        damage(folder / "user" / "images" / "p0.png", how, folder / "outside")
        return _prepare(folder, bad)

    found = []
    for form in FORMATS:
        content = encoded(0, form)
        for how, change in BYTES.items():
            must = form in CHECKED and how.startswith(("cut in", "flipped")) or how in ("emptied", "null", "{}", "[]")
            make = partial(put, change(content), "error")
            found.append(Attack(KIND, f"{form} {how}", make, samples=PAIRS, ends=(1,) if must else None))
    for how in PLACES:
        for bad in ("error", "drop"):
            ends = (1,) if bad == "error" else None
            found.append(Attack(KIND, f"{how} ({bad})", partial(placed, how, bad), samples=PAIRS, ends=ends))
    for name, (content, ends) in _odd().items():
        found.append(Attack(KIND, name, partial(put, content, "error"), samples=PAIRS, ends=ends))
    return found


def _prepare(folder: Path, bad: str) -> list[Step]:
    name = write_listing(folder / "user", "jsonl", listing("jsonl"))
    return [prepare(folder, "table", f"--data.annotations={name}", "--data.images=images", f"--data.on_bad_pair={bad}")]


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


class _Runs:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ../outside/pwned",)


def _odd() -> dict[str, tuple[bytes, tuple[int, ...] | None]]:
    """Return pictures that are rare, too large or none, with the statuses that are right."""
    plain, done, refused = picture(0), (0,), (1,)
    grey = np.random.default_rng(0).integers(0, 65536, (24, 24), np.uint16)
    frames = [picture(number) for number in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(0)
    at = whole.index(b"IDAT") + 4 + 20
    start = whole.index(b"IDAT")
    length = struct.unpack(">I", whole[start - 4 : start])[0]
    wrong_sum = bytearray(whole)
    wrong_sum[start + 4 + length] ^= 0xFF
    flipped = bytearray(whole)
    flipped[at] ^= 1
    stored = zlib.compress(b"".join(b"\0" + bytes(72) for _ in range(24)), 0)
    spoiled = bytearray(_png(24, 24, stored))
    spoiled[spoiled.index(b"IDAT") + 4 + 100] ^= 0x10  # a pixel: the stream still unpacks
    return {
        "16-bit grey PNG": (_saved(Image.fromarray(grey), "PNG"), done),
        "16-bit grey TIFF": (_saved(Image.fromarray(grey), "TIFF"), None),
        "grey": (_saved(plain.convert("L"), "PNG"), done),
        "one bit": (_saved(plain.convert("1"), "PNG"), done),
        "palette": (_saved(plain.convert("P"), "PNG"), done),
        "palette with transparency": (_saved(plain.convert("P"), "PNG", transparency=0), None),
        "alpha": (_saved(plain.convert("RGBA"), "PNG"), None),
        "CMYK": (_saved(plain.convert("CMYK"), "JPEG"), None),
        "floats": (_saved(Image.fromarray(np.ones((24, 24), np.float32)), "TIFF"), refused),
        "NaN": (_saved(Image.fromarray(np.full((24, 24), np.nan, np.float32)), "TIFF"), refused),
        "32-bit integers": (_saved(Image.fromarray(np.full((24, 24), 2**30, np.int32)), "TIFF"), refused),
        "moving GIF": (_saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), None),
        "moving PNG": (_saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), None),
        "turned by EXIF": (_saved(plain, "JPEG", exif=exif), done),
        "EXIF of nonsense": (_saved(plain, "JPEG", exif=b"Exif\0\0" + bytes(range(200))), None),
        "one pixel": (_saved(plain.resize((1, 1)), "PNG"), done),
        "one row": (_saved(plain.resize((3000, 1)), "PNG"), done),
        "no pixels": (_png(0, 0, zlib.compress(b"")), refused),
        "bomb of 10^8 pixels": (_png(10_000, 10_000, zlib.compress(bytes(1000))), refused),
        "bomb of 2^62 pixels": (_png(2**31 - 1, 2**31 - 1, zlib.compress(bytes(1000))), refused),
        "bomb of a text": (
            _png(24, 24, stored, _chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(80_000_000), 1))),
            refused,
        ),
        "PNG whose pixels fail their checksum": (bytes(spoiled), refused),
        "PNG whose stream fails": (bytes(flipped), refused),
        "PNG with a wrong sum alone": (bytes(wrong_sum), refused),
        "PNG without an end": (whole[: whole.index(b"IEND") - 4], None),
        "PNG and more": (whole + b"more" * 100, None),
        "two PNGs": (whole + encoded(1), None),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', refused),
        "HTML": (b"<html><script>alert(1)</script></html>", refused),
        "a pickle": (pickle.dumps(_Runs()), refused),
        "an array": (b"\x93NUMPY\x01\0" + bytes(200), refused),
        "a PostScript program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\n", refused),
    }
