"""The run configuration; no other module reads run-config keys."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ..algorithms import DEFAULT
from ..compression import (
    AS_COMPRESSION_SAYS,
    NONE,
    PRESETS,
    Compression,
    compression_of,
    problem_with_codec,
)
from ..data import DISTRIBUTIONS, distribution_keys
from ..key_names import unknown, with_names_of_today
from ..options import Check, Options, at_least, declared, one_of, option, registered, schedule
from ..registry import ALGORITHMS, option_fields
from ..rounds.aggregation.aggregation import MEAN, RULES
from ..schedules import LearningRateSchedule, parse_schedule
from ..splitting import Workload
from ..splitting.precision import PRECISIONS
from ..strategies import Aggregation, StrategySettings
from ..strategies.common_options import ExchangeOptions, HeadOptions
from ..task_registry import TASKS, task_option_fields
from ..tasks import DEFAULT_TASK
from .noise import Noise
from .trackers import TRACKERS

# With the keys, of the client's or the server's, that have an effect with some of them alone.
OPTIMIZERS: dict[str, tuple[str, ...]] = {"adam": (), "adamw": (), "sgd": ("momentum",)}
# Seconds, 31 years: what is longer overflows where Python waits.
LONGEST_TIMEOUT = 1e9
# Flower sends whole numbers with 64 bits.
LARGEST_NUMBER = 2**63 - 1
SCHEDULE_KEYS = ("lr-schedule", "server-lr-schedule", "auxiliary-lr-schedule")


class ConfigError(ValueError):
    """The run configuration is wrong; one line says what is wrong, what is valid and the fix."""


def _folder_name(value: Any) -> str | None:
    if re.fullmatch(r"[\w.-]*", str(value)) and value not in (".", ".."):
        return None
    return "it names a folder: use only letters, digits, '.', '_' and '-'"


def _directory(value: Any) -> str | None:
    return None if str(value).strip() else "name a directory; . is the one you are in"


def _device(value: Any) -> str | None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        return "valid are auto, cpu, cuda, cuda:0, …"
    if str(value).startswith("cuda") and not torch.cuda.is_available():
        return "there is no CUDA device here; use auto or cpu"
    return None


def _codec(payload: str) -> Check:
    """Accept the codecs of a field of ``Compression``, and ``auto``."""

    def check(value: Any) -> str | None:
        if value == AS_COMPRESSION_SAYS:
            return None
        problem = problem_with_codec(payload, str(value))
        return problem and f"{problem}, and {AS_COMPRESSION_SAYS} for what compression says"

    return check


def _tracker(value: Any) -> str | None:
    return None if value == "" else one_of(*TRACKERS)(value)


@dataclass(frozen=True)
class RunConfig:
    """Resolved run configuration: the keys of every run, and its algorithm's and its task's.

    ``batch_size`` is the key ``batch-size``, ``options.align_interval`` is ``align-interval``;
    docs/configuration.md explains each key.
    """

    algorithm: str = option(DEFAULT, registered(ALGORITHMS))
    task: str = option(DEFAULT_TASK, registered(TASKS))
    model: str = option("simple_conv")
    cut: str = option("")
    client_max_params: int = option(0, at_least(0))
    client_max_flops: int = option(0, at_least(0))
    dataset: str = option("digits")
    distribution: str = option("iid", registered(DISTRIBUTIONS))
    alpha: float = option(1.0, at_least(0, above=True))
    shards_per_client: int = option(2, at_least(1))
    num_server_rounds: int = option(40, at_least(1))
    local_epochs: int = option(1, at_least(1))
    batch_size: int = option(32, at_least(2))
    optimizer: str = option("adam", one_of(*OPTIMIZERS))
    learning_rate: float = option(1e-3, at_least(0, above=True))
    weight_decay: float = option(1e-4, at_least(0))
    momentum: float = option(0.9, at_least(0, below=1))
    lr_schedule: str = option("constant", schedule)
    server_optimizer: str = option("adam", one_of(*OPTIMIZERS))
    server_learning_rate: float = option(1e-3, at_least(0, above=True))
    server_weight_decay: float = option(1e-4, at_least(0))
    server_momentum: float = option(0.9, at_least(0, below=1))
    server_lr_schedule: str = option("constant", schedule)
    keep_optimizer_state: bool = option(True)
    smashed_clip_norm: float = option(0.0, at_least(0))
    smashed_noise_multiplier: float = option(0.0, at_least(0))
    smashed_noise_seed: int = option(0, at_least(0))
    client_clip_norm: float = option(0.0, at_least(0))
    client_noise_multiplier: float = option(0.0, at_least(0))
    delta: float = option(1e-5, at_least(0, below=0.5))
    label_epsilon: float = option(0.0, at_least(0))
    compression: str = option("none", one_of(*PRESETS))
    smashed_codec: str = option(AS_COMPRESSION_SAYS, _codec("smashed"))
    gradients_codec: str = option(AS_COMPRESSION_SAYS, _codec("gradients"))
    client_half_codec_down: str = option(AS_COMPRESSION_SAYS, _codec("client_half_down"))
    client_half_codec_up: str = option(AS_COMPRESSION_SAYS, _codec("client_half_up"))
    auxiliary_codec: str = option(AS_COMPRESSION_SAYS, _codec("auxiliary"))
    fraction_train: float = option(1.0, at_least(0, above=True, below=1))
    fraction_evaluate: float = option(0.0, at_least(0, below=1))
    validation_fraction: float = option(0.1, at_least(0, above=True, below=0.9))
    max_communication_mib: float = option(0.0, at_least(0))
    fraction_reply: float = option(1.0, at_least(0, above=True, below=1))
    min_train_nodes: int = option(1, at_least(1))
    max_client_failures: int = option(3, at_least(0))
    pause_rounds: int = option(10, at_least(1))
    aggregation: str = option(MEAN, one_of(*RULES))
    trimmed_share: float = option(0.2, at_least(0, below=0.49))
    malicious_clients: int = option(1, at_least(0))
    max_update_ratio: float = option(0.0, at_least(0))
    round_timeout: float = option(3600.0, at_least(0, above=True, below=LONGEST_TIMEOUT))
    absence_timeout: float = option(600.0, at_least(0, below=LONGEST_TIMEOUT))
    max_reply_mib: float = option(1024.0, at_least(0, above=True))
    checkpoint_interval: int = option(1, at_least(0))
    resume: str = option("")
    virtual_clients: int = option(0, at_least(0))
    device: str = option("auto", _device)
    precision: str = option("fp32", one_of(*PRECISIONS))
    seed: int = option(200, at_least(0))
    results_dir: str = option("results", _directory)
    run_name: str = option("", _folder_name)
    tracker: str = option("", _tracker)
    options: Options = None  # type: ignore[assignment]  # __post_init__ sets the algorithm's
    task_options: Options = None  # type: ignore[assignment]  # and the task's

    def __post_init__(self) -> None:
        if self.options is None:
            object.__setattr__(self, "options", _options_of(self.algorithm)())
        if self.task_options is None:
            object.__setattr__(self, "task_options", _options_of_task(self.task)())

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, Any]) -> "RunConfig":
        """Check a run configuration and fill in the defaults.

        Keys of other algorithms and tasks are checked too, but not kept.

        Parameters
        ----------
        run_config : Mapping
            Flower's ``context.run_config``, kebab-case keys.

        Raises
        ------
        ConfigError
            A key is unknown, or a value has the wrong type or is not valid.
        """
        core, of_algorithms, of_tasks = declared(cls), option_fields(), task_option_fields()
        known = {**core, **of_tasks, **of_algorithms}
        both = sorted(set(core) & {*of_algorithms, *of_tasks} or set(of_algorithms) & set(of_tasks))
        if both:
            raise ConfigError(
                f"key {both[0]!r} belongs to every run, or to a task, and a registered algorithm "
                "or task declares it too; rename its option"
            )
        values = {}
        for key, value in run_config.items():
            if key not in known:
                raise ConfigError(unknown(key, known))
            values[key] = _converted(key, value, type(known[key].default))
        task = values.get("task", cls.task)
        of_the_task = TASKS[task].checks if task in TASKS else {}
        for key, entry in known.items():
            check = of_the_task.get(key, entry.metadata["check"])
            value = values.get(key, entry.default)
            problem = check(value) if check else None
            if problem:
                raise ConfigError(f"{key} = {value!r}: {problem}")
        config = cls.unchecked(values)
        config._check_together()
        return config

    @classmethod
    def unchecked(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Return a configuration from kebab-case keys without checks; ignore unknown keys.

        This is for past runs: their names may have been registered on another machine or in
        another project, which is not an error.
        """
        values = with_names_of_today(values)
        core = {f.name: values[key] for key, f in declared(cls).items() if key in values}
        kind = _options_of(core.get("algorithm", cls.algorithm))
        own = {f.name: values[key] for key, f in declared(kind).items() if key in values}
        of_task = _options_of_task(core.get("task", cls.task))
        given = {f.name: values[key] for key, f in declared(of_task).items() if key in values}
        return cls(**core, options=kind(**own), task_options=of_task(**given))

    def _check_together(self) -> None:
        """Refuse values that do not fit together.

        Raises
        ------
        ConfigError
            The message describes the first problem.
        """
        for key in SCHEDULE_KEYS:
            self.schedule(key)
        for key in ("client-max-params", "client-max-flops"):
            value = getattr(self, key.replace("-", "_"))
            if value and self.cut != "auto":
                raise ConfigError(
                    f"{key} = {value}: it has no effect on a cut that is named; set cut = 'auto'"
                )
        options = self.options
        batches = options.batches_per_exchange if isinstance(options, ExchangeOptions) else 1
        problem = (
            self.noise().problem(self.algorithm, self.task, batches)
            or options.problem()
            or self.task_options.problem()
        )
        if problem:
            raise ConfigError(problem)

    def noise(self) -> Noise:
        """Return the run's clipping and noise."""
        return Noise(**{field.name: getattr(self, field.name) for field in fields(Noise)})

    def strategy_settings(self) -> StrategySettings:
        """Return the arguments, common to all strategies, that have run-config keys."""
        return {
            "keep_optimizer_state": self.keep_optimizer_state,
            "fraction_train": self.fraction_train,
            "fraction_evaluate": self.fraction_evaluate,
            "fraction_reply": self.fraction_reply,
            "min_train_nodes": self.min_train_nodes,
            "max_client_failures": self.max_client_failures,
            "pause_rounds": self.pause_rounds,
            "round_timeout": self.round_timeout,
            "absence_timeout": self.absence_timeout,
            "max_reply_bytes": int(self.max_reply_mib * 2**20),
            "compression": self.codecs(),
            "aggregation": self.aggregated_by(),
            "max_update_ratio": self.max_update_ratio,
        }

    def aggregated_by(self) -> Aggregation:
        """Return how what clients trained becomes one."""
        return Aggregation(self.aggregation, self.trimmed_share, self.malicious_clients)

    def codecs(self) -> Compression:
        """Return the codecs of what travels; ``none`` for what the algorithm does not send."""
        codecs = compression_of(
            self.compression,
            smashed=self.smashed_codec,
            gradients=self.gradients_codec,
            client_half_down=self.client_half_codec_down,
            client_half_up=self.client_half_codec_up,
            auxiliary=self.auxiliary_codec,
        )
        idle = [key.removesuffix("-codec") for key, _ in self._codecs_of_nothing()]
        return replace(codecs, **dict.fromkeys(idle, NONE))

    def workload(self) -> Workload:
        """Return the work of one client in a round, with 5,000 examples per client."""
        return Workload(batch_size=self.batch_size, local_epochs=self.local_epochs)

    def schedule(self, key: str) -> LearningRateSchedule:
        """Return the learning-rate schedule of a key in ``SCHEDULE_KEYS``.

        It is constant if the run's algorithm has no such key.

        Raises
        ------
        ConfigError
            The schedule does not fit the number of rounds.
        """
        text = str(self.to_run_config().get(key, "constant"))
        try:
            return parse_schedule(text, self.num_server_rounds)
        except ValueError as error:
            raise ConfigError(f"{key} = {text!r}: {error}") from error

    def to_run_config(self) -> dict[str, Any]:
        """Return all keys of the run in kebab-case with their values, as in ``config.json``."""
        parts = (self, self.task_options, self.options)
        return {key: getattr(part, f.name) for part in parts for key, f in
                declared(type(part)).items()}  # fmt: skip

    def idle_keys(self) -> dict[str, str]:
        """Return the keys that have no effect in this run, each with the key that is the reason.

        These include all keys of other algorithms, unless the run's algorithm is not
        registered here.
        """
        own, of_task = declared(type(self.options)), declared(type(self.task_options))
        others = [key for key in option_fields() if key not in own]
        idle = dict.fromkeys(others if self.algorithm in ALGORITHMS else [], "algorithm")
        others = [key for key in task_option_fields() if key not in of_task]
        idle |= dict.fromkeys(others if self.task in TASKS else [], "task")
        of_options = {**self.options.idle(), **self.task_options.idle()}
        of_heads = dict(self._without_heads())
        return {**idle, **of_options, **of_heads, **dict(self._idle_in_the_core())}

    def _idle_in_the_core(self) -> Iterable[tuple[str, str]]:
        of_distribution = distribution_keys(self.distribution)
        for key in ("alpha", "shards-per-client"):
            if of_distribution is not None and key not in of_distribution:
                yield key, "distribution"
        if "momentum" not in OPTIMIZERS.get(self.optimizer, ("momentum",)):
            yield "momentum", "optimizer"
        if "momentum" not in OPTIMIZERS.get(self.server_optimizer, ("momentum",)):
            yield "server-momentum", "server-optimizer"
        rule = RULES.get(self.aggregation)
        for key in ("trimmed-share", "malicious-clients"):
            if rule is not None and key not in rule.keys:
                yield key, "aggregation"
        if self.max_client_failures == 0:
            yield "pause-rounds", "max-client-failures"
        if self.smashed_noise_multiplier == 0:
            yield "delta", "smashed-noise-multiplier"
        elif self.smashed_noise_seed:
            yield "delta", "smashed-noise-seed"
        if self.fraction_evaluate == 0:
            yield "validation-fraction", "fraction-evaluate"
        yield from self._codecs_of_nothing()

    def _codecs_of_nothing(self) -> Iterable[tuple[str, str]]:
        """Iterate over the codecs of payloads that the algorithm does not have."""
        algorithm = ALGORITHMS.get(self.algorithm)
        if algorithm is not None and not algorithm.sends_smashed_data:
            yield "smashed-codec", "algorithm"
        if not isinstance(self.options, ExchangeOptions):
            yield "gradients-codec", "algorithm"
        if not isinstance(self.options, HeadOptions):
            yield "auxiliary-codec", "algorithm"

    def _without_heads(self) -> Iterable[tuple[str, str]]:
        """Iterate over the task's keys for heads, where the algorithm has none."""
        if self.algorithm in ALGORITHMS and not isinstance(self.options, HeadOptions):
            yield from ((key, "algorithm") for key in self.task_options.idle_without_heads())

    def torch_device(self) -> torch.device:
        """Return the configured device; ``auto`` means CUDA if it is available, else the CPU."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def all_defaults() -> dict[str, Any]:
    """Return all possible keys of a run configuration with their defaults."""
    fields = {**declared(RunConfig), **task_option_fields(), **option_fields()}
    return {key: f.default for key, f in fields.items()}


def _options_of(algorithm: str) -> type[Options]:
    """Return the options class of an algorithm; an empty one if it is not registered here."""
    return ALGORITHMS[algorithm].options if algorithm in ALGORITHMS else Options


def _options_of_task(task: str) -> type[Options]:
    """Return the options class of a kind of task; an empty one if it is not registered here."""
    return TASKS[task].options if task in TASKS else Options


def _converted(key: str, value: Any, kind: type) -> Any:
    """Return the value as the key's type; a whole number is accepted as a float."""
    if type(value) is int and abs(value) > LARGEST_NUMBER:
        raise ConfigError(f"{key} = {value}: it must be at most 2**63 - 1")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        raise ConfigError(f"{key} = {value!r}: {names[kind]} is needed")
    if isinstance(value, str) and not _is_unicode(value):
        raise ConfigError(
            f"{key} = {value!r}: it has bytes that are not UTF-8, which Flower cannot send; rename "
            "the file or directory"
        )
    return value


def _is_unicode(text: str) -> bool:
    """Tell whether a text is one, and not the undecodable bytes of a path."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
