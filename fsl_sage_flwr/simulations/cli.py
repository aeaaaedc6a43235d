"""The ``fsl-sage`` command."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from rich.console import Console

from ..config import ConfigError, RunConfig
from .progress import table
from .run import Federation, simulate
from .settings import preset_names, resolve
from .superlink import FlowerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: done. 1: the run failed. 2: the command line is wrong. 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    errors = Console(stderr=True)
    try:
        config = resolve(options.preset, options.settings)
    except ConfigError as error:
        errors.print(f"fsl-sage: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    federation = Federation(
        options.clients, options.cpus_per_client, options.gpus_per_client,
        options.cpus, options.gpus,
    )  # fmt: skip
    try:
        return _run(config, federation, Console(), errors)
    except KeyboardInterrupt:
        errors.print("fsl-sage: interrupted; everything it started has been ended")
        return 130
    except FlowerError as error:
        errors.print(f"fsl-sage: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1


def _run(config: RunConfig, federation: Federation, console: Console, errors: Console) -> int:
    console.print(
        f"{config.algorithm}: {config.model} on {config.dataset}, {config.distribution}, "
        f"{federation.clients} clients, {config.num_server_rounds} rounds",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    summary, path = simulate(config, federation, console)
    if not summary["completed"]:
        errors.print(
            f"fsl-sage: the run failed: {summary['status']}\nits log: {summary['log']}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        return 1
    console.print()
    console.print(table(summary))
    console.print(f"results: {path}", highlight=False, soft_wrap=True)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fsl-sage", description="Federated split learning.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="train in a simulation on this machine",
        description="Train in Flower's simulation on this machine.",
        epilog="key=value: any key of the run configuration, e.g. "
        "fsl-sage run --clients 10 model=resnet18 dataset=cifar10 distribution=iid",
    )
    run.add_argument("settings", nargs="*", metavar="key=value", help="run configuration")
    run.add_argument("--clients", type=_positive, default=4, help="virtual clients (4)")
    run.add_argument(
        "--cpus-per-client", type=_positive, default=1, help="CPU threads per client (1)"
    )
    run.add_argument(
        "--gpus-per-client", type=float, default=0.0, help="share of a GPU per client (0)"
    )
    run.add_argument("--cpus", type=_positive, help="CPUs to use in all (every one)")
    run.add_argument("--gpus", type=int, help="GPUs to use in all (every one)")
    run.add_argument(
        "--preset", help=f"settings by name ({', '.join(preset_names())}) or a TOML file"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
