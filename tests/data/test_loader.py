import pytest
import torch
from PIL import Image

from pairstill.core.errors import DataError
from pairstill.data.loader import normalise, read_image, read_images


def test_read_image_puts_channels_first_and_rows_before_columns(tmp_path):
    image = Image.new("RGB", (2, 2))
    image.putpixel((1, 0), (10, 20, 30))  # right, top
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 2)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 2, 2)
    assert pixels[:, 0, 1].tolist() == [10, 20, 30]
    assert pixels.sum() == 60


def test_read_image_squashes_instead_of_cropping(tmp_path):
    # Left half red, right half blue, twice as wide as high: both halves must survive.
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 16)
    assert pixels[:, :, 0].T.unique(dim=0).tolist() == [[255, 0, 0]]
    assert pixels[:, :, 15].T.unique(dim=0).tolist() == [[0, 0, 255]]


def test_read_image_is_bicubic(tmp_path):
    image = Image.effect_noise((9, 7), 80).convert("RGB")
    image.save(tmp_path / "a.png")
    expected = image.resize((5, 5), Image.Resampling.BICUBIC)
    pixels = read_image(tmp_path / "a.png", 5)
    assert [[pixels[:, y, x].tolist() == list(expected.getpixel((x, y))) for x in range(5)] for y in range(5)] == [
        [True] * 5
    ] * 5


@pytest.mark.parametrize("content", [None, b"no image"])
def test_read_image_names_the_file(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"image {path} .*build the manifest again"):
        read_image(path, 4)


def test_normalise_by_hand():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    result = normalise(images, mean=(0.0, 0.2, 0.5), std=(1.0, 0.1, 0.25))
    torch.testing.assert_close(result, torch.tensor([0.0, 0.0, 2.0]).reshape(1, 3, 1, 1))
    assert result.dtype == torch.float32


def test_normalise_takes_floats_as_they_are():
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    torch.testing.assert_close(normalise(images.float() / 255, mean, std), normalise(images, mean, std))
    torch.testing.assert_close(normalise(images[0], mean, std), normalise(images, mean, std)[0])


@pytest.fixture
def numbered(tmp_path, make_image):
    """Five images whose red channel is ten times their number."""
    return [make_image(tmp_path / f"{number}.png", colour=(10 * number, 0, 0)) for number in range(5)]


def test_many_images_keep_their_order(numbered):
    pixels = read_images(numbered, 4)
    assert pixels.shape == (5, 3, 4, 4) and pixels.dtype == torch.uint8
    assert pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]


def test_no_images(tmp_path):
    assert read_images([], 4).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"damaged")])
def test_an_error_names_the_file_also_from_a_thread(numbered, damage):
    damage(numbered[3])
    with pytest.raises(DataError, match=f"image {numbered[3]} cannot be"):
        read_images(numbered, 4)
