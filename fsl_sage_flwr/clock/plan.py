"""Plan a round: give each phase of a schedule its clients, bytes and computation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .phases import NEW, Align, Down, Phase, Pool, RoundTrips, Schedule, Serve, Steps, Up
from .work import UNKNOWN, Bools, Floats, Flops, RoundWork, batches_per_message

SMASHED = ("smashed", "labels")


@dataclass(frozen=True)
class Planned:
    """A phase with its work; all arrays have a value per client, 0 for those without any.

    Attributes
    ----------
    phase : Phase
        The declaration.
    takes_part : ndarray of bool
        Clients of the phase.
    down, up : ndarray
        Bytes of its messages.
    messages : ndarray
        Number of round trips, of exchanges.
    client, coding, server, align : ndarray
        Floating-point operations: of the client's steps, of its codecs, of the server's steps on
        its samples, of its head's alignment. In arbitrary units where the run recorded none.
    """

    phase: Phase
    takes_part: Bools
    down: Floats
    up: Floats
    messages: Floats
    client: Floats
    coding: Floats
    server: Floats
    align: Floats


@dataclass
class _Unsent:
    """Bytes that no phase has sent yet, in one direction.

    Attributes
    ----------
    bytes : Mapping
        Bytes of each client by kind of payload.
    coding : Mapping
        Floating-point operations per byte by kind.
    """

    bytes: Mapping[str, Floats]
    coding: Mapping[str, float]
    left: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        self.left = {kind: sizes.astype(float) for kind, sizes in self.bytes.items()}

    def take(self, kinds: Iterable[str], share: Floats) -> tuple[Floats, Floats]:
        """Take a share of the unsent bytes of some kinds, of all kinds if none is given.

        Returns
        -------
        tuple
            The bytes, and the floating-point operations of their codecs.
        """
        taken, coding = np.zeros_like(share), np.zeros_like(share)
        for kind in tuple(kinds) or tuple(self.left):
            if kind in self.left:
                part = self.left[kind] * share
                self.left[kind] = self.left[kind] - part
                taken = taken + part
                coding = coding + part * self.coding.get(kind, 0.0)
        return taken, coding


def plan(schedule: Schedule, work: RoundWork) -> list[Planned]:
    """Return the phases of a round that have any work."""
    planner = _Planner(work)
    return [planned for phase in schedule if (planned := planner.of(phase)) is not None]


class _Planner:
    """Follows a schedule, and keeps what has been sent and served."""

    def __init__(self, work: RoundWork) -> None:
        self._work = work
        self._flops: Flops = work.flops or UNKNOWN
        coding = self._flops.coding
        self._down = _Unsent(work.down, coding.get("down", {}))
        self._up = _Unsent(work.up, coding.get("up", {}))
        self._served = np.zeros(len(work.clients))  # batches of each client

    def of(self, phase: Phase) -> Planned | None:
        """Return a phase with its work; None if it has none in this round."""
        work = self._work
        takes_part = work.is_new.copy() if phase.only == NEW else np.ones_like(work.is_new)
        left_out = work.is_set(phase.unless) or (phase.when != "" and not work.is_set(phase.when))
        if left_out or not (takes_part.any() and work.sends(phase.where)):
            return None
        mask, none = takes_part.astype(float), np.zeros(len(work.clients))
        names = ("down", "up", "messages", "client", "coding", "server", "align")
        parts = dict.fromkeys(names, none)
        if isinstance(phase, Down):
            parts["down"], parts["coding"] = self._down.take(phase.kinds, mask)
        elif isinstance(phase, Up):
            uploaded = work.uploaded_batches(phase.every)
            share = mask * _share(phase.batches, uploaded)
            parts["up"], parts["coding"] = self._up.take(phase.kinds, share)
        elif isinstance(phase, Steps):
            parts["client"] = mask * self._steps(phase)
        elif isinstance(phase, Serve):
            parts["server"] = mask * self._serve(phase, mask)
        elif isinstance(phase, Pool):
            parts["server"] = self._pool(phase)
        elif isinstance(phase, Align):
            parts["align"] = self._align(phase)
        elif isinstance(phase, RoundTrips):
            parts |= self._exchanges(phase)
        if not any(values.any() for values in parts.values()):
            return None
        return Planned(phase, takes_part, **parts)

    def _steps(self, phase: Steps) -> Floats:
        work, flops = self._work, self._flops
        samples = work.examples if phase.one_pass else work.samples
        if phase.every:
            samples = samples * work.uploaded_batches(phase.every) / work.batches
        each = phase.client * flops.client + phase.head * flops.head + phase.server * flops.server
        return samples * _share(phase.batches, work.batches) * each * work.count(phase.per)

    def _serve(self, phase: Serve, mask: Floats) -> Floats:
        work = self._work
        if not work.server_seconds:
            return np.zeros(len(work.clients))
        left = np.maximum(work.uploaded_batches(phase.every) - self._served, 0.0)
        batches = np.minimum(phase.batches, left) if phase.batches else left
        self._served = self._served + mask * batches
        passes = phase.server * work.count(phase.per)
        return passes * self._flops.server * work.samples * batches / work.batches

    def _pool(self, phase: Pool) -> Floats:
        work = self._work
        passes = phase.server * work.count(phase.per)
        share = work.uploaded_batches(phase.every) / work.batches
        return passes * self._flops.server * work.samples * share

    def _align(self, phase: Align) -> Floats:
        work, flops = self._work, self._flops
        if not work.alignment_seconds:
            return np.zeros(len(work.clients))
        uploaded = work.held + self._served * work.samples / work.batches
        size = work.count(phase.samples)
        if work.is_set(phase.groups):
            size *= work.count(phase.groups) / len(work.clients)
        kept = np.minimum(uploaded, size)
        epochs = work.count(phase.epochs)
        return kept * (phase.server * flops.server + phase.head * flops.head * epochs)

    def _exchanges(self, phase: RoundTrips) -> dict[str, Floats]:
        work, everyone = self._work, np.ones(len(self._work.clients))
        server = phase.server * work.count(phase.per) + phase.answer
        trips = 2 if phase.twice and work.config.get(phase.twice[0]) == phase.twice[1] else 1
        down, decoding = self._down.take((), everyone)
        up, encoding = self._up.take(SMASHED, everyone)
        return {
            "down": down,
            "up": up,
            "coding": decoding + encoding,
            "messages": trips * batches_per_message(work, phase.size),
            "client": (phase.forward + phase.backward) * self._flops.client * work.samples,
            "server": server * self._flops.server * work.samples,
        }


def _share(batches: int, of: Floats) -> Floats:
    """Return the fraction that some batches are of a client's; 1 for no number."""
    return np.minimum(batches / of, 1.0) if batches else np.ones_like(of)
