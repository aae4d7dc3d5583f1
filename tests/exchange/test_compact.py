"""The smallest form on disk: its bytes by hand, and what comes back from it."""

from dataclasses import replace

import pytest
import torch

from pairstill.distilled.real import Mixtures
from pairstill.exchange.compact import caption_bytes, from_disk, sizes
from pairstill.exchange.jpeg import through_jpeg
from pairstill.exchange.png import png


def no_encoder(captions):
    raise AssertionError(f"{captions} are not to be encoded")


def test_bytes_of_pixels_and_embeddings_by_hand(make):
    made = make("full")
    found = sizes(made)
    assert found.pictures == sum(len(png(image, made.image_encoder)) for p in made.phases for image in p.images)
    assert found.texts == 2 * 6 * (5 + 3)  # float16, 6 wide
    assert found.similarities == 2 * (5 * 5 + 3 * 3)
    assert found.rates == 4 * 2 * 2
    assert found.total == found.pictures + found.texts + found.similarities + found.rates


def test_bytes_of_photos_and_captions_by_hand(make):
    made = make("kept")
    captions = ("a dog", "née", "a dog")
    phases = tuple(
        replace(phase, mixtures=Mixtures((captions,) * n, torch.tensor([[0.5, 1.0, 0.0]]).repeat(n, 1)))
        for phase, n in zip(made.phases, (5, 3), strict=True)
    )
    found = sizes(replace(made, phases=phases))
    assert found.pictures == sum(map(len, made.photos))  # the files as they were
    # two captions with their line ends in each phase; for each part its caption's number and its weight
    assert found.texts == 2 * (6 + 5) + 4 * 2 * (5 + 3)


def test_a_glossary_counts_by_its_captions(make):
    made = make("full")
    found = sizes(replace(made, glossary=("a dog", "née")))
    assert found.texts == sizes(made).texts + 6 + 5 and found.total == sizes(made).total + 6 + 5


def test_a_caption_ends_with_its_line():
    assert caption_bytes(["a dog", "née"]) == 6 + 5 and caption_bytes([]) == 0


def test_what_comes_back_is_rounded_and_the_rest_is_as_it_was(make):
    made = make("low_rank")
    read = from_disk(made, no_encoder)
    for old, new in zip(made.phases, read.phases, strict=True):
        assert torch.equal(new.text_embeddings, old.text_embeddings.half().float())
        assert torch.equal(new.similarity_factors["left"], old.similarity_factors["left"].half().float())
        assert new.inner_lr_image == old.inner_lr_image and new.captions == old.captions
        assert not torch.equal(new.images, old.images)
    again = from_disk(read, no_encoder)
    assert torch.equal(again.phases[0].text_embeddings, read.phases[0].text_embeddings)


def test_values_beyond_float16_are_its_largest(make):
    made = make("full")
    made.phases[0].text_embeddings[0, 0] = -1e6
    assert from_disk(made, no_encoder).phases[0].text_embeddings[0, 0] == -65504


def test_photos_come_back_as_they_were_and_captions_are_encoded(make):
    made = make("kept")
    read = from_disk(made, lambda captions: torch.ones(len(captions), 6))
    for old, new in zip(made.phases, read.phases, strict=True):
        assert new.photos == old.photos and torch.equal(new.images, old.images)
        weights = old.mixtures.weights.half().float()
        assert torch.equal(new.mixtures.weights, weights)
        torch.testing.assert_close(new.text_embeddings, weights.sum(1, keepdim=True).expand(-1, 6))


@pytest.mark.parametrize("kind", ["full", "kept"])
def test_the_form_is_smaller_than_the_convention(make, kind):
    assert sizes(make(kind)).texts < make(kind).storage_bytes


def test_jpeg_is_smaller_and_comes_back_near_to_what_it_was(make):
    made = make("full")
    small, fine = sizes(made, 30), sizes(made, 100)
    assert small.pictures < fine.pictures and (small.texts, small.rates) == (fine.texts, fine.rates)
    exact = from_disk(made, no_encoder).phases[0].images
    off = [(from_disk(made, no_encoder, q).phases[0].images - exact).abs().mean() for q in (30, 100)]
    assert 0 < off[1] < off[0]
    assert torch.equal(from_disk(made, no_encoder, 30).phases[0].text_embeddings, made.phases[0].text_embeddings.half())


def test_photos_that_are_kept_are_no_others_as_jpeg(make):
    made = make("kept")
    assert sizes(made, 30).pictures == sizes(made).pictures == sum(map(len, made.photos))
    assert torch.equal(through_jpeg(made, 30).phases[0].images, made.phases[0].images)
