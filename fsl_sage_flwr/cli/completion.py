"""Complete keys and presets for the shell's Tab key."""

from ..config.key_table import own_keys
from ..simulations.preset_names import EXPERIMENTS, preset_names


def complete_key(incomplete: str) -> list[str]:
    """Return the keys of the run configuration with a prefix, each with its ``=``."""
    return [f"{key}=" for key in own_keys() if key.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """Return the presets of a run with a prefix."""
    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_experiment(incomplete: str) -> list[str]:
    """Return the experiments with a prefix, then the presets of a run."""
    found = [name for name in preset_names(EXPERIMENTS) if name.startswith(incomplete)]
    return found + complete_preset(incomplete)


def complete_key_name(incomplete: str) -> list[str]:
    """Return the keys of the run configuration with a prefix."""
    return [key for key in own_keys() if key.startswith(incomplete)]
