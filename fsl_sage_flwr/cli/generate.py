"""``fsl-sage generate``: complete a prompt with a run's language model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Imports, existing_directory
from .printing import consoles, say


def generate_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR", help="directory of a completed run", callback=existing_directory
        ),
    ],
    prompt: Annotated[str, typer.Argument(help="as in the prompt column of its dataset")],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, metavar="TOKENS", help="largest number of tokens")
    ] = 64,
    imports: Imports = None,
) -> int:
    """Complete a prompt with a run's language model.

    Loads the base model with the adapter of a completed run, and prints the most likely
    completion.
    """
    from ..app.config import ConfigError, RunConfig
    from ..language import complete, load_adapted
    from ..language.columns import SEPARATOR
    from ..runs.directory import RunDirectory
    from ..runs.find_runs import MARKER, is_run

    file = RunDirectory.config_of(run)
    if not (is_run(run) and file.is_file()):
        missing = file.name if is_run(run) else MARKER
        raise ConfigError(f"{str(run)!r} is not the directory of a run: it has no {missing}")
    config = RunConfig.unchecked(json.loads(file.read_text(encoding="utf-8")))
    model, tokenizer = load_adapted(config.model, run)
    (text,) = complete(model, tokenizer, [f"{prompt}{SEPARATOR}"], max_new_tokens=max_new_tokens)
    console, _ = consoles()
    say(console, text)
    return 0
