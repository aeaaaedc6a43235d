"""``fsl-sage generate``: let a run's language model complete a prompt."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from ...app.config import ConfigError, RunConfig
from ...app.results import RunDirectory
from ...language import complete, load_adapted
from ...language.dataset import SEPARATOR
from .federation_options import positive


def add_generate_command(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "generate",
        help="let a run's language model complete a prompt",
        description="Load the base model with the adapter of a completed run, and print the most "
        "likely completion of a prompt.",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="directory of a completed run")
    parser.add_argument("prompt", help="as in the prompt column of its dataset")
    parser.add_argument(
        "--max-new-tokens", type=positive, default=64, metavar="TOKENS", help="at most (64)"
    )
    parser.set_defaults(command=_generate)


def _generate(options: argparse.Namespace, console: Console, errors: Console) -> int:
    file = RunDirectory.config_of(options.run)
    if not file.is_file():
        raise ConfigError(f"{options.run} is no directory of a run: it has no {file.name}")
    config = RunConfig.unchecked(json.loads(file.read_text()))
    model, tokenizer = load_adapted(config.model, options.run)
    prompt = f"{options.prompt}{SEPARATOR}"
    (text,) = complete(model, tokenizer, [prompt], max_new_tokens=options.max_new_tokens)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0
