"""Read the lists of settings of a sweep from a TOML file and words."""

from collections.abc import Sequence
from typing import Any

from ...app.config import ConfigError
from ...config.key_names import flattened
from ..settings import absolute_paths, read_preset, read_words

BLOCKS = "runs"
COMMA = (
    "in a sweep a comma stands between two values: put a value that contains a comma into a list "
    "in a TOML file"
)


def read_sweep(preset: str | None, words: Sequence[str]) -> list[dict[str, Any]]:
    """Return the blocks of a sweep, for :func:`combinations`.

    A file's values may be lists. Each of its tables ``[[runs]]`` is a separate sweep, which also
    has the keys above the tables. ``preset = "name"`` includes another preset's keys.

    Parameters
    ----------
    preset : str or None
        A preset's name, or a TOML file.
    words : sequence of str
        ``key=value`` or ``key=v1,v2,…``; they override the file, in all of its tables.

    Raises
    ------
    ConfigError
        The file or a word cannot be read.
    """
    file = read_preset(preset) if preset else {}
    blocks = file.pop(BLOCKS, [{}])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ConfigError(f"preset {preset!r}: {BLOCKS} must be tables, [[{BLOCKS}]]")
    given = _lists(words)
    return [absolute_paths({**file, **flattened(block), **given}) for block in blocks]


def _lists(words: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        key, equals, texts = word.partition("=")
        if not equals:
            read_words([word])  # raises the error that explains the format
        try:
            values = [read_words([f"{key}={text}"])[key] for text in texts.split(",")]
        except ConfigError as error:
            raise ConfigError(f"{error}; {COMMA}" if "," in texts else str(error)) from error
        if len(values) != len(set(values)):
            raise ConfigError(f"{word!r}: a value is given twice")
        found[key] = values if len(values) > 1 else values[0]
    return found
