"""Decoding of image files, in one place, so that what was checked is what is trained on."""

import io
import zlib
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from pairstill.core.errors import DataError

_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_COLOURS = {"white": "#ffffff", "black": "#000000"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation; Pillow rotates to the left."""


@dataclass(frozen=True)
class Decoded:
    """The picture that an image file's bytes hold.

    Attributes:
        image: as 8-bit RGB, upright and without transparency.
        changed: what was done to the file's pixels, such as "upright on #ffffff"; empty if nothing was.
    """

    image: Image.Image
    changed: str = ""


def decode_rgb(content: bytes, *, background: str = "white", max_pixels: int | None = None) -> Image.Image:
    """Return the picture that an image file's bytes hold, as 8-bit RGB; see `decode`."""
    return decode(content, background=background, max_pixels=max_pixels).image


def decode(content: bytes, *, background: str, max_pixels: int | None = None) -> Decoded:
    """Return the picture that an image file's bytes hold.

    It is turned as its EXIF or XMP orientation says, as viewers do; one that cannot be read says nothing. What is
    transparent is laid on the background. Of an animation the first frame is taken. Of PNG with 16 bits per channel the
    upper 8 are taken, in grey as in colour.

    Args:
        content: the whole file.
        background: `white`, `black` or `#rrggbb`, see `data.background`.
        max_pixels: refuse pictures with more pixels than this; the size is read from the header, before any
            pixel is decoded. Pillow's own limit (twice 89,478,485) always holds.

    Raises:
        DataError: the bytes are no image, are cut short, fail a checksum of PNG, hold too many pixels, or more than 8
            bits per channel whose range is not known.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_header(image, max_pixels)
            if image.format == "PNG":
                _check_chunks(content)
            image.load()
            rgb, on = _opaque(image, _COLOURS.get(background, background))
            turn = _turn(image)
            if turn is not None:
                rgb = rgb.transpose(turn)
                rgb.info = {}  # or a copy that is written would be turned once more
            return Decoded(rgb, " ".join(part for part in ("" if turn is None else "upright", on) if part))
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"has too many pixels ({error}); scale it down") from error
    except UnidentifiedImageError as error:
        raise DataError("cannot be decoded (it is in no image format that Pillow knows)") from error
    except Exception as error:  # decoders raise whatever their parser stumbles on: SyntaxError, struct.error, ...
        raise DataError(f"cannot be decoded ({error})") from error


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes a loaded picture upright, if it is not."""
    # Asked after the pixels are read: Pillow turns TIFF by itself then, and takes the orientation away.
    with suppress(Exception):  # nonsense in place of EXIF spoils no pixel
        return _TURNS.get(image.getexif().get(Base.Orientation, 0))
    return None


def _opaque(image: Image.Image, background: str) -> tuple[Image.Image, str]:
    """Return a loaded picture as RGB, and "on COLOUR" if anything of that colour shows through it."""
    if image.mode == "I;16":
        return Image.frombytes("L", image.size, image.tobytes("raw", "I;16B")[::2]).convert("RGB"), ""
    if not image.has_transparency_data:
        return image.convert("RGB"), ""
    # A palette with per-entry alpha cannot go to RGB in one step without a warning.
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema()[0] == 255:
        return rgba.convert("RGB"), ""
    below = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(below, rgba).convert("RGB"), f"on {background}"


def _check_header(image: Image.Image, max_pixels: int | None) -> None:
    pixels = image.width * image.height
    if max_pixels is not None and pixels > max_pixels:
        raise DataError(
            f"has too many pixels ({image.width} x {image.height} = {pixels}, at most {max_pixels} are allowed); "
            "scale it down or raise data.max_pixels"
        )
    if image.mode in _WIDE_MODES and not (image.mode == "I;16" and image.format == "PNG"):
        raise DataError(f"has mode {image.mode}, more than 8 bits per channel; convert it to 8-bit RGB")


def _check_chunks(content: bytes) -> None:
    """Refuse a PNG whose parts fail their checksums or which has no end: Pillow does not check those of the pixels."""
    view, at, kind = memoryview(content), 8, b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if at + 12 > len(view) or end > len(view):
            raise DataError("cannot be decoded (it is cut short)")
        kind = bytes(view[at + 4 : at + 8])
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise DataError(f"cannot be decoded (the checksum of its part {kind.decode('latin-1')!r} does not match)")
        at = end
