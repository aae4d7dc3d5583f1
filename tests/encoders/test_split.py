from dataclasses import replace

import pytest
import torch

from pairstill.config import DataConfig, ImageConfig, ScenesConfig
from pairstill.data.build import build_manifest
from pairstill.data.loader import normalise, read_image
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import build_image_encoder
from pairstill.encoders.split import Encoding, encode_split
from pairstill.encoders.text import HashedNgrams

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Four tiny scenes, with a tower and a text encoder."""
    cache = tmp_path_factory.mktemp("cache")
    manifest = build_manifest(DataConfig(scenes=ScenesConfig(train=4, val=2, test=2, size=16)), cache)
    return manifest, build_image_encoder(ImageConfig(size=16)), HashedNgrams(16)


@pytest.fixture
def encode(parts, tmp_path):
    manifest, image, text = parts

    def make(split="train", tower=None, views=0, cache=tmp_path, **options):
        return encode_split(manifest, split, Encoding(image, text, tower, cache, CPU, **options), views=views)

    return make


def test_pixels_and_texts_of_a_split(parts, encode):
    manifest, image, text = parts
    split = encode()
    assert split.num_images == 4 and split.num_captions == 20
    assert split.caption_owner.tolist() == manifest.caption_owner("train").tolist()
    path = manifest.image_paths("train")[2]
    expected = normalise(read_image(path, 16).unsqueeze(0), image.spec.mean, image.spec.std)
    assert torch.equal(split.image_inputs(torch.tensor([2])), expected)
    assert torch.equal(split.texts(torch.tensor([7, 3])), text.encode(manifest.captions("train"))[[7, 3]])


def test_features_of_a_frozen_tower_are_what_the_tower_says_of_the_pixels(parts, encode):
    _, image, _ = parts
    tower = frozen_tower(image, CPU)
    pixels, features = encode(), encode(tower=tower, tower_batch=3)
    index = torch.arange(4)
    with torch.no_grad():
        expected = tower(pixels.image_inputs(index))
    torch.testing.assert_close(features.image_inputs(index), expected, rtol=1e-4, atol=1e-5)
    assert features.images.row_shape == (128,)


def test_features_at_a_cut_keep_their_places_and_lie_in_files_of_bounded_size(parts, tmp_path, monkeypatch):
    manifest, _, text = parts
    image = build_image_encoder(ImageConfig(size=16, last_stages=2))
    stem = frozen_tower(image, CPU)
    monkeypatch.setattr("pairstill.encoders.split.SHARD_BYTES", 3 * 64 * 2 * 2 * 4)
    features = encode_split(manifest, "train", Encoding(image, text, stem, tmp_path, CPU))
    assert features.images.row_shape == (64, 2, 2) == image.spec.features
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 2, "three images and one"
    pixels = encode_split(manifest, "train", Encoding(image, text, None, tmp_path, CPU))
    index, seen = torch.arange(4), features.image_inputs(torch.arange(4))
    with torch.no_grad():
        torch.testing.assert_close(seen, stem(pixels.image_inputs(index)), rtol=1e-4, atol=1e-5)
    assert seen.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def computed():
    """What is computed, and not read from the cache: the kind, and the rows that are done."""
    return []


@pytest.fixture
def telling(computed):
    """The option that makes an encoding tell what it computes."""
    return {
        "what": "them",
        "emit": lambda event: computed.append((event.what.removeprefix("Encoding them: "), event.done)),
    }


def test_nothing_is_computed_twice(encode, computed, telling):
    first = encode(**telling)
    assert computed == [("pixels", 4), ("texts", 20)]
    again = encode(**telling)
    assert len(computed) == 2
    assert torch.equal(again.images.all(), first.images.all())
    assert torch.equal(again.text_embeddings.all(), first.text_embeddings.all())


def test_splits_and_sizes_do_not_share_rows(parts, encode, tmp_path):
    manifest, _, text = parts
    small = encode("val")
    encode("test")
    other = build_image_encoder(ImageConfig(size=20))
    larger = encode_split(manifest, "val", Encoding(other, text, None, tmp_path, CPU))
    assert small.images.row_shape == (3, 16, 16) and larger.images.row_shape == (3, 20, 20)
    assert len(list((tmp_path / "pixels").glob("[!.]*"))) == 3
    # the texts do not depend on the image tower
    assert len(list((tmp_path / "texts").glob("[!.]*"))) == 2


def test_batches_are_everything_in_order(make_split):
    split = replace(make_split(images=8, captions=4), batch_size=3)
    images, texts = list(split.image_batches()), list(split.text_batches())
    assert [len(batch) for batch in images] == [3, 3, 2]
    assert [len(batch) for batch in texts] == [24, 8]
    assert torch.equal(torch.cat(images), split.image_inputs(torch.arange(8)))
    assert torch.equal(torch.cat(texts), split.text_embeddings.all())


def test_features_are_passed_on_as_they_are(make_split):
    split = make_split(pixels=False)
    assert torch.equal(split.image_inputs(torch.tensor([1, 0])), split.images.all()[[1, 0]])


def rows_of(split):
    return [view.all() for view in split.views]


def test_views_are_of_augmented_images_and_depend_on_their_number_alone(parts, encode, tmp_path):
    options = {"tower": frozen_tower(parts[1], CPU), "tower_batch": 3}
    split = encode(**options, views=3)
    assert encode(**options).views == ()
    rows = [split.images.all(), *rows_of(split)]
    assert len(rows) == 4 and all(view.shape == rows[0].shape for view in rows)
    for one in range(4):
        for other in range(one):
            assert ((rows[one] - rows[other]).norm(dim=1) > 1e-3 * rows[0].norm(dim=1)).all()
    torch.manual_seed(7)  # nothing outside decides a view, nor do the other views
    fewer = encode(**options, views=1, cache=tmp_path / "again")
    assert torch.equal(rows_of(fewer)[0], rows[1])
    assert torch.equal(fewer.images.all(), rows[0])


def test_views_are_kept_and_more_of_them_add_to_those_that_are_there(parts, encode, tmp_path, computed, telling):
    tower = frozen_tower(parts[1], CPU)
    plain, two = encode(tower=tower), encode(tower=tower, views=2)
    assert len(list((tmp_path / "features").glob("[!.]*"))) == 3
    three = encode(tower=tower, views=3)
    assert len(list((tmp_path / "features").glob("[!.]*"))) == 4
    again = encode(tower=tower, views=3, **telling)
    assert computed == []
    assert all(map(torch.equal, rows_of(again), rows_of(three)))
    assert all(map(torch.equal, rows_of(again), rows_of(two)))
    assert torch.equal(again.images.all(), plain.images.all())


def test_every_image_comes_from_the_view_that_was_drawn_for_it(make_split):
    images = torch.arange(6.0).reshape(6, 1)
    views = tuple(CachedRows([images + 10 * view]) for view in range(3))
    split = replace(make_split(images=6), images=CachedRows([images]), views=views)
    drawn = torch.tensor([2, 0, 1, 1, 0, 2])
    assert split.view_inputs(torch.tensor([5, 0, 3, 3]), drawn).flatten().tolist() == [25, 20, 13, 13]
    assert split.image_inputs(torch.tensor([5, 0])).flatten().tolist() == [5, 0]
    counts = split.draw_views(torch.Generator().manual_seed(0)).bincount(minlength=3)
    assert counts.sum() == 6


def test_views_are_drawn_evenly(make_split):
    split = make_split(images=3000, pixels=False)
    counts = replace(split, views=(split.images,) * 4).draw_views(torch.Generator().manual_seed(0)).bincount()
    assert len(counts) == 4 and 680 < counts.min() <= counts.max() < 820  # 750 each, standard deviation 24
    assert not replace(split, views=(split.images,)).draw_views(torch.Generator().manual_seed(0)).any()


def test_features_are_not_augmented(make_split):
    with pytest.raises(ValueError, match="augment pixels, or take a view's features"):
        make_split(pixels=False).image_inputs(torch.tensor([0]), lambda images, generator: images)


def test_augmentation_gets_unit_pixels_and_a_seed(make_split):
    split = make_split()
    seen = []

    def augment(images, generator):
        seen.append((float(images.min()) >= 0, float(images.max()) <= 1, float(torch.rand(1, generator=generator))))
        return images

    index = torch.tensor([0, 3])
    plain = split.image_inputs(index)
    torch.testing.assert_close(split.image_inputs(index, augment, 5), plain)
    split.image_inputs(index, augment, 5)
    split.image_inputs(index, augment, 6)
    assert all(low and high for low, high, _ in seen)
    assert seen[0] == seen[1] != seen[2]


def test_all_captions_of_an_epoch_are_a_permutation(make_split):
    split = make_split(images=6, captions=3)
    order = split.epoch_order("all", torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(18)) != order.tolist()
    assert torch.equal(split.epoch_order("all", torch.Generator().manual_seed(0)), order)


def test_a_sampled_epoch_has_every_image_once(make_split):
    split = make_split(images=40, captions=5)
    generator = torch.Generator().manual_seed(0)
    orders = [split.epoch_order("sample", generator) for _ in range(30)]
    for order in orders:
        owners = split.caption_owner[order].tolist()
        assert sorted(owners) == list(range(40)) != owners
    # every caption of every image has its turn, about equally often: 30 draws of 5, chance of missing one 0.8^30
    counts = torch.stack(orders).flatten().bincount(minlength=200)
    assert counts.min() > 0
    assert 150 < counts.reshape(40, 5).sum(0).min() and counts.reshape(40, 5).sum(0).max() < 330


def test_a_sampled_epoch_with_uneven_captions(make_split):
    import dataclasses

    split = make_split(images=3, captions=2)
    owner = torch.tensor([0, 0, 0, 1, 2, 2])
    split = dataclasses.replace(split, caption_owner=owner)
    for seed in range(10):
        order = split.epoch_order("sample", torch.Generator().manual_seed(seed))
        assert sorted(owner[order].tolist()) == [0, 1, 2]
