"""The run configuration: the only reader of run-config keys."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

import torch

from ..algorithms import ALGORITHMS
from ..data import AUGMENTATIONS, DATASETS, DISTRIBUTIONS, local_copy
from ..models import CATALOGUE
from ..schedules import LearningRateSchedule, parse_schedule
from ..splitting import Workload
from ..splitting.alignment import SCHEDULES
from ..splitting.auxiliary import MAX_SHARE
from ..splitting.precision import PRECISIONS
from .trackers import TRACKERS

SERVER_ORDERS = ("batch", "client")
OPTIMIZERS = ("adam", "adamw", "sgd")
AUXILIARIES = ("auto", "blocks", "linear")
SCHEDULE_KEYS = ("lr-schedule", "server-lr-schedule", "auxiliary-lr-schedule")
AUXILIARY_INITS = ("server", "random")


class ConfigError(ValueError):
    """The run configuration is wrong; one line says what, what is valid and the fix."""


Check = Callable[[Any], str | None]


def _one_of(*valid: str) -> Check:
    def check(value: Any) -> str | None:
        if value in valid:
            return None
        close = get_close_matches(str(value), valid, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"valid are {', '.join(valid)}{hint}"

    return check


def _at_least(low: float, *, above: bool = False, below: float = math.inf) -> Check:
    def check(value: Any) -> str | None:
        if (value > low if above else value >= low) and value <= below and value < math.inf:
            return None
        upper = "" if below == math.inf else f" and at most {below:g}"
        return f"it must be {'above' if above else 'at least'} {low:g}{upper}"

    return check


def _dataset(value: Any) -> str | None:
    _, directory = local_copy(str(value)) or (None, str(value))
    if value in DATASETS or directory.startswith("/"):
        return None
    return (
        f"valid are {', '.join(DATASETS)}, the absolute path of a local dataset directory, or "
        "NAME:PATH for a local copy of a named dataset"
    )


def _registered(registry: Mapping[str, Any]) -> Check:
    """Look when asked: more may have been registered since."""
    return lambda value: _one_of(*registry)(value)


def _schedule(value: Any) -> str | None:
    try:
        parse_schedule(str(value), rounds=2**31)
    except ValueError as error:
        return str(error)
    return None


def _folder_name(value: Any) -> str | None:
    if re.fullmatch(r"[\w.-]*", str(value)) and value not in (".", ".."):
        return None
    return "it names a folder: letters, digits, '.', '_' and '-'"


def _device(value: Any) -> str | None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return "valid are auto, cpu, cuda, cuda:0, …"
    if str(value).startswith("cuda") and not torch.cuda.is_available():
        return "there is no CUDA device here; use auto or cpu"
    return None


def _tracker(value: Any) -> str | None:
    return None if value == "" else _one_of(*TRACKERS)(value)


def _key(default: Any, check: Check | None = None) -> Any:
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True)
class RunConfig:
    """Resolved run configuration; ``server_update_interval`` is ``server-update-interval``.

    README.md says what each key means.
    """

    algorithm: str = _key("fsl_sage", _registered(ALGORITHMS))
    model: str = _key("simple_conv", _registered(CATALOGUE))
    cut: str = _key("")
    client_max_params: int = _key(0, _at_least(0))
    client_max_flops: int = _key(0, _at_least(0))
    auxiliary: str = _key("auto", _one_of(*AUXILIARIES))
    auxiliary_max_share: float = _key(MAX_SHARE, _at_least(0, below=1))
    dataset: str = _key("digits", _dataset)
    distribution: str = _key("iid", _registered(DISTRIBUTIONS))
    alpha: float = _key(1.0, _at_least(0, above=True))
    shards_per_client: int = _key(2, _at_least(1))
    augmentation: str = _key("auto", _one_of(*AUGMENTATIONS))
    num_server_rounds: int = _key(40, _at_least(1))
    local_epochs: int = _key(1, _at_least(1))
    batch_size: int = _key(32, _at_least(2))
    optimizer: str = _key("adam", _one_of(*OPTIMIZERS))
    learning_rate: float = _key(1e-3, _at_least(0, above=True))
    weight_decay: float = _key(1e-4, _at_least(0))
    momentum: float = _key(0.9, _at_least(0, below=1))
    lr_schedule: str = _key("constant", _schedule)
    server_optimizer: str = _key("adam", _one_of(*OPTIMIZERS))
    server_learning_rate: float = _key(1e-3, _at_least(0, above=True))
    server_weight_decay: float = _key(1e-4, _at_least(0))
    server_momentum: float = _key(0.9, _at_least(0, below=1))
    server_lr_schedule: str = _key("constant", _schedule)
    auxiliary_learning_rate: float = _key(1e-3, _at_least(0, above=True))
    auxiliary_lr_schedule: str = _key("constant", _schedule)
    auxiliary_init: str = _key("server", _one_of(*AUXILIARY_INITS))
    server_update_interval: int = _key(2, _at_least(1))
    align_interval: int = _key(2, _at_least(1))
    align_epochs: int = _key(5, _at_least(1))
    align_batch_size: int = _key(50, _at_least(2))
    align_dataset_size: int = _key(500, _at_least(4))
    align_lr_schedule: str = _key("cosine", _one_of(*SCHEDULES))
    warm_start: bool = _key(False)
    batches_per_exchange: int = _key(1, _at_least(1))
    server_order: str = _key("batch", _one_of(*SERVER_ORDERS))
    keep_optimizer_state: bool = _key(True)
    smashed_clip_norm: float = _key(0.0, _at_least(0))
    smashed_noise_multiplier: float = _key(0.0, _at_least(0))
    smashed_noise_seed: int = _key(0, _at_least(0))
    fraction_train: float = _key(1.0, _at_least(0, above=True, below=1))
    fraction_evaluate: float = _key(0.0, _at_least(0, below=1))
    validation_fraction: float = _key(0.1, _at_least(0, above=True, below=0.9))
    comm_threshold_mb: float = _key(0.0, _at_least(0))
    min_train_nodes: int = _key(1, _at_least(1))
    round_timeout: float = _key(3600.0, _at_least(0, above=True))
    max_reply_mb: float = _key(1024.0, _at_least(0, above=True))
    checkpoint_interval: int = _key(1, _at_least(0))
    resume: str = _key("")
    device: str = _key("auto", _device)
    precision: str = _key("fp32", _one_of(*PRECISIONS))
    seed: int = _key(200, _at_least(0))
    results_dir: str = _key("results")
    run_name: str = _key("", _folder_name)
    tracker: str = _key("", _tracker)

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, Any]) -> "RunConfig":
        """Check a run configuration and fill in what it does not say.

        Parameters
        ----------
        run_config : Mapping
            Flower's ``context.run_config``, kebab-case keys.

        Raises
        ------
        ConfigError
            A key is unknown, or a value is of the wrong type or not valid.
        """
        known = {f.name.replace("_", "-"): f for f in fields(cls)}
        values = {}
        for key, value in run_config.items():
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"valid are {', '.join(known)}"
                raise ConfigError(f"unknown key {key!r}: {hint}")
            values[known[key].name] = _converted(key, value, type(known[key].default))
        config = cls(**values)
        for key, entry in known.items():
            check, value = entry.metadata["check"], getattr(config, entry.name)
            problem = check(value) if check else None
            if problem:
                raise ConfigError(f"{key} = {value!r}: {problem}")
        for key in SCHEDULE_KEYS:
            config.schedule(key)
        for key in ("client-max-params", "client-max-flops"):
            value = getattr(config, key.replace("-", "_"))
            if value and config.cut != "auto":
                raise ConfigError(f"{key} = {value}: it chooses a cut; set cut = 'auto'")
        config._check_smashed_noise()
        if config.auxiliary_max_share != MAX_SHARE and config.auxiliary != "blocks":
            raise ConfigError(
                f"auxiliary-max-share = {config.auxiliary_max_share}: it is the share of the "
                "server half's blocks that a head is made of; set auxiliary = 'blocks'"
            )
        return config

    def _check_smashed_noise(self) -> None:
        """Refuse keys of the smashed data's noise that would do nothing.

        Raises
        ------
        ConfigError
            One of them is set without another that it needs, or with ``fed_avg``.
        """
        clip, multiplier = self.smashed_clip_norm, self.smashed_noise_multiplier
        if multiplier and not clip:
            raise ConfigError(
                f"smashed-noise-multiplier = {multiplier:g}: the noise is measured in clipping "
                "norms; set smashed-clip-norm above 0"
            )
        if self.smashed_noise_seed and not multiplier:
            raise ConfigError(
                f"smashed-noise-seed = {self.smashed_noise_seed}: there is no noise to draw; set "
                "smashed-noise-multiplier above 0"
            )
        if clip and self.algorithm == "fed_avg":
            raise ConfigError(
                f"smashed-clip-norm = {clip:g}: clients of fed_avg send no smashed data; choose "
                "another algorithm, or leave it out"
            )

    def workload(self) -> Workload:
        """Return a client's round as far as traffic goes, with 5,000 examples a client."""
        return Workload(
            batch_size=self.batch_size,
            local_epochs=self.local_epochs,
            server_update_interval=self.server_update_interval,
            align_interval=self.align_interval,
        )

    def schedule(self, key: str) -> LearningRateSchedule:
        """Return the learning-rate schedule of a key of ``SCHEDULE_KEYS``.

        Raises
        ------
        ConfigError
            It does not fit the number of rounds.
        """
        text = str(getattr(self, key.replace("-", "_")))
        try:
            return parse_schedule(text, self.num_server_rounds)
        except ValueError as error:
            raise ConfigError(f"{key} = {text!r}: {error}") from error

    def to_run_config(self) -> dict[str, Any]:
        """Return all keys and values, kebab-case, as in ``config.json``."""
        return {f.name.replace("_", "-"): getattr(self, f.name) for f in fields(self)}

    def torch_device(self) -> torch.device:
        """Return the device that ``device`` names; ``auto`` is CUDA where there is one."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def _converted(key: str, value: Any, kind: type) -> Any:
    """Return the value as the key's type; a whole number is a fine float."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        raise ConfigError(f"{key} = {value!r}: {names[kind]} is needed")
    return value
