"""List the package's presets and experiments."""

from importlib import resources
from importlib.resources.abc import Traversable

PRESETS, EXPERIMENTS = "presets", "experiments"


def preset_folder(folder: str) -> Traversable:
    """Return the package's folder of presets, or of ``EXPERIMENTS``."""
    return resources.files("fsl_sage_flwr") / "simulations" / folder


def preset_names(folder: str = PRESETS) -> list[str]:
    """Return the names of the presets, or experiments, in a folder."""
    found = preset_folder(folder).iterdir()
    return sorted(p.name.removesuffix(".toml") for p in found if p.name.endswith(".toml"))
