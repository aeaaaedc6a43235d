"""``fsl-sage sweep``: run every combination of settings."""

import argparse
from typing import Any

from ..completion import completed_by, keys, names
from ..presets import EXPERIMENTS, preset_names
from .federation import add_federation_arguments
from .numbers import positive


def add_sweep_arguments(commands: Any) -> None:
    """Add the command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "sweep",
        help="run every combination of lists of settings",
        description="Run every combination of lists of settings, several at a time. Completed "
        "runs are not repeated.",
        epilog="key=v1,v2: any key of the run configuration, e.g. fsl-sage sweep --jobs 2 "
        "batch-size=32,64 distribution=noniid_dirichlet alpha=0.1,1 seed=200,201",
    )
    words = parser.add_argument(
        "settings", nargs="*", metavar="key=v1,v2,…", help="run configuration"
    )
    parser.add_argument("--jobs", type=positive, default=1, help="concurrent runs (default: 1)")
    add_federation_arguments(parser)
    preset = parser.add_argument(
        "--preset",
        help=f"an experiment ({', '.join(preset_names(EXPERIMENTS))}), a run's preset, or a TOML "
        "file with values that may be lists",
    )
    completed_by(words, keys)
    completed_by(preset, names([*preset_names(EXPERIMENTS), *preset_names()]))
    parser.set_defaults(command="sweep")
