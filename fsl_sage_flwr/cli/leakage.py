"""``fsl-sage leakage``: measure what smashed data reveal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..units import percent
from .completion import complete_key
from .options import Imports, Picture, Preset, refuse_unknown_keys
from .printing import check_output, consoles, refuse_output, say

if TYPE_CHECKING:
    from rich.table import Table

    from ..app.config import RunConfig
    from ..attacks.measurement import Leakage, Trained


def leakage_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN_DIR | key=value",
            help="directory of a completed run, for its configuration and halves; and keys that "
            "override its configuration (without a directory: newly initialised halves)",
            callback=refuse_unknown_keys,
            autocompletion=complete_key,
        ),
    ] = None,
    preset: Preset = None,
    steps: Annotated[
        int, typer.Option(min=4, metavar="N", help="training steps of the decoder")
    ] = 1000,
    images: Annotated[
        int,
        typer.Option(min=4, metavar="N", help="largest number of training images for the decoder"),
    ] = 5000,
    samples: Annotated[
        int, typer.Option(min=4, metavar="N", help="largest number of test images to measure on")
    ] = 500,
    out: Picture = None,
    imports: Imports = None,
) -> int:
    """Measure how much the smashed data at a cut reveal of the inputs.

    Measures the distance correlation between inputs and smashed data, trains a decoder that
    reconstructs the inputs, and draws both side by side; inverts the client half, infers labels
    from gradients, and membership from the loss.

    For example: fsl-sage leakage model=resnet18 dataset=cifar10 cut=layer2; fsl-sage leakage
    results/…/my-run privacy.smashed-clip-norm=1 privacy.smashed-noise-multiplier=0.5
    """
    from ..app.assembly import check_task
    from ..app.images_only import refuse_other_tasks
    from ..attacks.measurement import Effort, measure

    given = words or []
    config, trained, source = _chosen(
        [word for word in given if "=" not in word], [word for word in given if "=" in word], preset
    )
    refuse_other_tasks(config, "leakage")
    check_task(config, clients=1)
    path = out or Path(f"leakage-{config.model}.png")
    check_output(path)
    console, _ = consoles()
    with console.status("measuring …"):
        found = measure(config, trained, Effort(steps, images, samples))
    # Imported here because matplotlib takes a second to import, which a refusal does not need.
    from ..attacks.picture import draw

    title = f"{config.model} cut before {found.cut}, {Path(config.dataset).name}, {source}"
    treatment = _treatment(config)
    try:
        draw(found.originals, found.reconstructions, f"{title}\n{treatment}", path)
    except OSError as error:
        raise refuse_output(path, error) from error
    say(console, title)
    console.print(_table(found, treatment, path))
    return 0


def _chosen(
    directories: list[str], words: list[str], preset: str | None
) -> tuple[RunConfig, Trained | None, str]:
    """Return the configuration, a run's weights or None, and a description of the halves."""
    import torch

    from ..app.config import ConfigError, RunConfig, with_new_names
    from ..attacks.measurement import Trained
    from ..runs.directory import RunDirectory
    from ..runs.find_runs import MARKER, is_run
    from ..simulations.settings import read_words, resolve

    if not directories:
        return resolve(preset, words), None, "halves as initialised"
    if len(directories) > 1 or preset:
        raise ConfigError(
            f"{' and '.join([*directories, *([f'--preset {preset}'] if preset else [])])}: give "
            "one run directory or one preset"
        )
    run = Path(directories[0])
    halves = RunDirectory.client_half_of(run), RunDirectory.server_half_of(run)
    settings = RunDirectory.config_of(run)
    missing = [file.name for file in (settings, *halves) if not file.is_file()]
    if missing or not is_run(run):
        raise ConfigError(
            f"{directories[0]!r} is not the directory of a completed run: it has no "
            f"{[*missing, MARKER][0]}; settings are given as key=value"
        )
    of_the_run = with_new_names(json.loads(settings.read_text(encoding="utf-8")))
    config = RunConfig.from_run_config({**of_the_run, **read_words(words)})
    trained = Trained(*(torch.load(half, map_location="cpu", weights_only=True) for half in halves))
    return config, trained, f"halves of {run.resolve().name}"


def _treatment(config: RunConfig) -> str:
    privacy = config.privacy
    clip, multiplier = privacy.smashed_clip_norm, privacy.smashed_noise_multiplier
    if not clip:
        return "smashed data unchanged"
    return f"smashed data clipped to {clip:g}, noise of {multiplier * clip:g}"


def _table(found: Leakage, treatment: str, path: Path) -> Table:
    from rich.table import Table

    from ..attacks.measurement import psnr

    sizes = [math.prod(shape) for shape in found.smashed_shapes]
    shapes = " + ".join("×".join(map(str, shape)) for shape in found.smashed_shapes)
    pixels = math.prod(found.originals.shape[1:])
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("smashed data", f"{shapes}: {sum(sizes):,} values for {pixels:,} of the input")
    table.add_row("sent", treatment.removeprefix("smashed data "))
    table.add_row(
        "distance correlation", f"{found.distance_correlation:.3f} ({found.samples} test images)"
    )
    for name, error in (
        ("decoder's error", found.decoder_error),
        ("the mean image's", found.mean_image_error),
        (f"inversion's ({found.inverted} images)", found.inversion_error),
    ):
        table.add_row(name, f"MSE {error:.4f}, PSNR {psnr(error):.2f} dB")
    guessing = f"right; guessing {percent(found.commonest_label, 1)}"
    table.add_row("labels by norm", f"{percent(found.labels_by_norm, 1)} {guessing}")
    table.add_row("labels by direction", f"{percent(found.labels_by_direction, 1)} {guessing}")
    if found.labels_by_tail is not None:
        table.add_row("labels by the tail", f"{percent(found.labels_by_tail, 1)} {guessing}")
    table.add_row(
        "membership by loss",
        f"AUC {found.membership_auc:.3f} ({found.members} training, {found.others} test images)",
    )
    table.add_row("picture", str(path))
    return table
