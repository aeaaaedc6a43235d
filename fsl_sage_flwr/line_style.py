"""The line of an algorithm in pictures."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and dashes of an algorithm in pictures; each identifies it alone."""

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]]
    size: float = 4.0  # points; a star needs more to look equally large

    def line(self) -> dict[str, Any]:
        """Return the arguments of matplotlib's ``Axes.plot``."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dashes,
                "markersize": self.size}  # fmt: skip
