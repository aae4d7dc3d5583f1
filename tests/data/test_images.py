import io
import struct
import zlib
from functools import partial

import pytest
from PIL import Image, ImageOps

from pairstill.core.errors import DataError
from pairstill.data import images

decode_rgb = partial(images.decode_rgb, background="white")


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_decodes_to_rgb():
    content = encoded(Image.new("L", (3, 2), 7), "PNG")
    image = decode_rgb(content)
    assert (image.mode, image.size, image.getpixel((2, 1))) == ("RGB", (3, 2), (7, 7, 7))


def test_a_palette_with_alpha_is_laid_on_the_background_without_a_warning():
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    image = decode_rgb(encoded(palette, "PNG", transparency=b"\x00\xff"))
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


@pytest.mark.parametrize(
    ("background", "below"), [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#0080ff", (0, 128, 255))]
)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_the_background(mode, background, below):
    image = Image.new("RGBA", (3, 1), (90, 90, 90, 0)).convert(mode)
    image.putpixel((1, 0), (90, 255) if mode == "LA" else (90, 90, 90, 255))
    image.putpixel((2, 0), (90, 51) if mode == "LA" else (90, 90, 90, 51))
    found = images.decode(encoded(image, "PNG"), background=background)
    assert [found.image.getpixel((x, 0)) for x in (0, 1)] == [below, (90, 90, 90)]
    assert all(abs(a - (0.2 * 90 + 0.8 * b)) <= 1 for a, b in zip(found.image.getpixel((2, 0)), below, strict=True))
    assert found.changed.startswith("on #")


def test_alpha_that_hides_nothing_changes_nothing():
    noise = Image.effect_noise((8, 8), 100).convert("RGB")
    found = images.decode(encoded(noise.convert("RGBA"), "PNG"), background="white")
    assert found.changed == "" and found.image.tobytes() == noise.tobytes()
    keyed = images.decode(encoded(noise, "PNG", transparency=(1, 2, 3)), background="white")
    assert keyed.changed == "" and keyed.image.tobytes() == noise.tobytes(), "no pixel has the colour that is clear"


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(10))
def test_photos_are_seen_upright_as_pillow_turns_them(form, orientation):
    photo, exif = Image.effect_noise((6, 4), 100).convert("RGB"), Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo, form, exif=exif)
    found = images.decode(content, background="white")
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert (found.image.size, found.image.tobytes()) == (expected.size, expected.tobytes())
    assert found.changed == ("upright" if 2 <= orientation <= 8 and form != "TIFF" else ""), "Pillow turns TIFF itself"
    again = images.decode(encoded(found.image, "PNG"), background="white")
    assert again.changed == "" and again.image.tobytes() == expected.tobytes(), "a copy is not turned once more"


def test_a_turned_photo_with_transparency_is_both():
    photo, exif = Image.new("RGBA", (6, 4), (0, 0, 0, 0)), Image.Exif()
    exif[0x0112] = 8
    found = images.decode(encoded(photo, "PNG", exif=exif), background="white")
    assert (found.changed, found.image.size, found.image.getpixel((0, 0))) == ("upright on #ffffff", (4, 6), (255,) * 3)


def test_nonsense_in_place_of_exif_turns_nothing():
    content = encoded(Image.new("RGB", (6, 4)), "JPEG", exif=b"Exif\0\0" + bytes(range(200)))
    assert images.decode(content, background="white").changed == ""


def test_takes_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert decode_rgb(content).getpixel((0, 0)) == (255, 0, 0)


def test_refuses_what_is_no_image():
    with pytest.raises(DataError, match="cannot be decoded .*no image format that Pillow knows"):
        decode_rgb(b"not an image")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP"])
def test_refuses_a_truncated_file(form):
    noise = Image.effect_noise((32, 32), 100).convert("RGB")
    content = encoded(noise, form)
    decode_rgb(content)
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_rgb(content[: len(content) // 2])


def test_limit_on_pixels_includes_the_limit():
    content = encoded(Image.new("RGB", (10, 10)), "PNG")
    assert decode_rgb(content, max_pixels=100).size == (10, 10)
    with pytest.raises(DataError, match=r"10 x 10 = 100, at most 99 are allowed.*data.max_pixels"):
        decode_rgb(content, max_pixels=99)


def png(*chunks):
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb(side):
    """A PNG whose header promises side x side pixels, with next to no data."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b""))


def test_refuses_a_decompression_bomb_from_its_header():
    with pytest.raises(DataError, match="has too many pixels"):
        decode_rgb(bomb(60_000), max_pixels=89_478_485)
    with pytest.raises(DataError, match="9000 x 9000 = 81000000, at most 1000000"):
        decode_rgb(bomb(9_000), max_pixels=1_000_000)


def test_refuses_wide_pixels_whose_range_is_not_known():
    with pytest.raises(DataError, match=r"has mode I;16.*convert it to 8-bit RGB"):
        decode_rgb(encoded(Image.new("I;16", (2, 2), 40_000), "TIFF"))


def wide_png(colour, samples):
    """A PNG of one pixel with 16 bits per channel."""
    line = b"\0" + b"".join(sample.to_bytes(2) for sample in samples)
    header = struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(line)), (b"IEND", b""))


@pytest.mark.parametrize(("colour", "samples"), [(0, [0xABCD]), (2, [0xABCD] * 3), (4, [0xABCD, 0xFFFF])])
def test_takes_the_upper_eight_of_sixteen_bits_in_grey_as_in_colour(colour, samples):
    image = decode_rgb(wide_png(colour, samples))
    assert (image.mode, image.getpixel((0, 0))) == ("RGB", (0xAB, 0xAB, 0xAB))


def test_every_byte_of_a_sixteen_bit_grey_png_is_where_it_belongs():
    wide = Image.frombytes("I;16", (2, 2), b"".join(value.to_bytes(2, "little") for value in (1, 256, 0x1234, 65535)))
    image = decode_rgb(encoded(wide, "PNG"))
    assert [image.getpixel((x, y)) for y in (0, 1) for x in (0, 1)] == [(v, v, v) for v in (0, 1, 0x12, 255)]


def test_refuses_a_png_whose_parts_fail_their_checksums():
    content = encoded(Image.effect_noise((16, 16), 100).convert("RGB"), "PNG")
    place = content.index(b"IDAT")
    after = place + 4 + int.from_bytes(content[place - 4 : place])
    for changed in (after, content.index(b"IEND") + 4):
        damaged = bytearray(content)
        damaged[changed] ^= 1
        with pytest.raises(DataError, match="cannot be decoded .*checksum of its part 'I(DAT|END)' does not match"):
            decode_rgb(bytes(damaged))


@pytest.mark.parametrize("cut", [1, 4, 8, 12])
def test_refuses_a_png_without_its_end(cut):
    content = encoded(Image.new("RGB", (2, 2)), "PNG")
    with pytest.raises(DataError, match="is cut short"):
        decode_rgb(content[:-cut])
    assert decode_rgb(content + b"what follows the end plays no part").size == (2, 2)
