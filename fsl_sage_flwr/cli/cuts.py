"""``fsl-sage cuts``: list the cuts of a model."""

from typing import Annotated

import typer

from .options import Imports, Preset, Settings
from .printing import consoles, say, wide

MODEL = "resnet18"


def cuts_command(
    settings: Settings = None,
    image: Annotated[
        tuple[int, int, int], typer.Option(metavar="C H W", help="shape of an image")
    ] = (3, 32, 32),
    classes: Annotated[int, typer.Option(min=1, metavar="N", help="number of classes")] = 10,
    depth: Annotated[
        int, typer.Option(min=1, metavar="N", help="depth of the search for submodules")
    ] = 2,
    preset: Preset = None,
    imports: Imports = None,
) -> int:
    """List the cuts of a model with smashed data, sizes, FLOPs and bytes per round.

    For example: fsl-sage cuts model=resnet56 batch-size=64. Without model= or a preset: resnet18.
    """
    from ..simulations.cut_table import cut_table
    from ..simulations.settings import given

    if min(image) < 1:
        raise typer.BadParameter(f"--image {image}: each number must be at least 1")
    console, errors = consoles()
    values = {"model": MODEL, **given(preset, settings or [])}
    on = wide(console)
    with errors.status("cutting …") as line:

        def show(tried: int, total: int) -> None:
            line.update(f"cutting … {tried} of {total} submodules tried")

        table, left_out = cut_table(values, image, classes, depth, on.width, show)
    on.print(table)
    if left_out:
        say(
            errors,
            f"fsl-sage: {on.width} columns are too few for {', '.join(left_out)}; widen the "
            "terminal, or write to a file: fsl-sage cuts … > cuts.txt",
        )
    return 0
