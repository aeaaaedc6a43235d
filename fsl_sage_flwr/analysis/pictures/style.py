"""Define the style of all pictures: for a paper's column, for print, for colour-blind readers."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...line_style import LineStyle
from ..declared import algorithm_looks, label_of
from ..labels import place

PictureFormat = Literal["png", "svg", "pdf"]

COLUMN = 3.5  # inches, the width of a column of a two-column paper
PAGE = 7.16  # inches, the width of both columns
DOTS_PER_INCH = 300

_LETTERS_PER_INCH = 15  # in a title
_INCHES_PER_LINE = 0.16

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "svg.hashsalt": "fsl-sage",  # equal pictures give equal files
}

# The metadata that differ between equal pictures, or name only matplotlib.
_WITHOUT_DATES: dict[PictureFormat, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

# Styles for algorithms without a declared one. The colours are Okabe and Ito's, which colour-blind
# readers can distinguish; their yellow is too light for a line on white.
_OTHERS = (
    LineStyle("#0072B2", "v", (0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0))),
    LineStyle("#CC79A7", "P", (0, (1.0, 2.5))),
    LineStyle("#7F7F7F", "X", (0, (8.0, 3.0))),
)


@dataclass(frozen=True)
class Picture:
    """A picture and its caption.

    Attributes
    ----------
    name : str
        Kind of picture, and name of the file without suffix.
    title : str
        A few words on the content.
    caption : str
        Description of the axes, the averages and the figures.
    figure : Figure
        The finished figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure

    @property
    def is_wide(self) -> bool:
        """Whether the picture needs both columns of a page."""
        return bool(self.figure.get_figwidth() > COLUMN)


def styles(algorithms: Sequence[str]) -> dict[str, LineStyle]:
    """Return each algorithm's style, in the order of legends.

    A declared style is the same in every picture. Other algorithms get spare styles, in the order
    of their names.
    """
    ordered = sorted(dict.fromkeys(algorithms), key=place)
    known = {name: look.style for name, look in algorithm_looks().items() if look.style is not None}
    others = [name for name in ordered if name not in known]
    spare = {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(others)}
    return {name: known.get(name) or spare[name] for name in ordered}


@contextmanager
def picture_style() -> Iterator[None]:
    """Apply the common style to all drawings inside the context."""
    with mpl.rc_context(cast(Any, _RC)):  # its type accepts only literal keys, not a dict of str
        yield


def grid_of_axes(
    count: int, height: float = 2.4, *, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure one column wide, or one page wide with up to three panels side by side.

    Parameters
    ----------
    count : int
        Number of panels.
    height : float
        Height of a row, in inches.
    share_y : bool
        Whether the panels share the vertical axis, for comparison.
    """
    columns = min(count, 3)
    rows = -(-count // columns)
    width = COLUMN if count == 1 else PAGE
    high = rows * (height if count == 1 else 0.85 * height) + 0.3
    figure = Figure(figsize=(width, high), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=share_y)
    axes: list[Axes] = grid.flatten().tolist()
    for empty in axes[count:]:
        empty.remove()
    return figure, axes[:count]


def label_axes(axes: list[Axes], across: str, up: str) -> None:
    """Label y in the first column, and x in the lowest panel of each column."""
    columns = min(len(axes), 3)
    for index, ax in enumerate(axes):
        lowest = index + columns >= len(axes)
        ax.tick_params(labelbottom=lowest)
        ax.set_xlabel(across if lowest else "")
        ax.set_ylabel(up if index % columns == 0 else "")


def add_title(figure: Figure, text: str) -> None:
    """Put a title above all panels, and make the figure taller by its lines."""
    lines = textwrap.wrap(text, int(_LETTERS_PER_INCH * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + _INCHES_PER_LINE * len(lines))
    figure.suptitle("\n".join(lines), fontsize=_RC["axes.titlesize"])


def legend_below(
    figure: Figure,
    algorithms: Mapping[str, LineStyle],
    labels: Mapping[str, str] | None = None,
    note: str = "",
) -> None:
    """Put one legend for all panels below them.

    Parameters
    ----------
    figure : Figure
        The figure.
    algorithms : Mapping
        Drawn algorithms with their styles.
    labels : Mapping, optional
        Legend texts by algorithm, in place of the names.
    note : str
        A line above the algorithms, on bars and bands.
    """
    labels = labels or {}
    if note:
        figure.set_figheight(figure.get_figheight() + _INCHES_PER_LINE)
    handles = [
        Line2D([], [], **style.line(), label=labels.get(name, label_of(name)))
        for name, style in algorithms.items()
    ]
    columns = (2 if labels else 3) if figure.get_figwidth() <= COLUMN else 5
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns),
                  handlelength=3.2, columnspacing=1.2, title=note or None,
                  title_fontsize=_RC["legend.fontsize"])  # fmt: skip


def encoded(picture: Picture, how: PictureFormat) -> bytes:
    """Return the content of a picture's file; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    metadata = _WITHOUT_DATES[how]
    with picture_style():
        picture.figure.savefig(buffer, format=how, dpi=DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
