"""Read in which hours each client is connected."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .links import ClockError

_COLUMNS = ("client", "from", "until")


@dataclass(frozen=True)
class Presence:
    """The hours in which clients are connected; a client without any always is.

    Attributes
    ----------
    hours : Mapping
        Begins and ends by partition id, in hours on the virtual clock.
    """

    hours: Mapping[int, Sequence[tuple[float, float]]] = field(default_factory=dict)

    def is_present(self, client: int, seconds: float) -> bool:
        """Return whether a client is connected at a time in seconds."""
        own = self.hours.get(client)
        return own is None or any(begin <= seconds / 3600 < end for begin, end in own)


def read_presence(file: Path) -> Presence:
    """Return the presence in a CSV file with ``client``, ``from`` and ``until`` in hours.

    Raises
    ------
    ClockError
        The file cannot be read, or a row is not valid.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClockError(f"{file}: cannot be read as a table of hours ({error})") from error
    hours: dict[int, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            client, begin, end = int(row["client"]), float(row["from"]), float(row["until"])
        except (LookupError, TypeError, ValueError) as error:
            raise ClockError(
                f"{file}, line {number}: {', '.join(_COLUMNS)} are needed, as numbers"
            ) from error
        if not 0 <= begin < end or math.isnan(end):
            raise ClockError(
                f"{file}, line {number}: from {begin:g} until {end:g}; give hours from 0 on, until "
                "after from"
            )
        hours.setdefault(client, []).append((begin, end))
    return Presence(hours)
