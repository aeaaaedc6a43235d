"""What is declared about algorithms and settings, read without torch where that is possible.

The package's own declarations are in files. Those of other packages are in registries, which are
asked where a module may have registered some: an entry point, ``--import``, or this process.
"""

import sys
from collections.abc import Collection, Mapping
from typing import Any

from ..clock.phases import Schedule
from ..config import Setting
from ..config.key_table import KeyEntry, own_keys
from ..config.name_table import AlgorithmLook, own_looks, own_schedules
from ..registries import others_may_register


def _ask_registries() -> bool:
    return others_may_register() or "fsl_sage_flwr.app.config" in sys.modules


def known_settings() -> Mapping[str, KeyEntry | Setting]:
    """Return all settings of a run configuration by key."""
    if not _ask_registries():
        return own_keys()
    from ..app.config import all_settings

    return all_settings()


def algorithm_looks() -> Mapping[str, AlgorithmLook]:
    """Return label and line of all algorithms, in the order of registration."""
    if not _ask_registries():
        return own_looks()
    from ..app.known_names import algorithm_looks

    return algorithm_looks()


def algorithm_schedules() -> Mapping[str, Schedule]:
    """Return the order of a round of all algorithms that declare one."""
    if not _ask_registries():
        return own_schedules()
    from ..app.known_names import algorithm_schedules

    return algorithm_schedules()


def label_of(algorithm: str) -> str:
    """Return an algorithm's label; its name if it is not registered here."""
    look = algorithm_looks().get(algorithm)
    return algorithm if look is None else look.label


def unused_keys(config: Mapping[str, Any], recorded: Collection[str] | None) -> Collection[str]:
    """Return the keys without effect in a run.

    Parameters
    ----------
    config : Mapping
        The run's configuration.
    recorded : collection of str or None
        The keys that the run has recorded; None computes them, which imports torch.
    """
    if recorded is not None:
        return recorded
    from ..app.config import RunConfig

    return RunConfig.unchecked(config).unused_keys()
