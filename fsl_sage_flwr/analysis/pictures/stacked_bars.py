"""Draw stacked horizontal bars in groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from .style import COLUMN, PAGE

_LONGEST_LABEL = 28  # characters; longer labels leave too little room for bars in one column
# Of the text at a bar's end, and of the labels left of the axis.
_INCHES_PER_LETTER, _BESIDE_AXIS = 0.052, 1.4


@dataclass(frozen=True)
class Part:
    """Name, colour and hatch of a part of all bars."""

    label: str
    colour: str
    hatch: str = ""


@dataclass(frozen=True)
class Bar:
    """A bar: its label, the size of each part, and the text at its end."""

    label: str
    sizes: Mapping[str, float]
    text: str


def stacked_bars(
    groups: Sequence[tuple[str, Sequence[Bar]]], parts: Mapping[str, Part], across: str
) -> Figure:
    """Return a figure with one bar per row, one column or one page wide.

    Parameters
    ----------
    groups : sequence of (str, sequence of Bar)
        Headings, each with its bars; an empty heading takes no row.
    parts : Mapping
        The parts by their names in ``Bar.sizes``, from left to right; those without any size are
        left out.
    across : str
        Label of the horizontal axis.
    """
    rows, labels, bars = list[float](), list[str](), list[tuple[float, Bar]]()
    row = 0.0
    for heading, own in groups:
        if heading:
            rows.append(row)
            labels.append(heading)
            row += 0.85
        for bar in own:
            rows.append(row)
            labels.append(bar.label)
            bars.append((row, bar))
            row += 1.0
        row += 0.35
    width = COLUMN if max(map(len, labels)) <= _LONGEST_LABEL else PAGE
    figure = Figure(figsize=(width, 0.95 + 0.22 * row), layout="constrained")
    ax = figure.add_subplot()
    drawn = [name for name in parts if any(bar.sizes.get(name, 0.0) > 0 for _, bar in bars)]
    places, left = [place for place, _ in bars], [0.0] * len(bars)
    for name in drawn:
        part, sizes = parts[name], [bar.sizes.get(name, 0.0) for _, bar in bars]
        ax.barh(places, sizes, left=left, label=part.label, color=part.colour, hatch=part.hatch,
                edgecolor="white", linewidth=0.4, height=0.7)  # fmt: skip
        left = [before + size for before, size in zip(left, sizes, strict=True)]
    for (place, bar), end in zip(bars, left, strict=True):
        ax.annotate(bar.text, (end, place), xytext=(3, 0), textcoords="offset points",
                    va="center", fontsize=6.5)  # fmt: skip
    ax.set_yticks(rows, labels)
    ax.tick_params(axis="y", length=0)
    headings = {heading for heading, _ in groups if heading}
    for tick in ax.get_yticklabels():
        if tick.get_text() in headings:
            tick.set_fontstyle("italic")
    ax.set_ylim(row - 0.75, -0.6)
    ax.grid(visible=False, axis="y")
    longest = max(len(bar.text) for _, bar in bars)
    share = min(0.6, _INCHES_PER_LETTER * longest / (width - _BESIDE_AXIS))
    ax.set_xlim(0, max(left) / (1 - share) or 1.0)
    ax.set_xlabel(across)
    figure.legend(loc="outside lower center", ncols=min(len(drawn), 3 if width == COLUMN else 6),
                  handlelength=1.4, columnspacing=1.0)  # fmt: skip
    return figure
