"""``fsl-sage leakage``: measure what smashed data reveal."""

from functools import partial
from pathlib import Path
from typing import Any

from .numbers import at_least


def add_leakage_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "leakage",
        help="measure how much the smashed data at a cut reveal of the inputs",
        description="Measure the distance correlation between inputs and smashed data, train a "
        "decoder that reconstructs the inputs, and draw both side by side; invert the client half, "
        "infer labels from gradients, and membership from the loss.",
        epilog="fsl-sage leakage model=resnet18 dataset=cifar10 cut=layer2; fsl-sage leakage "
        "results/…/my-run privacy.smashed-clip-norm=1 privacy.smashed-noise-multiplier=0.5",
    )
    parser.add_argument(
        "words", nargs="*", metavar="RUN_DIR | key=value",
        help="directory of a completed run, for its configuration and halves; and keys that "
        "override its configuration (without a directory: newly initialised halves)",
    )  # fmt: skip
    parser.add_argument(
        "--preset", help="name of a preset, or a TOML file, if no directory is given"
    )
    for name, value, what in (
        ("steps", 1000, "training steps of the decoder"),
        ("images", 5000, "largest number of training images for the decoder"),
        ("samples", 500, "largest number of test images to measure on"),
    ):
        parser.add_argument(
            f"--{name}", type=partial(at_least, 4), default=value, help=f"{what} (default: {value})"
        )
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="the picture to write")
    parser.set_defaults(command="leakage")
