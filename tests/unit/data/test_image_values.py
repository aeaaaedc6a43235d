"""What images show is trained on, or they are refused with the row and the file of the first."""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fsl_sage_flwr.data import DatasetError, check_images, load_images
from fsl_sage_flwr.data.eight_bits import eight_bits

from ...tables import pictures

pytestmark = pytest.mark.usefixtures("own_datasets")


def folder_of(root, images, name="{}.png"):
    """Write images of two splits as an image folder of two classes; bytes are written as such."""
    for split in ("train", "test"):
        for number, image in enumerate(images):
            folder = root / split / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / name.format(number)
            if isinstance(image, bytes):
                file.write_bytes(image)
            else:
                image.save(file)
    return str(root)


def as_file(array, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def test_16_bits_are_scaled(tmp_path):
    eight = pictures(4, (5, 6))
    wide = [Image.fromarray(array.astype(np.uint16) * 257) for array in eight]
    train, _ = load_images(folder_of(tmp_path / "d", wide))
    assert train.image_shape == (1, 5, 6)
    images, labels = train.decode()
    assert labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(images[:, 0], torch.from_numpy(np.stack(eight)[[0, 2, 1, 3]]))


def test_16_bits_and_32_bits_with_such_values_are_one():
    values = np.array([[0, 128, 129, 65535]])
    for kind in (np.uint16, np.int32):
        found = np.asarray(eight_bits(Image.fromarray(values.astype(kind))))
        assert found.tolist() == [[0, 0, 1, 255]]
        assert found.dtype == np.uint8


def test_images_of_12_bits_in_16_are_refused(tmp_path):
    wide = [Image.fromarray(array.astype(np.uint16) * 16) for array in pictures(4, (5, 6))]
    with pytest.raises(DatasetError, match=r"16-bit images of .* reach \d+ of 65535, of which 8"):
        load_images(folder_of(tmp_path / "d", wide))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.fromarray(np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)), "are floats"),
        (Image.fromarray(np.full((5, 6), -1, dtype=np.int32)), "run from -1 to -1"),
    ],
)
def test_values_without_a_range_are_refused(tmp_path, image, said):
    name = folder_of(tmp_path / "d", [image] * 2, "{}.tiff")
    with pytest.raises(
        DatasetError, match=rf"image of row 0 \(.*0.tiff\) of split 'train'.*{said}"
    ):
        check_images(name)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_images_that_are_transparency_alone_are_refused(tmp_path, mode):
    image = Image.new(mode, (6, 5))
    image.putalpha(Image.fromarray(pictures(1, (5, 6))[0]))
    name = folder_of(tmp_path / "d", [image] * 2)
    with pytest.raises(DatasetError, match=r"row 0 .*: only its transparency varies"):
        check_images(name)


def test_transparency_beside_colours_is_left_out_as_before():
    array = pictures(1, (5, 6, 4))[0]
    assert np.array_equal(np.asarray(eight_bits(Image.fromarray(array))), array)
    assert np.array_equal(np.asarray(eight_bits(Image.new("RGBA", (2, 2)))), np.zeros((2, 2, 4)))


WHOLE = as_file(pictures(1, (40, 40, 3))[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (b"", "cannot identify"),
        (b"text", "cannot identify"),
    ],
)
def test_a_damaged_image_is_named(tmp_path, broken, said):
    good = [as_file(array) for array in pictures(300, (40, 40, 3))]
    good[299] = broken
    name = folder_of(tmp_path / "d", good)
    with pytest.raises(DatasetError, match=rf"row \d+ \(.*299.png\) of .*cannot be read .*{said}"):
        check_images(name)


def test_a_missing_image_is_named(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    columns = {"image": [Image.fromarray(pictures(1)[0]), None], "label": [0, 1]}
    table = datasets.Dataset.from_dict(columns, features=features)
    for split in ("train", "test"):
        table.to_parquet(str(tmp_path / f"{split}-00000-of-00001.parquet"))
    with pytest.raises(
        DatasetError, match=r"image of row 1 of split 'train' .* is missing: remove"
    ):
        load_images(str(tmp_path))
