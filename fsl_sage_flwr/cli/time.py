"""``fsl-sage time``: hours and joules of existing runs on other devices and links."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from click import UsageError

from ..analysis.choices import FORMATS, MEAN_OF
from .comparison import MeanOf, Target, comparison_of
from .options import RESULTS, Directory, Imports, above_zero
from .plot import some_of
from .printing import consoles, say, write


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
    seed: Annotated[int, typer.Option(help="seed of spreads and jitter")] = 0,
    target: Target = None,
    mean_of: MeanOf = MEAN_OF,
    budget_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            parser=above_zero,
            help="hours at which accuracies are compared (default: the smallest total of the runs)",
        ),
    ] = None,
    format: Annotated[
        Literal["markdown", "csv", "latex"],
        typer.Option(help="format of the table; csv has unformatted numbers"),
    ] = "markdown",
    out_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="directory of the pictures (default: DIR/pictures)"),
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option(
            metavar="png,svg,pdf",
            help="file formats of the pictures (default: all)",
            callback=some_of(FORMATS),
        ),
    ] = None,
    imports: Imports = None,
) -> int:
    """Print hours and joules to a target on given devices and links, for runs that exist.

    Two pictures show the time against bandwidth and against latency, with the places at which
    another algorithm becomes the fastest.
    """
    from ..analysis.load_results import load_results
    from ..analysis.pictures import encoded
    from ..analysis.pictures.time_axes import time_picture
    from ..analysis.run_time import plan_runs, run_times
    from ..analysis.time_sweep import AXES
    from ..analysis.time_table import format_time_table
    from ..clock.fleet import fleet_of

    fleet = fleet_of(
        device, link, server, device_spread=device_spread, link_spread=link_spread, seed=seed,
        table=clients,
    )  # fmt: skip
    console, errors = consoles()
    comparison = comparison_of(
        load_results(directory, lambda line: say(errors, line)),
        target=target, mean_of=mean_of, budget_mib=None, count="measured", spread="deviation",
    )  # fmt: skip
    runs = plan_runs(comparison)
    times = run_times(comparison, runs, fleet, budget_hours)
    say(console, format_time_table(comparison, times, format), end="")
    folder = out_dir or directory / "pictures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out-dir {str(folder)!r} cannot be created: {error.strerror}"
        ) from error
    if any(run.reached for run in runs):
        for axis in AXES:
            picture, texts = time_picture(comparison, runs, fleet, axis)
            for suffix in pictures or FORMATS:
                path = folder / f"{picture.name}.{suffix}"
                write(path, encoded(picture, cast(Literal["png", "svg", "pdf"], suffix)))
                say(errors, str(path))
            for text in texts:
                say(errors, text)
    for note in comparison.notes:
        if not note.startswith(("communication", "budget")):
            say(errors, note)
    return 0
