import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.data import augment, normalize

PADDING = 4


def images_of(count, channels, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def one_by_one(images, generator):
    """Crop and flip each image by itself, with the draws that ``augment`` makes."""
    count, channels, height, width = images.shape
    tops, lefts = torch.randint(2 * PADDING + 1, (2, count), generator=generator)
    flips = torch.randint(2, (count,), generator=generator, dtype=torch.bool)
    results = []
    for image, top, left, flip in zip(images, tops, lefts, flips, strict=True):
        padded = torch.zeros(channels, height + 8, width + 8, dtype=images.dtype)
        padded[:, PADDING : PADDING + height, PADDING : PADDING + width] = image
        crop = padded[:, top : top + height, left : left + width]
        results.append(crop.flip(2) if flip else crop)
    return torch.stack(results)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 6),
    channels=st.integers(1, 4),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_equals_cropping_and_flipping_one_by_one(count, channels, height, width, seed):
    images = images_of(count, channels, height, width, seed)
    kept = images.clone()
    got = augment(images, torch.Generator().manual_seed(seed))
    assert got.dtype == torch.uint8
    assert torch.equal(got, one_by_one(images, torch.Generator().manual_seed(seed)))
    assert torch.equal(images, kept)


def test_each_image_has_its_own_offset_and_flip():
    images = images_of(1, 3, 16, 16).expand(4000, -1, -1, -1)
    results = augment(images, torch.Generator().manual_seed(0))
    # 9 x 9 offsets, each flipped or not: all of them appear, about as often.
    kinds, counts = torch.unique(results.flatten(1), dim=0, return_counts=True)
    assert len(kinds) == 162
    assert counts.min() >= 5
    assert counts.max() <= 60


def test_same_generator_state_same_images():
    images = images_of(8, 3, 8, 8)
    first, second, other = (
        augment(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    augment(images_of(8, 3, 8, 8), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_images_that_are_not_contiguous():
    images = images_of(4, 8, 6, 3).permute(0, 3, 1, 2)
    got = augment(images, torch.Generator().manual_seed(0))
    assert torch.equal(got, one_by_one(images, torch.Generator().manual_seed(0)))


def test_normalize_colour_with_imagenets_statistics():
    images = images_of(2, 3, 4, 5)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    got = normalize(images)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, (images / 255 - mean) / std)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_normalize_others_to_minus_one_and_one(channels):
    images = torch.zeros(2, channels, 2, 2, dtype=torch.uint8)
    images[1] = 255
    got = normalize(images)
    torch.testing.assert_close(got[0], torch.full((channels, 2, 2), -1.0))
    torch.testing.assert_close(got[1], torch.full((channels, 2, 2), 1.0))


def test_normalize_leaves_its_input():
    images = images_of(2, 3, 4, 5)
    kept = images.clone()
    normalize(images)
    assert torch.equal(images, kept)
