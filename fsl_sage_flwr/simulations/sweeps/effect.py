"""Which keys change nothing, given the others."""

from collections.abc import Callable

from ...app.config import RunConfig

SPLIT_FED = ("sl_multi_server", "sl_single_server")
WITHOUT_HEAD = ("fed_avg", *SPLIT_FED)
NOT_ALIGNED = (*WITHOUT_HEAD, "cse_fsl")
WITHOUT_EXCHANGES = ("fed_avg", "cse_fsl", "fsl_sage")

IsIdle = Callable[[RunConfig], bool]


def _with_algorithm(*names: str) -> tuple[str, IsIdle]:
    return "algorithm", lambda config: config.algorithm in names


def _with_distribution(*names: str) -> tuple[str, IsIdle]:
    return "distribution", lambda config: config.distribution in names


def _without_cut_auto(*names: str) -> tuple[str, IsIdle]:
    """With cut = "auto" the intervals are in the bytes that choose the cut."""
    return "algorithm", lambda config: config.algorithm in names and config.cut != "auto"


# A key, the key that decides, and when it is idle. Built-in names alone: what somebody
# registers may use any key.
_IDLE: dict[str, tuple[str, IsIdle]] = {
    "alpha": _with_distribution("iid", "noniid", "natural"),
    "shards-per-client": _with_distribution("iid", "noniid_dirichlet", "natural"),
    "momentum": ("optimizer", lambda config: config.optimizer != "sgd"),
    "server-momentum": ("server-optimizer", lambda config: config.server_optimizer != "sgd"),
    "auxiliary": _with_algorithm(*WITHOUT_HEAD),
    "auxiliary-max-share": (
        "auxiliary",
        lambda config: config.algorithm in WITHOUT_HEAD or config.auxiliary != "blocks",
    ),
    "auxiliary-init": _with_algorithm(*WITHOUT_HEAD),
    "auxiliary-learning-rate": _with_algorithm(*WITHOUT_HEAD),
    "auxiliary-lr-schedule": _with_algorithm(*WITHOUT_HEAD),
    "server-update-interval": _without_cut_auto(*WITHOUT_HEAD),
    "align-interval": _without_cut_auto(*NOT_ALIGNED),
    "align-epochs": _with_algorithm(*NOT_ALIGNED),
    "align-batch-size": _with_algorithm(*NOT_ALIGNED),
    "align-dataset-size": _with_algorithm(*NOT_ALIGNED),
    "align-lr-schedule": _with_algorithm(*NOT_ALIGNED),
    "warm-start": _with_algorithm(*NOT_ALIGNED),
    "batches-per-exchange": _with_algorithm(*WITHOUT_EXCHANGES),
    "server-order": _with_algorithm(*WITHOUT_EXCHANGES, "sl_multi_server"),
    "validation-fraction": ("fraction-evaluate", lambda config: config.fraction_evaluate == 0),
}


def idle_keys(config: RunConfig) -> dict[str, str]:
    """Return the keys that change nothing in a run, each with the key that makes it so."""
    return {key: why for key, (why, is_idle) in _IDLE.items() if is_idle(config)}
