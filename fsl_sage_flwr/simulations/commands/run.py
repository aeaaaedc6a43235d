"""``fsl-sage run``: one simulation."""

import argparse
from dataclasses import replace
from typing import Any

from rich.console import Console

from ..gpu_share import automatic_share
from ..progress import RoundLines, table
from ..run import simulate
from ..settings import preset_names, resolve
from .federation_options import AUTO, add_federation_options, federation_of, usable_gpus


def add_run_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="train in a simulation on this machine",
        description="Train in Flower's simulation on this machine.",
        epilog="key=value: any key of the run configuration, e.g. "
        "fsl-sage run --clients 10 model=resnet18 dataset=cifar10 distribution=iid",
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="run configuration")
    add_federation_options(parser)
    parser.add_argument(
        "--preset", help=f"settings by name ({', '.join(preset_names())}) or a TOML file"
    )
    parser.set_defaults(command=_run)


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
