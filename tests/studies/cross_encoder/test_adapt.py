import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pairstill.core.errors import ConfigError
from pairstill.data.loader import Resizing
from pairstill.distilled import DistilledPhase, DistilledSet, TowerRates
from pairstill.distilled.real import Mixtures
from pairstill.encoders.image import ImageSpec
from pairstill.encoders.pixel_space import PixelSpace, adapt_images
from pairstill.encoders.text import TextSpec
from pairstill.studies.cross_encoder.adapt import adapted_set, has_mixtures, has_own_images, has_own_texts
from pairstill.studies.cross_encoder.text_map import TextMap

HALVES = PixelSpace(4, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
IMAGE = ImageSpec("tower", 4, HALVES.mean, HALVES.std, 8, "image-digest")
TEXT = TextSpec("texts", "cls", 64, 3, "text-digest")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def distilled():
    phases = tuple(
        DistilledPhase(
            images=noise(n, 3, 4, 4),
            text_embeddings=noise(n, 3),
            similarity_factors={"matrix": torch.eye(n)},
            inner_lr_image=0.1,
            inner_lr_text=0.2,
            captions=("",) * n,
            sources=("",) * n,
        )
        for n in (3, 2)
    )
    image = {**IMAGE.to_json(), "mean": list(IMAGE.mean), "std": list(IMAGE.std)}  # as JSON gives them back
    return DistilledSet(phases, image, TEXT.to_json(), {}, "wbce")


def test_a_set_for_its_own_encoders_is_the_set(distilled):
    assert has_own_images(distilled, IMAGE) and has_own_texts(distilled, TEXT)
    found = adapted_set(distilled, IMAGE, TEXT)
    for before, after in zip(distilled.phases, found.phases, strict=True):
        assert torch.equal(before.images, after.images) and torch.equal(before.text_embeddings, after.text_embeddings)


@pytest.mark.parametrize("change", [{"digest": "other"}, {"size": 5}, {"mean": (0.0, 0.0, 0.0)}])
def test_an_image_tower_is_foreign_by_its_weights_its_size_or_its_normalisation(distilled, change):
    assert not has_own_images(distilled, replace(IMAGE, **change))


@pytest.mark.parametrize("change", [{"digest": "other"}, {"pooling": "mean"}, {"max_tokens": 5}])
def test_a_text_tower_is_foreign_by_its_weights_or_how_they_are_used(distilled, change):
    assert not has_own_texts(distilled, replace(TEXT, **change))


def test_a_set_for_other_encoders_keeps_rates_similarities_and_phases(distilled):
    image, text = replace(IMAGE, size=6, digest="x"), replace(TEXT, width=2, digest="y")
    double = TextMap(torch.tensor([[2.0, 0], [0, 2], [0, 0]]).double(), torch.tensor([1.0, 0]).double())
    found = adapted_set(distilled, image, text, double)
    assert found.image_encoder["size"] == 6 and found.text_encoder["width"] == 2 and found.loss == distilled.loss
    for before, after in zip(distilled.phases, found.phases, strict=True):
        assert after.images.shape == (before.num_pairs, 3, 6, 6)
        torch.testing.assert_close(after.text_embeddings, 2 * before.text_embeddings[:, :2] + torch.tensor([1.0, 0]))
        assert after.similarity_factors is before.similarity_factors
        assert (after.inner_lr_image, after.inner_lr_text) == (0.1, 0.2)


def test_another_width_is_refused_with_the_width_that_fits(distilled):
    with pytest.raises(ConfigError, match="text encoders of width 3 fit; for others add --map-text"):
        adapted_set(distilled, IMAGE, replace(TEXT, name="wide", width=5))


def test_a_set_for_several_towers_gives_each_its_pixels_and_rates_and_others_the_mean_rates(distilled):
    common = PixelSpace.common([IMAGE, replace(IMAGE, size=2)])
    other = replace(IMAGE, size=2, mean=(0.0,) * 3, digest="second")
    rates = TowerRates(0.1, 0.2), TowerRates(0.4, 0.2)
    phases = tuple(replace(phase, inner_lr_image=0.2, tower_rates=rates) for phase in distilled.phases)
    space = {"digest": "both", "size": common.size, "mean": list(common.mean), "std": list(common.std)}
    both = replace(distilled, phases=phases, image_encoder=space, towers=(distilled.image_encoder, other.to_json()))
    stranger = replace(IMAGE, digest="never seen")
    assert [has_own_images(both, spec) for spec in (IMAGE, other, stranger)] == [True, True, False]
    for spec, rate in ((IMAGE, 0.1), (other, 0.4), (stranger, 0.2)):
        found = adapted_set(both, spec, TEXT).phases[0]
        pixels = adapt_images(phases[0].images, common, PixelSpace.of_encoder(spec))
        assert torch.equal(found.images, pixels) and found.inner_lr_image == rate and found.inner_lr_text == 0.2


def test_photos_that_are_kept_are_decoded_for_the_other_tower(distilled):
    stream = io.BytesIO()
    Image.new("RGB", (9, 6), (102, 102, 102)).save(stream, "PNG")
    photos = (stream.getvalue(),) * 3
    kept = replace(distilled, phases=(replace(distilled.phases[0], photos=photos), distilled.phases[1]))
    larger = replace(IMAGE, size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    first, second = adapted_set(kept, larger, TEXT).phases
    # 102 / 255 = 0.4: (0.4 - 0.5) / 0.25, whatever the set's own tensors say
    torch.testing.assert_close(first.images, torch.full((3, 3, 8, 8), -0.4))
    assert torch.equal(second.images, adapted_set(distilled, larger, TEXT).phases[1].images)
    # the way in which the tower makes photos square counts as well: 9 x 6 gives the middle of 6 x 6
    cropped = adapted_set(kept, replace(larger, resizing=Resizing("crop")), TEXT).phases[0].images
    assert cropped.shape == first.images.shape


def test_mixtures_are_encoded_anew_and_mixed(distilled):
    mixed = replace(
        distilled,
        phases=tuple(
            replace(phase, mixtures=Mixtures((("a", "bb"),) * n, torch.tensor([[0.5, 2.0]]).repeat(n, 1)))
            for phase, n in zip(distilled.phases, (3, 2), strict=True)
        ),
    )
    wider = replace(TEXT, width=2, digest="other")
    asked = []

    def encode(captions):
        asked.extend(captions)
        return torch.tensor([[float(len(caption)), 1.0] for caption in captions])

    assert has_mixtures(mixed) and not has_mixtures(distilled)
    found = adapted_set(mixed, IMAGE, wider, encode)
    # 0.5 (1, 1) + 2 (2, 1)
    assert found.phases[1].text_embeddings.tolist() == [[4.5, 2.5]] * 2
    assert asked == ["a", "bb"] * 2  # each phase's once
