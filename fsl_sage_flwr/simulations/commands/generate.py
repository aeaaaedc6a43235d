"""``fsl-sage generate``: complete a prompt with a run's language model."""

import argparse
import json

from rich.console import Console

from ...app.config import ConfigError, RunConfig
from ...language import complete, load_adapted
from ...language.columns import SEPARATOR
from ...runs.directory import RunDirectory


def generate_command(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Print the completion."""
    file = RunDirectory.config_of(options.run)
    if not file.is_file():
        raise ConfigError(f"{options.run} is no directory of a run: it has no {file.name}")
    config = RunConfig.unchecked(json.loads(file.read_text(encoding="utf-8")))
    model, tokenizer = load_adapted(config.model, options.run)
    prompt = f"{options.prompt}{SEPARATOR}"
    (text,) = complete(model, tokenizer, [prompt], max_new_tokens=options.max_new_tokens)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0
