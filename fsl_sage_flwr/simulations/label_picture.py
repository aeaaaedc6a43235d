"""Count and draw how many examples of each label each client has."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..app.assembly import distribution_of
from ..app.config import RunConfig
from ..data import load_images, partition_indices

MOST_COLOURS = 20
MOST_INCHES = 40.0


def label_counts(
    labels: Sequence[int] | NDArray[np.int64], parts: Sequence[Sequence[int]], num_classes: int
) -> NDArray[np.int64]:
    """Count each client's examples by label.

    Parameters
    ----------
    labels : sequence of int
        All examples' labels, in ``range(num_classes)``.
    parts : sequence of sequence of int
        Each client's rows.
    num_classes : int
        Number of columns.

    Returns
    -------
    array
        ``(clients, num_classes)``, int64.
    """
    values = np.asarray(labels)
    return np.stack([np.bincount(values[list(rows)], minlength=num_classes) for rows in parts])


def counts_of(config: RunConfig, clients: int) -> NDArray[np.int64]:
    """Return the label counts of the division that a run of this configuration trains on.

    No image is decoded.

    Raises
    ------
    DatasetError
        The dataset cannot be read or divided.
    """
    train, _ = load_images(config.dataset)
    parts = partition_indices(train.labels, clients, distribution_of(config), train.natural_ids())
    return label_counts(train.labels.numpy(), parts, train.num_classes)


def summary(counts: NDArray[np.int64]) -> str:
    """Return a short text about the clients' numbers of examples."""
    sizes = counts.sum(axis=1).tolist()
    return f"examples per client: min {min(sizes)}, median {median(sizes):g}, max {max(sizes)}"


def draw(counts: NDArray[np.int64], title: str, path: Path) -> None:
    """Draw one row per client, as a PNG.

    Up to 20 labels are drawn as stacked bars with one colour per label. More labels are drawn
    as a heat map, because so many colours cannot be told apart.

    Parameters
    ----------
    counts : array
        ``(clients, labels)``.
    title : str
        Text above the picture.
    path : Path
        The file; its directory must exist.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    clients, classes = counts.shape
    height = min(1.6 + 0.25 * clients, MOST_INCHES)
    figure = Figure(figsize=(9.0, max(height, 3.0)), layout="constrained")
    axes = figure.add_subplot()
    if classes > MOST_COLOURS:
        heat = axes.imshow(counts, aspect="auto", interpolation="nearest", cmap="viridis")
        figure.colorbar(heat, ax=axes, label="examples")
        axes.set_xlabel("label")
    else:
        colours = mpl.colormaps["tab10" if classes <= 10 else "tab20"]
        left = np.zeros(clients, dtype=np.int64)
        for label in range(classes):
            axes.barh(
                range(clients), counts[:, label], left=left, color=colours(label), label=f"{label}"
            )
            left = left + counts[:, label]
        axes.set_ylim(clients - 0.5, -0.5)
        axes.set_xlabel("examples")
        axes.legend(title="label", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("client")
    axes.set_title(title)
    figure.savefig(path, format="png", dpi=120)
