"""Simulate a planned round: what each client does when, and what waits for what."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from ..seeding import derive_seed
from .devices import Device
from .fleet import Fleet
from .phases import Align, Pool, RoundTrips, Schedule, Serve
from .plan import Planned, plan
from .work import Bools, Floats, Ints, RoundWork

BITS = 8e-6  # Mbit per byte


@dataclass(frozen=True)
class RoundTime:
    """Seconds and joules of one round.

    Attributes
    ----------
    seconds : float
        From the first message to the end of the last phase.
    computing, sending : float
        Seconds in which a client computes, and in which its messages are on the way; means over
        the clients. The rest of ``seconds`` is waiting.
    serving : float
        Seconds in which the server computes.
    client_joules : float
        Of all clients, for computation and radio; NaN if a device's power is unknown.
    server_joules : float
        Of the server's computation; NaN if its power is unknown.
    """

    seconds: float
    computing: float
    sending: float
    serving: float
    client_joules: float
    server_joules: float

    @property
    def waiting(self) -> float:
        """Seconds in which a client waits; mean over the clients."""
        return max(self.seconds - self.computing - self.sending, 0.0)


class Clock:
    """Computes the seconds and joules of rounds on given devices and links.

    It is deterministic: jitter is drawn from the fleet's seed and the number of the round.

    Parameters
    ----------
    fleet : Fleet
        Devices and links.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._clients: dict[tuple[int, ...], _Clients] = {}

    def round_time(self, schedule: Schedule, work: RoundWork) -> RoundTime:
        """Return the seconds and joules of a round.

        Parameters
        ----------
        schedule : tuple of Phase
            Order of the algorithm's round.
        work : RoundWork
            What was done in it.
        """
        return self.planned_time(plan(schedule, work), work)

    def planned_time(self, planned: Sequence[Planned], work: RoundWork) -> RoundTime:
        """Return the seconds and joules of a round that is planned; a plan serves all fleets."""
        if work.clients not in self._clients:
            self._clients[work.clients] = _Clients(self._fleet, work.clients)
        simulation = _Simulation(planned, work, self._fleet, self._clients[work.clients])
        for phase in planned:
            simulation.run(phase)
        return simulation.result()


class _Clients:
    """Values of the clients' devices and links as arrays."""

    def __init__(self, fleet: Fleet, clients: Sequence[int]) -> None:
        pairs = [fleet.of(client) for client in clients]
        devices, links = [device for device, _ in pairs], [link for _, link in pairs]
        self.devices = devices
        self.watts = np.array([np.nan if d.watts is None else d.watts for d in devices])
        self.down = np.array([link.down for link in links])
        self.up = np.array([link.up for link in links])
        self.latency = np.array([link.latency / 2 for link in links])
        self.jitter = np.array([link.jitter for link in links])
        self.radio = np.array([link.watts for link in links])
        self.down_joules = np.array([link.down_joules for link in links])
        self.up_joules = np.array([link.up_joules for link in links])


def _seconds_per_unit(device: Device, units: Sequence[Floats], measured: float) -> float:
    """Return the seconds of one floating-point operation, or of one unit of measured seconds."""
    if device.flops is not None:
        return device.factor / device.flops
    total = float(sum(float(values.sum()) for values in units))
    return device.factor * measured / total if total else 0.0


class _Simulation:
    """The state of one round."""

    def __init__(
        self, planned: Sequence[Planned], work: RoundWork, fleet: Fleet, clients: _Clients
    ) -> None:
        count = len(work.clients)
        self._config, self._clients, self._server = work.config, clients, fleet.server
        self._at = np.zeros(count)  # when each client is ready
        self._server_at = 0.0
        self._clients_wait = False
        self._computing, self._sending = np.zeros(count), np.zeros(count)
        self._joules, self._serving = np.zeros(count), 0.0
        units = [phase.client for phase in planned]
        self._per_unit = np.array(
            [_seconds_per_unit(device, units, work.client_seconds) for device in clients.devices]
        )
        self._server_per_unit = _seconds_per_unit(
            fleet.server, [phase.server for phase in planned], work.server_seconds
        )
        self._align_per_unit = _seconds_per_unit(
            fleet.server, [phase.align for phase in planned], work.alignment_seconds
        )
        self._draw = np.random.default_rng(derive_seed(fleet.seed, "clock", work.number))

    def run(self, phase: Planned) -> None:
        """Advance the clients and the server by a phase."""
        kind = phase.phase
        if isinstance(kind, Serve):
            self._serve(phase)
        elif isinstance(kind, Pool | Align):
            self._server_at = max(self._server_at, float(self._at.max()))
            busy = float(phase.server.sum()) * self._server_per_unit
            self._count_server(busy + float(phase.align.sum()) * self._align_per_unit)
        else:
            if self._clients_wait:
                self._at = np.maximum(self._at, self._server_at)
            if isinstance(kind, RoundTrips):
                self._exchange(kind, phase)
            else:
                self._client_phase(phase)
            self._clients_wait = False
            return
        self._clients_wait = True

    def _count_server(self, seconds: float) -> None:
        self._server_at += seconds
        self._serving += seconds

    def _client_phase(self, phase: Planned) -> None:
        sending = self._message(phase.down, self._clients.down)
        sending = sending + self._message(phase.up, self._clients.up)
        computing = (phase.client + phase.coding) * self._per_unit
        self._count(phase, sending, computing)
        self._at = self._at + sending + computing

    def _message(self, sizes: Floats, bandwidth: Floats) -> Floats:
        """Return the seconds of a message to or from each client; none without bytes."""
        return np.where(sizes > 0, self._delays(1)[0] + sizes * BITS / bandwidth, 0.0)

    def _delays(self, count: int) -> Floats:
        """Return one-way delays of some messages per client, ``(count, clients)``."""
        if not self._clients.jitter.any():
            return np.broadcast_to(self._clients.latency, (count, len(self._clients.latency)))
        normal = self._draw.standard_normal((count, len(self._clients.latency)))
        delays: Floats = self._clients.latency * np.exp(self._clients.jitter * normal)
        return delays

    def _count(self, phase: Planned, sending: Floats, computing: Floats) -> None:
        self._sending = self._sending + sending
        self._computing = self._computing + computing
        links = self._clients
        on_air = phase.down * BITS / links.down + phase.up * BITS / links.up
        radio = links.radio * on_air + phase.down * links.down_joules + phase.up * links.up_joules
        computed = np.where(computing > 0, links.watts * computing, 0.0)
        self._joules = self._joules + radio + computed

    def _serve(self, phase: Planned) -> None:
        """Step on the uploads, ascending by client: each waits for those before it."""
        for client in np.flatnonzero(phase.takes_part):
            self._server_at = max(self._server_at, float(self._at[client]))
            self._count_server(float(phase.server[client]) * self._server_per_unit)

    def _exchange(self, kind: RoundTrips, phase: Planned) -> None:
        counts = np.maximum(phase.messages, 1.0).astype(int)
        trips = int(counts.max())
        there = self._delays(trips) + phase.up / counts * BITS / self._clients.up
        back = self._delays(trips) + phase.down / counts * BITS / self._clients.down
        computing = (phase.client + phase.coding) * self._per_unit
        seconds = computing / counts
        share = kind.forward / (kind.forward + kind.backward)
        forward, backward = seconds * share, seconds * (1 - share)
        serving = phase.server * self._server_per_unit / counts
        active = np.arange(trips)[:, None] < counts
        self._count(phase, ((there + back) * active).sum(axis=0), computing)
        self._serving += float((serving * counts).sum())
        out = forward + there  # from the gradients' arrival to the arrival at the server
        if kind.one_by_one and self._config.get(kind.one_by_one[0]) == kind.one_by_one[1]:
            self._one_by_one(counts, out, back + backward, serving)
        elif kind.in_step:
            self._in_step(active, counts, out, back + backward, serving)
        else:
            self._at_own_pace(counts, out, back + backward, serving)

    def _in_step(
        self, active: Bools, counts: Ints, out: Floats, back: Floats, serving: Floats
    ) -> None:
        """Answer all clients of an exchange once the server has stepped on all its batches."""
        travel = out.copy()
        travel[0] += np.maximum(self._at, 0.0)
        travel[1:] += back[:-1]
        slowest = np.where(active, travel, 0.0).max(axis=1)
        slowest[0] = max(slowest[0], self._server_at)
        answered = np.cumsum(slowest + (serving * active).sum(axis=1))
        last = counts - 1
        self._server_at = float(answered[-1])
        self._at = answered[last] + back[last, np.arange(len(counts))]

    def _one_by_one(self, counts: Ints, out: Floats, back: Floats, serving: Floats) -> None:
        """Train with one client after the other; the last gradients go to all at the end."""
        for client, count in enumerate(counts):
            trip = out[:count, client].sum() + back[: count - 1, client].sum()
            self._server_at += float(self._at[client] + trip + count * serving[client])
        self._at = self._server_at + back[counts - 1, np.arange(len(counts))]

    def _at_own_pace(self, counts: Ints, out: Floats, back: Floats, serving: Floats) -> None:
        """Answer each batch when it arrives, one at a time."""
        free, at = self._server_at, self._at.copy()
        waiting = [(float(at[i] + out[0, i]), i, 0) for i in range(len(counts))]
        heapify(waiting)
        while waiting:
            arrival, client, trip = heappop(waiting)
            free = max(free, arrival) + float(serving[client])
            ready = free + float(back[trip, client])
            if trip + 1 < counts[client]:
                heappush(waiting, (ready + float(out[trip + 1, client]), client, trip + 1))
            else:
                at[client] = ready
        self._server_at, self._at = free, at

    def result(self) -> RoundTime:
        """Return the round's seconds and joules."""
        watts = np.nan if self._server.watts is None else self._server.watts
        return RoundTime(
            seconds=max(float(self._at.max(initial=0.0)), self._server_at),
            computing=float(self._computing.mean()) if len(self._computing) else 0.0,
            sending=float(self._sending.mean()) if len(self._sending) else 0.0,
            serving=self._serving,
            client_joules=float(self._joules.sum()),
            server_joules=float(watts * self._serving) if self._serving else 0.0,
        )
