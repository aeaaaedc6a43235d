"""Arguments shared by ``run`` and ``sweep``: clients, CPUs, GPUs."""

import argparse

from .numbers import positive

AUTO = "auto"
CLIENTS = 4
ENGINES = (AUTO, "inline", "ray")


def add_federation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--clients`` and the options for the clients' CPUs and GPUs."""
    parser.add_argument(
        "--clients", type=positive,
        help=f"number of clients (default: {CLIENTS}, or the resuming run's)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=ENGINES, default=AUTO,
        help="inline runs the clients one after another in this process, ray side by side in "
        "Flower's simulation; auto (default) chooses inline for a small run without a GPU. The "
        "options below are for ray",
    )  # fmt: skip
    parser.add_argument(
        "--cpus-per-client", type=positive, help="CPU threads per client (default: 1)"
    )
    parser.add_argument(
        "--gpus-per-client", type=_share, metavar="SHARE",
        help="share of a GPU per client (default: 0); auto measures one client, and runs as many "
        "at a time as fit in the memory",
    )  # fmt: skip
    parser.add_argument("--cpus", type=positive, help="total number of CPUs to use (default: all)")
    parser.add_argument("--gpus", type=positive, help="total number of GPUs to use (default: all)")
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT",
        help="run the clients on the Ray cluster at this address, to which this machine belongs; "
        "local starts Ray on this machine (default: $RAY_ADDRESS, or local)",
    )  # fmt: skip


def _share(text: str) -> float | str:
    if text == AUTO:
        return AUTO
    try:
        value = float(text)
    except ValueError:
        value = -1.0  # gives the same error as a number out of range
    # Flower accepts a negative share, and fails after everything has started.
    if not (0 <= value <= 1 or (value > 1 and value.is_integer())):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid; give auto, a number from 0 to 1, or a whole number of GPUs"
        )
    return value
