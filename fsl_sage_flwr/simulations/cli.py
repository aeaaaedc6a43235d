"""The ``fsl-sage`` command."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from rich.console import Console

from ..config import ConfigError, RunConfig
from .cut_table import cut_table
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
        if options.command == "cuts":
            return _cuts(options, Console())
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


def _cuts(options: argparse.Namespace, console: Console) -> int:
    config = resolve(options.preset, [f"model={options.model}", *options.settings])
    found = cut_table(config, tuple(options.image), options.classes, options.depth)
    # A pipe has no width: nothing may be cut off there.
    wide = console if console.is_terminal else Console(width=200)
    wide.print(found)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fsl-sage", description="Federated split learning.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
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
    cuts = commands.add_parser(
        "cuts",
        help="where a model can be cut, and what each cut costs",
        description="List a model's cuts: smashed data, sizes, FLOPs, bytes of a round.",
        epilog="key=value: batch-size, server-update-interval, align-interval, local-epochs",
    )
    cuts.add_argument("settings", nargs="*", metavar="key=value", help="run configuration")
    cuts.add_argument("--model", default="resnet18", help="a model of the catalogue (resnet18)")
    cuts.add_argument(
        "--image", type=_positive, nargs=3, default=(3, 32, 32), metavar=("C", "H", "W"),
        help="shape of an image (3 32 32)",
    )  # fmt: skip
    cuts.add_argument("--classes", type=_positive, default=10, help="number of classes (10)")
    cuts.add_argument("--depth", type=_positive, default=2, help="of the submodules (2)")
    cuts.add_argument("--preset", help="settings by name or a TOML file")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
