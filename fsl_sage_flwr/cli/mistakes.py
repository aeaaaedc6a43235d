"""Explain a mistake in the words in one line, with what was probably meant."""

from collections.abc import Sequence
from difflib import get_close_matches

import click

from ..config.key_table import likely_own_key

# Names of our commands and options elsewhere.
COMMANDS_ALSO_CALLED = {"train": "run", "simulate": "run", "start": "run", "ls": "runs"}
OPTIONS_ALSO_CALLED = {
    "--num-clients": "--clients",
    "--num-supernodes": "--clients",
    "--out": "--out-dir",
}
# Arguments that take key=value words.
WORDS = ("settings", "words")


def unknown_command(name: str, names: Sequence[str]) -> str:
    """Return the line that refuses an unknown command."""
    meant = COMMANDS_ALSO_CALLED.get(name)
    close = [meant] if meant else get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean fsl-sage {close[0]}?" if close else f"valid are {', '.join(names)}"
    return f"{name!r} is not a command; {hint}"


def explained(error: click.UsageError, words: Sequence[str]) -> str:
    """Return an error of the words in one line.

    Parameters
    ----------
    error : click.UsageError
        The error.
    words : sequence of str
        The command line, without the program.
    """
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        return _unknown_option(error.option_name, error.ctx, words)
    text = " ".join(error.format_message().split())
    if error.ctx is not None and text.startswith("Got unexpected extra argument"):
        words_too_many = text.partition("(")[2].rstrip(")")
        usage = " ".join(error.ctx.command.collect_usage_pieces(error.ctx))
        return f"too many words ({words_too_many}): {error.ctx.command_path} {usage}"
    return text


def _unknown_option(name: str, context: click.Context, words: Sequence[str]) -> str:
    parameters = context.command.params
    known = [option for parameter in parameters for option in parameter.opts]
    meant = OPTIONS_ALSO_CALLED.get(name, "")
    close = [meant] if meant in known else get_close_matches(name, known, n=1, cutoff=0.75)
    if close:
        return f"{name} is not an option; did you mean {close[0]}?"
    takes_keys = any(parameter.name in WORDS for parameter in parameters)
    key = likely_own_key(name.removeprefix("--")) if takes_keys else None
    if key is None:
        return f"{name} is not an option; {context.command_path} --help lists the options"
    return f"{name} is not an option; give it as {key}={_value(name, words) or '…'}"


def _value(option: str, words: Sequence[str]) -> str:
    """Return the value that the words give an option, behind ``=`` or in the next word."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        given, equals, value = word.partition("=")
        if given == option:
            return value if equals else following
    return ""
