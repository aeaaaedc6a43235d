"""Build the command that repeats a run."""

import shlex

from ..app.config import RunConfig, all_defaults
from .load_results import CLIENTS, Run

# The new results' place is up to the user; the number of clients determines whether they share
# nodes.
_LEFT_OUT = ("results-dir", "run-name", "virtual-clients")
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
    words = ["fsl-sage", "run"]
    federation = run.federation
    if CLIENTS not in federation and run.config.get("virtual-clients"):  # a run of `flwr run`
        federation = {**federation, CLIENTS: run.config["virtual-clients"]}
    for key, option in _FEDERATION.items():
        if key in federation:
            words += [option, f"{federation[key]:g}"]
    defaults, unused = all_defaults(), RunConfig.unchecked(run.config).unused_keys()
    for key, value in run.config.items():
        if key not in (*_LEFT_OUT, *unused) and (key not in defaults or defaults[key] != value):
            words.append(f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    return shlex.join(words)
