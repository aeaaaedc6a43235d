"""Arguments of ``run`` and ``sweep`` for clients, CPUs and GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..simulations.federation import Federation

AUTO = "auto"
CLIENTS = 4


def _check_share(text: str) -> str:
    try:
        value = 0.0 if text == AUTO else float(text)
    except ValueError:
        value = -1.0  # gives the same error as a number out of range
    # Flower accepts a negative share, and fails after everything has started.
    if not (0 <= value <= 1 or (value > 1 and value.is_integer())):
        raise typer.BadParameter(
            f"{text!r} is not valid; give auto, a number from 0 to 1, or a whole number of GPUs"
        )
    return text


Clients = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help=f"number of clients (default: {CLIENTS}, or the resuming run's)"
    ),
]
CpusPerClient = Annotated[int, typer.Option(min=1, metavar="N", help="CPU threads per client")]
GpusPerClient = Annotated[
    str,
    typer.Option(
        metavar="SHARE",
        help="share of a GPU per client; auto measures one client, and runs as many at a time as "
        "fit in the memory",
        callback=_check_share,
    ),
]
Cpus = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="total CPUs to use (default: all)")
]
Gpus = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="total GPUs to use (default: all)")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="run the clients on the Ray cluster at this address, to which this machine belongs; "
        "local starts Ray on this machine (default: $RAY_ADDRESS, or local)",
    ),
]


def federation_of(
    *,
    clients: int | None,
    cpus_per_client: int,
    gpus_per_client: str,
    cpus: int | None,
    gpus: int | None,
    ray_address: str | None,
    imports: Sequence[str] | None,
) -> Federation:
    """Return the federation of the options; ``auto`` means no GPU until it is measured.

    Raises
    ------
    ConfigError
        An option concerns this machine but the clients run on a Ray cluster, or the cluster's
        address is invalid.
    """
    from ..simulations.federation import Federation
    from ..simulations.ray_cluster import VARIABLE, cluster_address

    share = 0.0 if gpus_per_client == AUTO else float(gpus_per_client)
    given = os.environ.get(VARIABLE, "") if ray_address is None else ray_address
    address = cluster_address(given)
    if address is not None:
        _refuse_machine_options(address, gpus_per_client, cpus, gpus, imports)
    return Federation(clients or CLIENTS, cpus_per_client, share, cpus, gpus, ray_address=address)


def _refuse_machine_options(
    address: str,
    gpus_per_client: str,
    cpus: int | None,
    gpus: int | None,
    imports: Sequence[str] | None,
) -> None:
    from ..app.config import ConfigError
    from ..registries import IMPORTS

    for option, given, instead in (
        ("--cpus", cpus, "set it with `ray start --num-cpus` on each machine"),
        ("--gpus", gpus, "set it with `ray start --num-gpus` on each machine"),
        (
            "--gpus-per-client",
            gpus_per_client if gpus_per_client == AUTO else None,
            "auto would measure a GPU of this machine; give a number",
        ),
        (
            "--import",
            next(iter(imports or ()), None),
            "it does not reach the cluster's processes; install it with an entry point, or set "
            f"{IMPORTS} where `ray start` is called and here",
        ),
    ):
        if given is not None:
            raise ConfigError(
                f"{option} {given}: the clients run on the Ray cluster at {address}; {instead}"
            )


def usable_gpus(most: int | None) -> list[str]:
    """Return the usable GPUs, as in ``CUDA_VISIBLE_DEVICES``; at most ``most`` of them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        visible = ",".join(map(str, range(torch.cuda.device_count())))
    gpus = [name for name in visible.split(",") if name and name != "-1"]
    return gpus[:most]
