"""Convert images to eight bits per channel, or refuse those that would lose their content."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from .errors import DatasetError

# If the highest value of 16-bit images is below this, 8 bits leave fewer than 64 levels.
LOW = 2**14


def is_grey(image: Image.Image) -> bool:
    """Return whether an image has one channel."""
    return image.mode in ("1", "L") or _has_wide_integers(image)


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image with at most 8 bits per channel; 16-bit values 0 to 65535 become 0 to 255.

    PIL's own conversion clips all values above 255.

    Raises
    ------
    DatasetError
        The values are floats or exceed 16 bits, or only the transparency varies.
    """
    if image.mode == "F":
        raise DatasetError(
            "its values are floats, which have no known range: write the images with 8 bits"
        )
    if _has_wide_integers(image):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DatasetError(
                f"its values run from {values.min()} to {values.max()}, valid are 0 to 65535: "
                "write the images with 8 bits"
            )
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        levels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
        *colours, alpha = levels.min(axis=0) != levels.max(axis=0)
        if alpha and not any(colours):
            raise DatasetError(
                "only its transparency varies, which is not trained on: write the images on a "
                "background, without transparency"
            )
    return image


def refuse_low_range(images: Iterable[Image.Image], name: str) -> None:
    """Refuse 16-bit images that use a small part of their range, such as 12-bit ones.

    Raises
    ------
    DatasetError
        Fewer than 64 levels would remain.
    """
    highest = [int(np.asarray(image).max()) for image in images if _has_wide_integers(image)]
    if highest and 0 <= max(highest) < LOW:
        raise DatasetError(
            f"the 16-bit images of dataset {name!r} reach {max(highest)} of 65535, of which 8 bits "
            f"keep {max(highest) * 255 // 65535 + 1} levels: write them with 8 bits, or stretched "
            "to all 16"
        )


def _has_wide_integers(image: Image.Image) -> bool:
    return image.mode.split(";")[0] == "I"
