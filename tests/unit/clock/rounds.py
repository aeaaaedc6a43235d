"""Rounds whose seconds can be added up by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fsl_sage_flwr.clock.devices import Device
from fsl_sage_flwr.clock.fleet import Fleet
from fsl_sage_flwr.clock.links import Link
from fsl_sage_flwr.clock.work import Flops, RoundWork

FLOPS = Flops(client=1e6, head=1e5, server=2e6)
DEVICE, SERVER = Device(1e8, 10.0), Device(1e9, 100.0)
# One megabyte takes 1 s down and 2 s up, an empty message 0.05 s.
LINK = Link(down=8.0, up=4.0, latency=0.1, down_joules=1e-6, up_joules=2e-6, watts=0.5)
MB = 1e6


def fleet(**changes: Any) -> Fleet:
    return Fleet(**{"device": DEVICE, "link": LINK, "server": SERVER, **changes})


def round_work(
    down: Mapping[str, Sequence[float]],
    up: Mapping[str, Sequence[float]],
    *,
    examples: Sequence[float] = (20.0,),
    new: bool = False,
    **changes: Any,
) -> RoundWork:
    """Return a round with two batches of ten per client, unless other ``examples`` are given."""
    count = len(examples)
    given: dict[str, Any] = {
        "number": 1,
        "clients": tuple(range(count)),
        "examples": np.array(examples, float),
        "down": {kind: np.array(sizes, float) for kind, sizes in down.items()},
        "up": {kind: np.array(sizes, float) for kind, sizes in up.items()},
        "batch_size": 10,
        "local_epochs": 1,
        "is_new": np.full(count, new),
        "held": np.zeros(count),
        "config": {"server-update-interval": 1, "align.dataset-size": 500, "align.epochs": 5},
        "flops": FLOPS,
        "client_seconds": 1.0,
        "server_seconds": 1.0,
        "alignment_seconds": 0.0,
    }
    return RoundWork(**{**given, **changes})
