"""Choose where a simulation's clients run: in this process, or in Flower's simulation on Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from ..app.assembly import training_cost
from ..app.config import ConfigError, RunConfig
from ..app.virtual_clock import refuse_late_replies_without_a_clock
from .federation import INLINE, RAY, Federation

AUTO = "auto"

# Longest training of an inline run that `auto` chooses, in seconds. Ray takes 20 s to start and
# would save half of the training on two cores.
LONGEST_INLINE = 60.0
# One core of a laptop or a server, with the small layers of small models.
FLOPS_PER_SECOND = 2e10
SECONDS_PER_BATCH = 0.006
BACKWARD = 3  # FLOPs of a training step, as a multiple of the forward pass's


@dataclass(frozen=True)
class Engine:
    """An engine, and the reason for it.

    Attributes
    ----------
    name : str
        ``inline`` or ``ray``.
    reason : str
        Part of a line.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"engine {self.name}: {self.reason}"


def choose_engine(
    wanted: str, config: RunConfig, federation: Federation, for_ray: Sequence[str]
) -> Engine:
    """Return the engine of a run.

    ``auto`` is ``inline`` if no GPU is used and all clients' training takes one core at most a
    minute, by an estimate from the model's FLOPs and the number of batches; otherwise ``ray``.

    Parameters
    ----------
    wanted : str
        ``auto``, ``inline`` or ``ray``.
    config, federation : RunConfig, Federation
        The run and its clients.
    for_ray : sequence of str
        Given options that only ``ray`` has; ``auto`` is then ``ray``.

    Raises
    ------
    ConfigError
        ``inline`` is wanted with an option of ``ray``.
    DatasetError, SplitError
        The data or the model cannot be used.
    """
    if wanted == INLINE and for_ray:
        raise ConfigError(
            f"--engine inline with {', '.join(for_ray)}: the clients run one after another in this "
            "process; leave out one of them"
        )
    by_clock = config.clock.clock_replies
    if by_clock and (wanted == RAY or for_ray):
        given = ", ".join(for_ray) if for_ray else "--engine ray"
        raise ConfigError(
            f"clock.replies = true with {given}: Ray's clients run by the machine's clock; leave "
            "it out, and give --engine inline"
        )
    refuse_late_replies_without_a_clock(config)
    if wanted != AUTO:
        return Engine(wanted, f"{federation.clients} clients, as --engine says")
    if by_clock:
        return Engine(INLINE, f"{federation.clients} clients, replies by the virtual clock")
    if for_ray:
        return Engine(RAY, f"{federation.clients} clients, {', '.join(for_ray)} is given")
    if config.torch_device().type != "cpu":
        return Engine(RAY, f"{federation.clients} clients, on a GPU")
    seconds = training_seconds(config, federation.clients)
    what = f"{federation.clients} clients of {config.dataset}, no GPU, "
    if seconds is None:
        return Engine(RAY, f"{what}training of unknown length")
    name = INLINE if seconds <= LONGEST_INLINE else RAY
    return Engine(name, f"{what}the clients' training takes one core about {_duration(seconds)}")


def training_seconds(config: RunConfig, clients: int) -> float | None:
    """Estimate the seconds in which one core trains all clients; None if the cost is unknown."""
    cost = training_cost(config)
    if cost is None:
        return None
    passes = config.num_server_rounds * config.local_epochs * config.strategy.fraction_train
    batches = clients * ceil(cost.samples / clients / config.batch_size)
    flops = BACKWARD * cost.samples * cost.flops
    return passes * (batches * SECONDS_PER_BATCH + flops / FLOPS_PER_SECOND)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.0f} h"
