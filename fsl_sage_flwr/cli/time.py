"""``fsl-sage time``: hours and joules of existing runs on other devices and links."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..analysis.choices import MEAN_OF
from .comparison import BudgetMib, MeanOf, Target, budget_in_bytes, comparison_of
from .options import RESULTS, Directory, Imports, above_zero
from .pictures import Formats, OutDir, picture_folder, write_picture
from .printing import consoles, say

if TYPE_CHECKING:
    import pandas as pd

    from ..clock.fleet import Fleet


def time_command(
    directory: Directory = RESULTS,
    link: Annotated[
        str,
        typer.Option(
            metavar="LINK",
            help="link of each client: fibre, wifi, lte, lora, or Mbit/s down, up and latency in "
            "ms, such as 10/2@50",
        ),
    ] = "fibre",
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="device of each client: jetson, pi5, phone, server-gpu, FLOP/s such as 1e9, or "
            "measured seconds; *20 makes it 20 times slower, as in measured*20",
        ),
    ] = "measured",
    server: Annotated[
        str, typer.Option(metavar="DEVICE", help="device of the server, as --device")
    ] = "measured",
    clients: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="table with a row per client: client, and any of device, link, flops, watts, "
            "factor, mbit_down, mbit_up, latency_ms, jitter",
        ),
    ] = None,
    device_spread: Annotated[
        float,
        typer.Option(
            metavar="FACTOR",
            help="spread of the clients' speeds: log-normal, two thirds within this factor",
        ),
    ] = 1.0,
    link_spread: Annotated[
        float, typer.Option(metavar="FACTOR", help="spread of the clients' bandwidths")
    ] = 1.0,
    message_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="seconds of every message and its reply beside bytes and latency",
        ),
    ] = 0.0,
    message_round_trips: Annotated[
        float, typer.Option(min=1, help="round trips of every message and its reply")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="seed of spreads and jitter")] = 0,
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    protocols: Annotated[
        bool,
        typer.Option(
            "--protocols",
            help="print the table of three protocols instead: quality under a budget of MiB, hours "
            "and kJ, cost to the target, and accuracy lost by injected faults",
        ),
    ] = False,
    budget_mib: BudgetMib = None,
    budget_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            parser=above_zero,
            help="hours at which accuracies are compared (default: the smallest total of the runs)",
        ),
    ] = None,
    budget_kilojoules: Annotated[
        float | None,
        typer.Option(
            metavar="KJ",
            parser=above_zero,
            help="energy of all clients at which accuracies are compared, with --protocols "
            "(default: the smallest total of the runs)",
        ),
    ] = None,
    format: Annotated[
        Literal["markdown", "csv", "latex"],
        typer.Option(help="format of the table; csv has unformatted numbers"),
    ] = "markdown",
    out_dir: OutDir = None,
    pictures: Formats = None,
    imports: Imports = None,
) -> int:
    """Print hours and joules to a target on given devices and links, for runs that exist.

    Two pictures show the time against bandwidth and against latency, with the places at which
    another algorithm becomes the fastest.
    """
    from ..analysis.load_results import load_results
    from ..analysis.pictures.time_axes import time_picture
    from ..analysis.run_time import plan_runs, run_times
    from ..analysis.time_sweep import AXES
    from ..analysis.time_table import format_time_table
    from ..clock.fleet import fleet_of

    fleet = fleet_of(
        device, link, server, device_spread=device_spread, link_spread=link_spread, seed=seed,
        table=clients, message_seconds=message_seconds, message_round_trips=message_round_trips,
    )  # fmt: skip
    console, errors = consoles()
    results = load_results(directory, lambda line: say(errors, line))
    if protocols:
        budgets = (budget_in_bytes(budget_mib), budget_hours, budget_kilojoules)
        text, notes = _protocols(results, fleet, target, mean_of, budgets, format)
        say(console, text, end="")
        for note in notes:
            say(errors, note)
        return 0
    comparison = comparison_of(
        results,
        target=target, mean_of=mean_of, budget_mib=budget_mib, count="measured", spread="deviation",
    )  # fmt: skip
    runs = plan_runs(comparison)
    times = run_times(comparison, runs, fleet, budget_hours)
    say(console, format_time_table(comparison, times, format), end="")
    folder = picture_folder(directory, out_dir)
    if any(run.reached for run in runs):
        for axis in AXES:
            picture, texts = time_picture(comparison, runs, fleet, axis)
            for path in write_picture(picture, folder, pictures):
                say(errors, str(path))
            for text in texts:
                say(errors, text)
    for note in comparison.notes:
        if not note.startswith(("communication", "budget")):
            say(errors, note)
    return 0


def _protocols(
    results: "pd.DataFrame",
    fleet: "Fleet",
    target: float | None,
    mean_of: int,
    budgets: tuple[float | None, float | None, float | None],
    how: Literal["markdown", "csv", "latex"],
) -> tuple[str, tuple[str, ...]]:
    """Return the table of three protocols and its notes; budgets in bytes, hours, kilojoules."""
    from ..analysis.protocols import COSTS, budgets_of, format_protocols
    from ..analysis.robustness import disturbed_runs
    from ..analysis.run_time import on_clock, plan_runs

    found = disturbed_runs(results, target=target, mean_of=mean_of)
    timed = on_clock(found.comparison, plan_runs(found.comparison), fleet)
    given = {cost: value for cost, value in zip(COSTS, budgets, strict=True) if value is not None}
    runs = replace(found, comparison=timed)
    notes = tuple(note for note in found.notes if not note.startswith("budget"))
    return format_protocols(runs, budgets_of(timed, given), how), notes
