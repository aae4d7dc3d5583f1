from pathlib import Path

import pytest
import torch
from PIL import Image

from pairstill.config import PhaseConfig
from pairstill.core.errors import DataError
from pairstill.core.schema import ImageRecord
from pairstill.data.loader import normalise, read_image
from pairstill.data.manifest import Manifest
from pairstill.distill.initial import (
    InitialPairs,
    draw_glossary,
    draw_pairs,
    initial_pairs,
    noise_like,
    pixel_range,
    real_pairs,
)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def manifest(tmp_path):
    """Eight training images of one colour each, with two captions, and a test image that must not be drawn."""
    records = []
    for number in range(8):
        Image.new("RGB", (6, 6), (20 * number, 255 - 20 * number, 7)).save(tmp_path / f"{number}.png")
        records.append(ImageRecord(f"{number}.png", (f"caption {number} a", f"caption {number} b"), "train"))
    records.insert(3, ImageRecord("other.png", ("another",), "test"))
    return Manifest.of_records(tmp_path / "pairs.arrow", "test", Path(tmp_path), records, [""] * 9)


@pytest.mark.parametrize("sizes", [[8], [3, 5], [1, 1, 1], [2, 2]])
def test_draws_are_disjoint_images(make_split, sizes):
    split = make_split()
    drawn = draw_pairs(split, sizes, draw())
    assert [len(captions) for captions in drawn] == sizes
    owners = split.caption_owner[torch.cat(drawn)].tolist()
    assert len(set(owners)) == sum(sizes)


def test_draws_are_those_of_the_generator(make_split):
    first, again, other = (torch.cat(draw_pairs(make_split(), [4, 2], draw(seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_more_pairs_than_images(make_split):
    with pytest.raises(DataError, match="9 distilled pairs are asked for but the training split has 8 images"):
        draw_pairs(make_split(), [4, 5], draw())


def test_real_pairs_are_the_files_and_captions_themselves(make_split, manifest):
    split, captions = make_split(), torch.tensor([15, 2, 3])
    pairs = real_pairs(manifest, split, captions)
    assert pairs.captions == ("caption 7 b", "caption 1 a", "caption 1 b")
    assert pairs.sources == ("7.png", "1.png", "1.png")
    pixels = read_image(manifest.image_root / "7.png", 6)
    assert torch.equal(pairs.images[0], normalise(pixels, split.spec.mean, split.spec.std))
    assert torch.equal(pairs.text_embeddings, split.text_embeddings.all()[captions])


def test_real_texts_are_copies(make_split, manifest):
    split = make_split()
    before = split.text_embeddings.all().clone()
    real_pairs(manifest, split, torch.tensor([0])).text_embeddings.fill_(9.0)
    assert torch.equal(split.text_embeddings.all(), before)


def test_noise_has_the_moments_of_the_real_pairs():
    shift, scale = torch.tensor([0.0, 5.0, -3.0]).view(3, 1, 1), torch.tensor([1.0, 0.1, 2.0]).view(3, 1, 1)
    images = shift + scale * torch.randn(200, 3, 8, 8, generator=draw())
    texts = 4 + torch.tensor([0.5, 3.0]) * torch.randn(200, 2, generator=draw())
    noise = noise_like(InitialPairs(images, texts, ("a",) * 200, ("b",) * 200), draw(1))
    # five standard errors: 12,800 values per channel, 200 per text dimension
    for found, real, dims in ((noise.images, images, (0, 2, 3)), (noise.text_embeddings, texts, (0,))):
        number = real.numel() / real.mean(dims).numel()
        spread = real.std(dims)
        assert ((found.mean(dims) - real.mean(dims)).abs() < 5 * spread / number**0.5).all()
        assert ((found.std(dims) / spread - 1).abs() < 5 / (2 * number) ** 0.5).all()
        # nothing of the pairs themselves is left
        assert torch.corrcoef(torch.stack([found.flatten(1)[:, 0], real.flatten(1)[:, 0]]))[0, 1].abs() < 0.3
    assert noise.captions == noise.sources == ("",) * 200


def test_initial_pairs_of_every_phase(make_split, manifest):
    phases = (PhaseConfig(num_pairs=3), PhaseConfig(num_pairs=4))
    real = initial_pairs(manifest, make_split(), phases, "real", draw())
    noise = initial_pairs(manifest, make_split(), phases, "noise", draw())
    assert [len(pairs.images) for pairs in real] == [len(pairs.images) for pairs in noise] == [3, 4]
    assert len({source for pairs in real for source in pairs.sources}) == 7
    assert not torch.equal(noise[0].images, real[0].images)
    again = initial_pairs(manifest, make_split(), phases, "noise", draw())
    assert all(torch.equal(a.images, b.images) for a, b in zip(noise, again, strict=True))


def test_pixel_range_is_that_of_black_and_white(make_split):
    spec = make_split().spec
    low, high = pixel_range(spec)
    for value, bound in ((0, low), (255, high)):
        pixels = torch.full((3, 1, 1), value, dtype=torch.uint8)
        torch.testing.assert_close(bound, normalise(pixels, spec.mean, spec.std))


def test_a_glossary_has_short_captions_none_twice_and_is_the_same_for_a_seed():
    captions = ("a dog", "a cat", "a dog", "a bird", "a cat")
    assert sorted(draw_glossary(captions, 3, draw())) == ["a bird", "a cat", "a dog"]
    assert draw_glossary(captions, 2, draw(1)) == draw_glossary(captions, 2, draw(1))
    # of two drawn the shorter: never the longest
    assert {draw_glossary(captions, 1, draw(seed)) for seed in range(20)} == {("a dog",), ("a cat",)}
    assert draw_glossary(captions, 0, draw()) == ()
    with pytest.raises(DataError, match="asks for 4 captions, but the training split has 3 different ones"):
        draw_glossary(captions, 4, draw())
