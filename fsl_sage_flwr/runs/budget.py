"""Decide whether a run has reached its target or spent its budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..units import MIB, mib, percent
from .virtual_time import JOULES, SECONDS


@dataclass(frozen=True)
class Budget:
    """Limits after which a run is complete; 0 is no limit.

    Attributes
    ----------
    communication_mib : float
        MiB of communication.
    accuracy : float
        Test accuracy, 0 to 1.
    hours : float
        Hours on the virtual clock.
    kilojoules : float
        Energy of all clients on the virtual clock.
    """

    communication_mib: float = 0.0
    accuracy: float = 0.0
    hours: float = 0.0
    kilojoules: float = 0.0

    def reached(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the first limit that the rounds have reached, in words; None for none.

        Parameters
        ----------
        rows : sequence of Mapping
            Rows of ``history.csv`` of all rounds so far.
        """
        last = rows[-1]
        sent = last["comm_bytes"]
        if self.communication_mib and sent >= self.communication_mib * MIB:
            return f"{mib(sent)} MiB reach max-communication-mib"
        accuracy = last["test_accuracy"]
        if self.accuracy and accuracy is not None and accuracy >= self.accuracy:
            return f"accuracy {percent(accuracy)} reaches stop.accuracy"
        if self.hours and (hours := _sum(rows, SECONDS) / 3600) >= self.hours:
            return f"{hours:.4g} virtual hours reach stop.hours"
        if self.kilojoules and (energy := _sum(rows, JOULES) / 1000) >= self.kilojoules:
            return f"{energy:.4g} kJ of the clients reach stop.kilojoules"
        return None


def _sum(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    return sum(row.get(column) or 0.0 for row in rows)
