"""Draw inputs above their reconstructions from smashed data."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor


def draw(originals: Tensor, reconstructions: Tensor, title: str, path: Path) -> None:
    """Draw two rows of images, as a PNG.

    Parameters
    ----------
    originals, reconstructions : Tensor
        ``(N, C, H, W)``, from 0 to 1; ``C`` is 1 or 3.
    title : str
        Text above the picture.
    path : Path
        The file; its directory must exist.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    count = len(originals)
    figure = Figure(figsize=(1.0 + 0.9 * count, 2.5), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for row, (name, images) in enumerate(
        (("input", originals), ("reconstructed", reconstructions))
    ):
        for column, image in enumerate(images):
            axes: Axes = figure.add_subplot(2, count, row * count + column + 1)
            axes.imshow(image.permute(1, 2, 0).numpy(), cmap="grey", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
    figure.savefig(path, format="png", dpi=120)
