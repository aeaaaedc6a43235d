"""Build the command that repeats a run."""

import shlex
from collections.abc import Collection, Mapping
from typing import Any

from .declared import known_settings, unused_keys
from .load_results import CLIENTS, Run

# The new results' place is up to the user; the number of clients determines whether they share
# nodes.
_LEFT_OUT = ("results-dir", "run-name", "virtual-clients")
ENGINE = "engine"
_FEDERATION = {
    CLIENTS: "--clients",
    "client-resources-num-cpus": "--cpus-per-client",
    "client-resources-num-gpus": "--gpus-per-client",
    "init-args-num-cpus": "--cpus",
    "init-args-num-gpus": "--gpus",
}


def command_line(run: Run) -> str:
    """Return the ``fsl-sage run`` command that repeats a run.

    It contains every key with an effect that differs from its default, except ``results-dir`` and
    ``run-name``, which would overwrite the run, and keys covered by ``--clients``. The recorded
    federation options are included; a deployment records none.
    """
    federation = run.federation
    if CLIENTS not in federation and run.config.get("virtual-clients"):  # a run of `flwr run`
        federation = {**federation, CLIENTS: run.config["virtual-clients"]}
    unused = unused_keys(run.config, run.unused_keys)
    words = ["fsl-sage", "run"]
    if ENGINE in federation:  # recorded for an inline run; other options are for ray
        words += ["--engine", str(federation[ENGINE])]
    for key, option in _FEDERATION.items():
        if key in federation:
            words += [option, f"{federation[key]:g}"]
    return shlex.join([*words, *key_words(run.config, unused)])


def key_words(config: Mapping[str, Any], unused: Collection[str]) -> list[str]:
    """Return the ``key=value`` words of the keys with an effect that differ from their defaults.

    ``results-dir`` and ``run-name`` are left out.
    """
    defaults = {key: entry.default for key, entry in known_settings().items()}
    return [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in config.items()
        if key not in (*_LEFT_OUT, *unused) and (key not in defaults or defaults[key] != value)
    ]
