"""``fsl-sage run``: one simulation."""

import argparse
from dataclasses import replace

from rich.console import Console

from ...command_line.arguments.federation import AUTO
from ..gpu_share import automatic_share
from ..progress import RoundLines, table
from ..run import simulate
from ..settings import resolve
from .federation_options import federation_of, usable_gpus


def run_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Train in a simulation, with a line for each round."""
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
