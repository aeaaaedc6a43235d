"""The work of one round, as a run has recorded it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a run's work.

    Attributes
    ----------
    client, head, server : float
        Of the forward pass of one sample, by part of the model.
    coding : Mapping
        Of a client per byte of a message's code, by direction and kind of payload: it decodes
        what comes down and encodes what goes up. Empty without codecs.
    """

    client: float
    head: float
    server: float
    coding: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


UNKNOWN = Flops(1.0, 1.0, 1.0)
"""Weights of the parts where a run recorded no FLOPs: only shares of measured seconds use them."""


@dataclass(frozen=True)
class RoundWork:
    """The work of one round; arrays have a value per client, ascending by partition id.

    Attributes
    ----------
    number : int
        Of the round, from 1.
    clients : tuple of int
        Partition ids of the clients that took part.
    examples : ndarray
        Examples of one pass over a client's data.
    down, up : Mapping
        Bytes to the clients and from them, by kind of payload.
    batch_size, local_epochs : int
        Of the clients.
    is_new : ndarray
        Clients that take part for the first time.
    held : ndarray
        Samples that a client uploaded in earlier rounds.
    config : Mapping
        Run configuration.
    flops : Flops or None
        As the run recorded; None for a run of an earlier version.
    client_seconds, server_seconds, alignment_seconds : float
        As measured: the clients' steps, added up; steps of the server half; alignment.
    """

    number: int
    clients: tuple[int, ...]
    examples: Floats
    down: Mapping[str, Floats]
    up: Mapping[str, Floats]
    batch_size: int
    local_epochs: int
    is_new: Bools
    held: Floats
    config: Mapping[str, Any] = field(default_factory=dict)
    flops: Flops | None = None
    client_seconds: float = 0.0
    server_seconds: float = 0.0
    alignment_seconds: float = 0.0

    @property
    def batches(self) -> Floats:
        """Number of each client's batches, at least 1."""
        return np.maximum(np.ceil(self.examples / self.batch_size), 1.0) * self.local_epochs

    @property
    def samples(self) -> Floats:
        """Number of samples that each client trains on, once per epoch."""
        return self.examples * self.local_epochs

    def count(self, key: str) -> float:
        """Return the value of a key of the run configuration; 1 for an empty or unset key."""
        value = self.config.get(key, 1) if key else 1
        return max(float(value or 1), 1.0)

    def is_set(self, key: str) -> bool:
        """Return whether a key of the run configuration is set; never for an empty key."""
        return bool(key) and bool(self.config.get(key))

    def uploaded_batches(self, every: str) -> Floats:
        """Return the number of batches of which a client uploads every q-th; the key gives q."""
        return np.ceil(self.batches / self.count(every))

    def sends(self, kind: str) -> bool:
        """Return whether any client sends a kind of payload; always for an empty kind."""
        return not kind or bool(self.up.get(kind, np.zeros(1)).any())


def batches_per_message(work: RoundWork, key: str) -> Floats:
    """Return the number of messages that carry all batches, several per message by a key."""
    size = ceil(work.count(key))
    return np.ceil(work.batches / size)
