"""The ``fsl-sage`` command."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from ..config import ConfigError, RunConfig
from ..data import DATASETS, DISTRIBUTIONS, DatasetError
from ..trackers import TrackerError
from .commands import add_result_commands
from .cut_table import cut_table
from .federation_options import AUTO, add_federation_options, federation_of, positive, usable_gpus
from .gpu_share import automatic_share
from .leakage.command import add_leakage
from .load_results import ResultsError
from .progress import RoundLines, table
from .run import simulate
from .settings import preset_names, resolve
from .superlink import FlowerError
from .sweeps.command import add_sweep_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: done. 1: the run failed, or the data or the results cannot be read or drawn.
    2: the command line is wrong. 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    errors = Console(stderr=True)
    problem: Exception
    try:
        return int(options.command(options, Console(), errors))
    except (ConfigError, TrackerError) as error:
        status, problem = 2, error
    except (FlowerError, DatasetError, ResultsError) as error:
        status, problem = 1, error
    except KeyboardInterrupt:
        errors.print("fsl-sage: interrupted; everything it started has been ended")
        return 130
    errors.print(f"fsl-sage: {problem}", markup=False, highlight=False, soft_wrap=True)
    return status


def _run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    config = resolve(options.preset, options.settings)
    federation = federation_of(options)
    if options.gpus_per_client == AUTO:
        chosen = automatic_share(config, options.clients, usable_gpus(options))
        federation = replace(federation, gpus_per_client=chosen.share)
        console.print(chosen.text, highlight=False, soft_wrap=True)
    console.print(
        f"{config.algorithm}: {config.model} on {config.dataset}, {config.distribution}, "
        f"{federation.clients} clients, {config.num_server_rounds} rounds",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    with RoundLines(console, config.num_server_rounds) as lines:
        summary, path = simulate(config, federation, lines)
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


def _cuts(options: argparse.Namespace, console: Console, errors: Console) -> int:
    config = resolve(options.preset, [f"model={options.model}", *options.settings])
    found = cut_table(config, tuple(options.image), options.classes, options.depth)
    # A pipe has no width: nothing may be cut off there.
    wide = console if console.is_terminal else Console(width=200)
    wide.print(found)
    return 0


def _data(options: argparse.Namespace, console: Console, errors: Console) -> int:
    # Here and not above: matplotlib takes a second that a run need not wait for.
    from .label_picture import counts_of, draw, summary

    keys = ("dataset", "distribution", "alpha", "shards-per-client", "seed")
    given = {key: getattr(options, key.replace("-", "_")) for key in keys}
    config = RunConfig.from_run_config({k: v for k, v in given.items() if v is not None})
    path = options.out or Path(
        f"{Path(config.dataset).name}-{config.distribution}-{options.clients}-clients.png"
    )
    if not path.parent.is_dir():
        raise ConfigError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}")
    counts = counts_of(config, options.clients)
    settings = {"noniid_dirichlet": f", alpha {config.alpha:g}"}
    settings["noniid"] = f", {config.shards_per_client} shards per client"
    how = f"{config.distribution}{settings.get(config.distribution, '')}"
    try:
        draw(counts, f"{Path(config.dataset).name}: {how}, seed {config.seed}", path)
    except OSError as error:
        raise ConfigError(f"--out {str(path)!r} cannot be written: {error.strerror}") from error
    console.print(f"{path}: {summary(counts)}", highlight=False, soft_wrap=True)
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
    add_federation_options(run)
    run.add_argument(
        "--preset", help=f"settings by name ({', '.join(preset_names())}) or a TOML file"
    )
    run.set_defaults(command=_run)
    add_sweep_command(commands)
    add_result_commands(commands)
    cuts = commands.add_parser(
        "cuts",
        help="where a model can be cut, and what each cut costs",
        description="List a model's cuts: smashed data, sizes, FLOPs, bytes of a round.",
        epilog="key=value: batch-size, server-update-interval, align-interval, local-epochs",
    )
    cuts.add_argument("settings", nargs="*", metavar="key=value", help="run configuration")
    cuts.add_argument("--model", default="resnet18", help="a model of the catalogue (resnet18)")
    cuts.add_argument(
        "--image", type=positive, nargs=3, default=(3, 32, 32), metavar=("C", "H", "W"),
        help="shape of an image (3 32 32)",
    )  # fmt: skip
    cuts.add_argument("--classes", type=positive, default=10, help="number of classes (10)")
    cuts.add_argument("--depth", type=positive, default=2, help="of the submodules (2)")
    cuts.add_argument("--preset", help="settings by name or a TOML file")
    cuts.set_defaults(command=_cuts)
    data = commands.add_parser(
        "data",
        help="draw how many examples of each label each client has",
        description="Draw how a dataset is divided, as a run of the same settings divides it.",
    )
    data.add_argument("--dataset", help=f"{', '.join(DATASETS)} or a path (digits)")
    data.add_argument("--distribution", help=f"{', '.join(DISTRIBUTIONS)} (iid)")
    data.add_argument("--alpha", type=float, help="of noniid_dirichlet (1.0)")
    data.add_argument("--shards-per-client", type=int, help="of noniid (2)")
    data.add_argument("--clients", type=positive, default=4, help="clients (4)")
    data.add_argument("--seed", type=int, help="the run's seed (200)")
    data.add_argument("--out", type=Path, metavar="FILE.png", help="the picture to write")
    data.set_defaults(command=_data)
    add_leakage(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
