"""Declare the order of a round: its downloads, steps, exchanges and uploads, and what waits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

NEW = "new"


@dataclass(frozen=True)
class Phase:
    """A part of a round; the simulation takes the phases one after the other.

    A client phase lasts for each client separately, and begins when the client's phase before has
    ended. After a server phase all clients wait until it has ended.

    Attributes
    ----------
    only : {"", "new"}
        ``new`` limits the phase to clients that take part for the first time.
    where : str
        Kind of payload, such as ``smashed``: the phase is left out in rounds in which no client
        sends it. Empty for every round.
    unless, when : str
        Key of the run configuration that leaves the phase out where it is set, or where it is not.
    """

    only: str = ""
    where: str = ""
    unless: str = ""
    when: str = ""


@dataclass(frozen=True)
class Down(Phase):
    """A message from the server to each client.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of payload in it; empty for all bytes that no earlier phase has sent.
    """

    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Up(Phase):
    """A message from each client to the server.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of payload in it; empty for all bytes that no earlier phase has sent.
    batches : int
        Number of uploaded batches that it has smashed data of; 0 for all.
    every : str
        Key of the run configuration with the upload interval q; empty for every batch.
    """

    kinds: tuple[str, ...] = ()
    batches: int = 0
    every: str = ""


@dataclass(frozen=True)
class Steps(Phase):
    """Computation of each client on its batches, in forward passes of the parts.

    A step with its backward pass counts as three forward passes: one forward, one for the gradient
    of the inputs, one for that of the parameters.

    Attributes
    ----------
    client, head, server : float
        Forward passes of the client half, the head and the server half per sample.
    per : str
        Key of the run configuration that multiplies them; empty for 1.
    every : str
        Key of the run configuration with the number q: only every q-th batch counts.
    batches : int
        Number of batches; 0 for all of the round.
    one_pass : bool
        One pass over the client's data, whatever ``local-epochs``.
    """

    client: float = 0.0
    head: float = 0.0
    server: float = 0.0
    per: str = ""
    every: str = ""
    batches: int = 0
    one_pass: bool = False


@dataclass(frozen=True)
class Serve(Phase):
    """Steps of the server half on uploads, client after client, each once it has arrived.

    It is left out in rounds without server steps.

    Attributes
    ----------
    server : float
        Forward passes of the server half per sample.
    every : str
        Key of the run configuration with the upload interval q; empty for every batch.
    batches : int
        Number of batches per client; 0 for all that no earlier phase has served.
    per : str
        Key of the run configuration that multiplies the passes; empty for 1.
    """

    server: float = 3.0
    every: str = ""
    batches: int = 0
    per: str = ""


@dataclass(frozen=True)
class Pool(Phase):
    """Steps of the server half on the samples of all clients, once all have arrived.

    It is left out in rounds without server steps.

    Attributes
    ----------
    server : float
        Forward passes of the server half per sample and local epoch.
    every : str
        Key of the run configuration with the upload interval q; empty for every batch.
    per : str
        Key of the run configuration that multiplies the passes; empty for 1.
    """

    server: float = 3.0
    every: str = ""
    per: str = ""


@dataclass(frozen=True)
class RoundTrips(Phase):
    """Round trips: smashed data up, the server's step, gradients down, batch after batch.

    Attributes
    ----------
    forward, backward : float
        Forward passes of the client half per sample, before and after a round trip.
    server : float
        Forward passes of the server half per sample, in its steps.
    per : str
        Key of the run configuration that multiplies them; empty for 1.
    answer : float
        Forward passes per sample after the steps, for the client's answer.
    in_step : bool
        All clients wait for each other at every batch; otherwise the server takes batches in the
        order of their arrival, and answers each at once.
    size : str
        Key of the run configuration with the number of batches per round trip; empty for 1.
    one_by_one : tuple of str
        Key and value with which one client is trained after the other.
    twice : tuple of str
        Key and value with which each batch takes two round trips.
    """

    forward: float = 1.0
    backward: float = 2.0
    server: float = 3.0
    per: str = ""
    answer: float = 0.0
    in_step: bool = False
    size: str = ""
    one_by_one: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Align(Phase):
    """Alignment of heads on the server, once all earlier messages have arrived.

    It is left out in rounds without alignment.

    Attributes
    ----------
    server : float
        Forward passes of the server half per kept sample.
    head : float
        Forward passes of a head per kept sample and epoch of the alignment.
    samples, epochs : str
        Keys of the run configuration with the number of kept samples, and of epochs.
    groups : str
        Key of the run configuration with the number of heads that clients share, whose samples are
        those of a group; empty, or 0 in the run, for a head per client.
    """

    server: float = 2.0
    head: float = 6.0
    samples: str = ""
    epochs: str = ""
    groups: str = ""


Schedule = tuple[Phase, ...]

KINDS = {kind.__name__: kind for kind in (Down, Up, Steps, Serve, Pool, RoundTrips, Align)}


def to_plain(schedule: Schedule) -> list[list[Any]]:
    """Return a schedule as plain data for JSON: the name and the given values of each phase."""
    return [[type(phase).__name__, _given(phase)] for phase in schedule]


def from_plain(plain: Sequence[Sequence[Any]]) -> Schedule:
    """Return the schedule of :func:`to_plain`."""
    return tuple(KINDS[name](**_with_tuples(values)) for name, values in plain)


def _given(phase: Phase) -> dict[str, Any]:
    default = asdict(type(phase)())
    return {name: value for name, value in asdict(phase).items() if value != default[name]}


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
