"""The clients, CPUs and GPUs that the command line names."""

import argparse
import os

import torch

from ...command_line.arguments.federation import AUTO, CLIENTS
from ..federation import Federation


def federation_of(options: argparse.Namespace) -> Federation:
    """Return the federation of the options; ``auto`` means no GPU until a client is measured."""
    share = 0.0 if options.gpus_per_client == AUTO else options.gpus_per_client
    clients = options.clients or CLIENTS
    return Federation(clients, options.cpus_per_client, share, options.cpus, options.gpus)


def usable_cpus(options: argparse.Namespace) -> int:
    """Return the number of CPUs that may be used."""
    return options.cpus or len(os.sched_getaffinity(0))


def usable_gpus(options: argparse.Namespace) -> list[str]:
    """Return the GPUs that may be used, as in ``CUDA_VISIBLE_DEVICES``."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        visible = ",".join(map(str, range(torch.cuda.device_count())))
    gpus = [name for name in visible.split(",") if name and name != "-1"]
    return gpus[: options.gpus]
