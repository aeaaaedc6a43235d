"""``fsl-sage leakage``: measure what smashed data reveal."""

import argparse
import json
import math
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ...app.assembly import check_task
from ...app.config import ConfigError, RunConfig, with_new_names
from ...app.images_only import refuse_other_tasks
from ...attacks.measurement import Effort, Leakage, Trained, measure, psnr
from ...runs.directory import RunDirectory
from ..settings import read_words, resolve


def leakage_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Measure, print a table and draw a picture."""
    directories = [word for word in options.words if "=" not in word]
    words = [word for word in options.words if "=" in word]
    config, trained, source = _chosen(directories, words, options.preset)
    refuse_other_tasks(config, "leakage")
    check_task(config, clients=1)
    path = options.out or Path(f"leakage-{config.model}.png")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {str(path)!r}: there is no directory {str(path.parent)!r}")
    with console.status("measuring …"):
        found = measure(config, trained, Effort(options.steps, options.images, options.samples))
    # Imported here because matplotlib takes a second to import, which a refusal does not need.
    from ...attacks.picture import draw

    title = f"{config.model} cut before {found.cut}, {Path(config.dataset).name}, {source}"
    treatment = _treatment(config)
    try:
        draw(found.originals, found.reconstructions, f"{title}\n{treatment}", path)
    except OSError as error:
        raise ConfigError(f"--out {str(path)!r} cannot be written: {error.strerror}") from error
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(found, treatment, path))
    return 0


def _chosen(
    directories: list[str], words: list[str], preset: str | None
) -> tuple[RunConfig, Trained | None, str]:
    """Return the configuration, a run's weights or None, and a description of the halves."""
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
    for file in (settings, *halves):
        if not file.is_file():
            raise ConfigError(
                f"{directories[0]!r} is not the directory of a completed run: it has no "
                f"{file.name}; settings are given as key=value"
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
    guessing = f"right; guessing {found.commonest_label:.1%}"
    table.add_row("labels by norm", f"{found.labels_by_norm:.1%} {guessing}")
    table.add_row("labels by direction", f"{found.labels_by_direction:.1%} {guessing}")
    table.add_row(
        "membership by loss",
        f"AUC {found.membership_auc:.3f} ({found.members} training, {found.others} test images)",
    )
    table.add_row("picture", str(path))
    return table
