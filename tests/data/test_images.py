import io
import struct
import zlib

import pytest
from PIL import Image

from pairstill.core.errors import DataError
from pairstill.data.images import decode_rgb


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_decodes_to_rgb():
    content = encoded(Image.new("L", (3, 2), 7), "PNG")
    image = decode_rgb(content)
    assert (image.mode, image.size, image.getpixel((2, 1))) == ("RGB", (3, 2), (7, 7, 7))


def test_drops_transparency_of_a_palette_without_a_warning():
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert decode_rgb(encoded(palette, "PNG", transparency=b"\x00\xff")).getpixel((0, 0)) == (10, 20, 30)


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
