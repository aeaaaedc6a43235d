"""Compute the seconds and joules of a run's rounds on the virtual clock, as they end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..clock.fleet import Fleet
from ..clock.phases import Schedule
from ..clock.recorded import RecordedRounds
from ..clock.simulate import Clock
from ..clock.work import Flops

SECONDS, JOULES = "virtual_seconds", "virtual_client_joules"


@dataclass(frozen=True)
class VirtualTime:
    """Devices and links of a run, and the order of its algorithm's round.

    Attributes
    ----------
    fleet : Fleet
        Devices and links.
    schedule : tuple of Phase
        Order of a round.
    """

    fleet: Fleet
    schedule: Schedule


class TimedRounds:
    """Adds the virtual seconds and joules to the rows of a run's rounds.

    Parameters
    ----------
    time : VirtualTime
        The clock of the run.
    config : Mapping
        Run configuration.
    flops : Mapping
        Floating-point operations of one sample, as in ``flops.json``.
    """

    def __init__(
        self, time: VirtualTime, config: Mapping[str, Any], flops: Mapping[str, Any]
    ) -> None:
        self._clock, self._schedule = Clock(time.fleet), time.schedule
        self._recorded = RecordedRounds(config, Flops(**flops))

    def resume(
        self, rows: Iterable[Mapping[str, Any]], clients: Iterable[Mapping[str, Any]]
    ) -> None:
        """Read the rounds before a checkpoint: which clients have taken part, with what."""
        by_number = {int(row["round"]): row for row in rows}
        for number, own in groupby(clients, key=lambda client: int(client["round"])):
            self._recorded.round(by_number[number], list(own))

    def figures(
        self,
        row: Mapping[str, Any],
        clients: Sequence[Mapping[str, Any]],
        seconds: float | None = None,
    ) -> dict[str, float | None]:
        """Return the virtual seconds of a round, and the joules of its clients.

        ``seconds`` are those that have passed, where replies arrive by the clock. Joules are None
        if the power of a device is unknown.
        """
        work = self._recorded.round(row, clients)
        time = self._clock.round_time(self._schedule, work)
        known = time.client_joules == time.client_joules
        return {
            SECONDS: round(time.seconds if seconds is None else seconds, 6),
            JOULES: round(time.client_joules, 6) if known else None,
        }
