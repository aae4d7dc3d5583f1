"""Decoding of image files, in one place, so that what was checked is what is trained on."""

import io
import zlib

from PIL import Image, UnidentifiedImageError

from pairstill.core.errors import DataError

_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def decode_rgb(content: bytes, *, max_pixels: int | None = None) -> Image.Image:
    """Return the picture that an image file's bytes hold, as 8-bit RGB.

    Transparency is dropped and the EXIF orientation ignored, as in the authors' code. Of an animation the first
    frame is taken. Of PNG with 16 bits per channel the upper 8 are taken, in grey as in colour.

    Args:
        content: the whole file.
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
            if image.mode == "I;16":
                return Image.frombytes("L", image.size, image.tobytes("raw", "I;16B")[::2]).convert("RGB")
            if "transparency" in image.info:
                # A palette with per-entry alpha cannot go to RGB in one step without a warning.
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"has too many pixels ({error}); scale it down") from error
    except UnidentifiedImageError as error:
        raise DataError("cannot be decoded (it is in no image format that Pillow knows)") from error
    except Exception as error:  # decoders raise whatever their parser stumbles on: SyntaxError, struct.error, ...
        raise DataError(f"cannot be decoded ({error})") from error


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
