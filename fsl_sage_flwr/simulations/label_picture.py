"""Count and draw each client's examples by label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..analysis.pictures.style import DOTS_PER_INCH, PAGE, picture_style
from ..app.assembly import distribution_of
from ..app.config import RunConfig
from ..app.images_only import images_of
from ..data import partition_indices

MOST_COLOURS = 20
# With more labels their names would be too small to read.
MOST_NAMES = 100
# Inches.
HEIGHT_OF_CLIENT, HEIGHT_OF_LABEL, LOWEST, MOST_INCHES = 0.17, 0.14, 2.2, 40.0


@dataclass(frozen=True)
class Division:
    """Division of a dataset among clients.

    Attributes
    ----------
    counts : array
        ``(clients, labels)``, int64: each client's examples by label.
    class_names : tuple of str
        Names of the labels; empty if unknown.
    """

    counts: NDArray[np.int64]
    class_names: tuple[str, ...] = ()


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


def division_of(config: RunConfig, clients: int) -> Division:
    """Return the division of a run with this configuration.

    No image is decoded.

    Raises
    ------
    DatasetError
        The dataset cannot be read or divided.
    """
    train, _ = images_of(config)
    parts = partition_indices(train.labels, clients, distribution_of(config), train.natural_ids())
    counts = label_counts(train.labels.numpy(), parts, train.num_classes)
    return Division(counts, train.class_names)


def summary(counts: NDArray[np.int64]) -> str:
    """Return a line on the clients' numbers of examples."""
    sizes = counts.sum(axis=1).tolist()
    return f"examples per client: min {min(sizes)}, median {median(sizes):g}, max {max(sizes)}"


def draw(division: Division, title: str, path: Path) -> None:
    """Draw one row per client, as a PNG.

    Up to 20 labels are drawn as stacked bars with one colour per label, more labels as a heat map,
    because so many colours cannot be distinguished.

    Parameters
    ----------
    division : Division
        The counts and the labels' names.
    title : str
        Text above the picture.
    path : Path
        The file; its directory must exist.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    clients, classes = division.counts.shape
    height = max(1.2 + HEIGHT_OF_CLIENT * clients, LOWEST, HEIGHT_OF_LABEL * min(classes, 20) + 0.8)
    with picture_style():
        figure = Figure(figsize=(PAGE, min(height, MOST_INCHES)), layout="constrained")
        axes = figure.add_subplot()
        (_heat_map if classes > MOST_COLOURS else _bars)(figure, axes, division)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("client")
        figure.suptitle(title, fontsize=mpl.rcParams["axes.titlesize"])
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH)


def _bars(figure: Figure, axes: Axes, division: Division) -> None:
    clients, classes = division.counts.shape
    colours = mpl.colormaps["tab10" if classes <= 10 else "tab20"]
    left = np.zeros(clients, dtype=np.int64)
    for label in range(classes):
        own = division.counts[:, label]
        name = division.class_names[label] if division.class_names else f"{label}"
        axes.barh(range(clients), own, left=left, color=colours(label), label=name)
        left = left + own
    axes.set_ylim(clients - 0.5, -0.5)
    axes.set_xlabel("examples")
    axes.grid(visible=False, axis="y")
    figure.legend(title="label", loc="outside right upper", title_fontsize=7.0, handlelength=1.2)


def _heat_map(figure: Figure, axes: Axes, division: Division) -> None:
    classes = division.counts.shape[1]
    heat = axes.imshow(division.counts, aspect="auto", interpolation="nearest", cmap="viridis")
    figure.colorbar(heat, ax=axes, label="examples")
    axes.grid(visible=False)
    axes.set_xlabel("label")
    if division.class_names and classes <= MOST_NAMES:
        axes.set_xticks(range(classes), division.class_names, rotation=90, fontsize=5.0)
