"""Decoding of image files, in one place, so that what was checked is what is trained on."""

import io

from PIL import Image, UnidentifiedImageError

from pairstill.errors import DataError

_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def decode_rgb(content: bytes, *, max_pixels: int | None = None) -> Image.Image:
    """Return the picture that an image file's bytes hold, as 8-bit RGB.

    Transparency is dropped and the EXIF orientation ignored, as in the authors' code. Of an animation the first
    frame is taken.

    Args:
        content: the whole file.
        max_pixels: refuse pictures with more pixels than this; the size is read from the header, before any
            pixel is decoded. Pillow's own limit (twice 89,478,485) always holds.

    Raises:
        DataError: the bytes are no image, are cut short, hold too many pixels, or more than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_header(image, max_pixels)
            image.load()
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
    if image.mode in _WIDE_MODES:
        raise DataError(f"has mode {image.mode}, more than 8 bits per channel; convert it to 8-bit RGB")
