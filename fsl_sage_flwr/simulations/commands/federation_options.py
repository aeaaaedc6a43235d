"""Read the clients, CPUs and GPUs from the command line's options."""

import argparse
import os

import torch

from ...app.config import ConfigError
from ...command_line.arguments.federation import AUTO, CLIENTS
from ...registries import IMPORTS
from ..federation import Federation
from ..ray_cluster import VARIABLE, cluster_address


def federation_of(options: argparse.Namespace) -> Federation:
    """Return the federation of the options; ``auto`` means no GPU until it is measured.

    Raises
    ------
    ConfigError
        An option concerns this machine but the clients run on a Ray cluster, or the cluster's
        address is invalid.
    """
    share = 0.0 if options.gpus_per_client == AUTO else options.gpus_per_client
    clients = options.clients or CLIENTS
    given = os.environ.get(VARIABLE, "") if options.ray_address is None else options.ray_address
    address = cluster_address(given)
    if address is not None:
        _refuse_machine_options(options, address)
    return Federation(
        clients, options.cpus_per_client, share, options.cpus, options.gpus, ray_address=address
    )


def _refuse_machine_options(options: argparse.Namespace, address: str) -> None:
    for option, given, instead in (
        ("--cpus", options.cpus, "set it with `ray start --num-cpus` on each machine"),
        ("--gpus", options.gpus, "set it with `ray start --num-gpus` on each machine"),
        (
            "--gpus-per-client",
            options.gpus_per_client if options.gpus_per_client == AUTO else None,
            "auto would measure a GPU of this machine; give a number",
        ),
        (
            "--import",
            next(iter(options.imports), None),
            "it does not reach the cluster's processes; install it with an entry point, or set "
            f"{IMPORTS} where `ray start` is called and here",
        ),
    ):
        if given is not None:
            raise ConfigError(
                f"{option} {given}: the clients run on the Ray cluster at {address}; {instead}"
            )


def usable_gpus(options: argparse.Namespace) -> list[str]:
    """Return the usable GPUs, as in ``CUDA_VISIBLE_DEVICES``."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        visible = ",".join(map(str, range(torch.cuda.device_count())))
    gpus = [name for name in visible.split(",") if name and name != "-1"]
    return gpus[: options.gpus]
