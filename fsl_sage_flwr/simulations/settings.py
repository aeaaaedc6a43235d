"""Read a command line's presets and ``key=value`` words into a checked configuration."""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..app.config import ConfigError, RunConfig, all_defaults
from ..config.key_names import flattened
from .preset_names import EXPERIMENTS, PRESETS, preset_folder, preset_names

BASE = "preset"


def read_preset(name: str, including: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the keys of one of the package's presets or experiments, or of a TOML file.

    ``preset = "name"`` in the file includes another preset's keys, which the file overrides.

    Parameters
    ----------
    name : str
        Name of a preset or experiment, or path of a file.
    including : tuple of str
        The presets that include this one.

    Raises
    ------
    ConfigError
        The preset or file does not exist, is not TOML, or includes itself.
    """
    if name in including:
        raise ConfigError(f"preset {name!r} includes itself; remove {BASE} = {name!r}")
    folders = [folder for folder in (PRESETS, EXPERIMENTS) if name in preset_names(folder)]
    if folders:
        content = (preset_folder(folders[0]) / f"{name}.toml").read_bytes()
    elif Path(name).is_file():
        content = Path(name).read_bytes()
    else:
        names = [*preset_names(), *preset_names(EXPERIMENTS)]
        close = get_close_matches(name, names, n=1)
        raise ConfigError(
            f"preset {name!r} is neither a TOML file nor one of {', '.join(names)}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    try:
        found = flattened(tomllib.loads(content.decode()))
    except ValueError as error:  # not TOML, or not text
        raise ConfigError(f"preset {name!r} is not valid TOML: {error}") from error
    if not found:
        raise ConfigError(
            f"preset {name!r} sets nothing; write lines such as batch-size = 64 into it, or leave "
            "--preset out"
        )
    base = found.pop(BASE, None)
    if base is None:
        return found
    if not isinstance(base, str):
        raise ConfigError(f"{BASE} = {base!r} in preset {name!r}: the name of a preset is needed")
    return {**read_preset(base, (*including, name)), **found}


def read_words(words: list[str]) -> dict[str, Any]:
    """Return the keys of ``key=value`` words, with values converted to the keys' types.

    Raises
    ------
    ConfigError
        A word has no ``=``, or a value does not have its key's type.
    """
    kinds = {key: type(default) for key, default in all_defaults().items()}
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r}: settings are given as key=value, e.g. batch-size=64")
        values[key] = _value(key, text, kinds.get(key, str))
    return values


def given(preset: str | None, words: list[str]) -> dict[str, Any]:
    """Return the keys of a preset and of words, unchecked; words override the preset."""
    values = {**(read_preset(preset) if preset else {}), **read_words(words)}
    if any(isinstance(value, list) for value in values.values()):
        raise ConfigError(
            f"preset {preset!r} describes several runs; use fsl-sage sweep --preset {preset}"
        )
    return values


def resolve(preset: str | None, words: list[str]) -> RunConfig:
    """Return the checked configuration; words override the preset.

    Relative directories are made absolute, because Flower's processes run in another directory.
    """
    return RunConfig.from_run_config(absolute_paths(given(preset, words)))


def absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Return the keys with absolute paths; ``results-dir`` is always included.

    ``resume`` may be the name of a run instead of a path.
    """
    found = {"results-dir": RunConfig().results_dir, **values}
    for key in ("results-dir", "resume"):
        path = found.get(key)
        if (
            isinstance(path, str)
            and path
            and (key != "resume" or "/" in path or Path(path).exists())
        ):
            found[key] = str(Path(path).expanduser().absolute())
    return found


def _value(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ConfigError(f"{key} = {text!r}: true or false is needed")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            needed = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{key} = {text!r}: {needed} is needed") from None
    return text
