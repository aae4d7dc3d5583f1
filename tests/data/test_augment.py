import pytest
import torch

from pairstill.data.augment import CropAndFlip, TeacherAugmentation


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def augmentation():
    return TeacherAugmentation()


@pytest.fixture(scope="module")
def images():
    coarse = torch.rand(6, 3, 6, 5, generator=seeded(0))
    return torch.nn.functional.interpolate(coarse, (24, 20), mode="bilinear")


def test_keeps_shape_type_and_range(augmentation, images):
    for seed in range(10):
        result = augmentation(images, seeded(seed))
        assert result.shape == images.shape
        assert result.dtype == images.dtype
        assert 0 <= result.min() and result.max() <= 1


def test_depends_on_the_generator_alone(augmentation, images):
    first = augmentation(images, seeded(1))
    torch.manual_seed(99)
    assert torch.equal(augmentation(images, seeded(1)), first)
    assert torch.equal(TeacherAugmentation()(images, seeded(1)), first)
    assert not torch.equal(augmentation(images, seeded(2)), first)


def test_generator_moves_on(augmentation, images):
    stream = seeded(1)
    assert not torch.equal(augmentation(images, stream), augmentation(images, stream))


def test_leaves_global_generator_and_input_alone(augmentation, images):
    before, copy = torch.get_rng_state(), images.clone()
    augmentation(images, seeded(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, copy)


def test_images_of_a_batch_are_augmented_differently(augmentation, images):
    same = images[:1].expand(8, -1, -1, -1).contiguous()
    assert len(augmentation(same, seeded(4)).unique(dim=0)) == 8


def test_plain_colour_survives_without_frame_effects(augmentation):
    # Crop and flip cannot change a plain picture, and no operation changes hues; frames of rotations are black.
    plain = torch.full((16, 3, 16, 16), 0.5)
    result = augmentation(plain, seeded(5))
    assert (result[:, 0] - result[:, 1]).abs().max() < 1e-5
    assert result.max() < 0.51


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8), torch.zeros(2, 1, 8, 8)],
)
def test_refuses_other_shapes_and_types(augmentation, wrong):
    with pytest.raises(ValueError, match="augmentation needs floats"):
        augmentation(wrong, seeded(0))


def test_crops_and_flips_depend_on_the_generator_alone_and_keep_the_range_of_pixels():
    images = 5 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    first, again, other = (CropAndFlip()(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.shape == images.shape
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.abs().max() > 2, "pixels outside [0, 1] stay there"
    flat = CropAndFlip()(torch.full((2, 3, 16, 16), -3.0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(flat, torch.full((2, 3, 16, 16), -3.0))
