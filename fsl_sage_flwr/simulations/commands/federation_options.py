"""The command-line options that ``run`` and ``sweep`` share: clients, CPUs, GPUs."""

import argparse
import os

import torch

from ..run import Federation

AUTO = "auto"


def add_federation_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--clients`` and the options for the CPUs and GPUs that clients may use."""
    parser.add_argument("--clients", type=positive, default=4, help="number of virtual clients (4)")
    parser.add_argument(
        "--cpus-per-client", type=positive, default=1, help="CPU threads per client (1)"
    )
    parser.add_argument(
        "--gpus-per-client", type=_share, default=0.0, metavar="SHARE",
        help="share of a GPU per client (0); auto: measure one client, and run as many at a time "
        "as fit in the memory",
    )  # fmt: skip
    parser.add_argument("--cpus", type=positive, help="total number of CPUs to use (all)")
    parser.add_argument("--gpus", type=positive, help="total number of GPUs to use (all)")


def federation_of(options: argparse.Namespace) -> Federation:
    """Return the federation of the options; ``auto`` means no GPU until a client is measured."""
    share = 0.0 if options.gpus_per_client == AUTO else options.gpus_per_client
    return Federation(options.clients, options.cpus_per_client, share, options.cpus, options.gpus)


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


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _share(text: str) -> float | str:
    if text == AUTO:
        return AUTO
    value = float(text)
    if not (0 <= value <= 1 or value.is_integer()):
        raise argparse.ArgumentTypeError(
            f"{text} is not valid; give auto, a number from 0 to 1, or a whole number of GPUs"
        )
    return value
