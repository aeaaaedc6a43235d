"""The run configuration; no other module reads run-config keys."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

import torch

from ..algorithm_options import (
    ExchangeOptions,
    HeadOptions,
    ServerStepsOptions,
    UploadOptions,
)
from ..algorithm_registry import ALGORITHMS
from ..compression import Compression
from ..config import Options, Setting, SettingError, read_options, settings_of, values_of
from ..config.clock import ClockOptions
from ..config.faults import FaultOptions
from ..config.key_names import renamed, unknown
from ..config.optimizer import CONSTANT, OptimizerOptions, ServerOptimizerOptions
from ..config.privacy import PrivacyOptions
from ..config.strategy import StrategyOptions
from ..data import distribution_keys
from ..rounds.aggregation.aggregation import RobustOptions
from ..rounds.aggregation.fed_opt import FED_AVG, FedOptOptions
from ..rounds.asynchrony.options import AsyncOptions
from ..schedules import LearningRateSchedule, parse_schedule
from ..splitting import Workload
from ..strategies import StrategySettings
from ..task_registry import TASKS
from ..user_error import UserError
from .codec_options import CodecOptions
from .core_options import CoreOptions
from .noise import problem_of

SCHEDULE_KEYS = ("lr-schedule", "server-lr-schedule", "auxiliary.lr-schedule")


class ConfigError(ValueError, UserError):
    """A run configuration is invalid; the line names the value, the valid values and the fix."""

    exit_status = 2


@dataclass(frozen=True)
class RunConfig(CoreOptions):
    """Resolved run configuration: the settings of every run, its algorithm and its task.

    ``batch_size`` is the key ``batch-size``, ``options.align_interval`` is ``align.interval``,
    ``privacy.delta`` is ``privacy.delta``; docs/reference/configuration.md explains each key.
    """

    client: OptimizerOptions = field(default=OptimizerOptions())
    server: ServerOptimizerOptions = field(default=ServerOptimizerOptions())
    codec: CodecOptions = field(default=CodecOptions())
    strategy: StrategyOptions = field(default=StrategyOptions())
    robust: RobustOptions = field(default=RobustOptions())
    fedopt: FedOptOptions = field(default=FedOptOptions())
    privacy: PrivacyOptions = field(default=PrivacyOptions())
    clock: ClockOptions = field(default=ClockOptions())
    faults: FaultOptions = field(default=FaultOptions())
    asynchrony: AsyncOptions = field(default=AsyncOptions())
    # By default those of the algorithm and of the task, which are known once the run is.
    options: Options = field(default_factory=Options)
    task_options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if type(self.options) is Options:
            object.__setattr__(self, "options", _options_of(self.algorithm)())
        if type(self.task_options) is Options:
            object.__setattr__(self, "task_options", _options_of_task(self.task)())

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, Any]) -> "RunConfig":
        """Check a run configuration and fill in the defaults.

        Keys of other algorithms and tasks are checked too, but not kept.

        Parameters
        ----------
        run_config : Mapping
            Flower's ``context.run_config``: flat keys.

        Raises
        ------
        ConfigError
            A key is unknown or has a new name, or a value has the wrong type or is not valid.
        """
        known, values = all_settings(), {}
        for key, value in run_config.items():
            if key not in known:
                raise ConfigError(unknown(key, known, new_names()))
            try:
                values[key] = known[key].converted(value)
            except SettingError as error:
                raise ConfigError(str(error)) from error
        task = str(values.get("task", cls.task))
        of_the_task = TASKS[task].checks if task in TASKS else {}
        for key, entry in known.items():
            value = values.get(key, entry.default)
            problem = entry.problem(value, of_the_task.get(key))
            if problem:
                raise ConfigError(f"{key} = {value!r}: {problem}")
        config = cls.unchecked(values)
        config._check_together()
        return config

    @classmethod
    def unchecked(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Return a configuration from flat keys without checks; ignore unknown keys.

        This is for past runs: their names may have been registered on another machine or in
        another project, which is not an error.
        """
        values = with_new_names(values)
        core = {e.name: values[key] for key, e in settings_of(cls).items() if key in values}
        groups: dict[str, Any] = {
            name: read_options(kind, values) for name, kind in _groups().items()
        }
        return cls(
            **core,
            **groups,
            options=read_options(_options_of(core.get("algorithm", cls.algorithm)), values),
            task_options=read_options(_options_of_task(core.get("task", cls.task)), values),
        )

    def _parts(self) -> Iterator[Options]:
        """Iterate over the options of the run."""
        yield from (getattr(self, name) for name in _groups())
        yield from (self.task_options, self.options)

    def _check_together(self) -> None:
        """Refuse values that do not fit together.

        Raises
        ------
        ConfigError
            The message describes the first problem.
        """
        for key in SCHEDULE_KEYS:
            self.schedule(key)
        budgets = {
            "auto-cut.max-params": self.client_max_params,
            "auto-cut.max-flops": self.client_max_flops,
        }
        for key, value in budgets.items():
            if value and self.cut != "auto":
                raise ConfigError(
                    f"{key} = {value}: it has no effect on a cut that is named; set cut = 'auto'"
                )
        problem = self._problem_with_labels()
        if problem:
            raise ConfigError(problem)
        options = self.options
        batches = options.batches_per_exchange if isinstance(options, ExchangeOptions) else 1
        problems = (
            problem_of(self.privacy, self.algorithm, self.task, batches),
            self._problem_with_average(),
            self._problem_with_late_replies(),
            *(part.problem() for part in self._parts()),
            *(part.problem_with_rounds(self.num_server_rounds) for part in self._parts()),
        )
        problem = next(filter(None, problems), None)
        if problem:
            raise ConfigError(problem)

    def _problem_with_average(self) -> str | None:
        """Refuse keys for what clients train where they train nothing."""
        if ALGORITHMS[self.algorithm].trains_client_half:
            return None
        given = {
            "proximal-mu": self.strategy.proximal_mu,
            "fedopt.optimizer": "" if self.fedopt.optimizer == FED_AVG else self.fedopt.optimizer,
        }
        key = next((key for key, value in given.items() if value), None)
        return key and (
            f"{key} = {given[key]!r}: clients of {self.algorithm} train nothing; choose another "
            "algorithm, or leave it out"
        )

    def _problem_with_late_replies(self) -> str | None:
        """Return the problem with replies that are merged in a later round."""
        late, options = self.asynchrony, self.options
        if not late.buffer:
            return None
        if not ALGORITHMS[self.algorithm].replies_may_be_late:
            able = ", ".join(name for name, one in ALGORITHMS.items() if one.replies_may_be_late)
            return (
                f"async.buffer = {late.buffer}: {self.algorithm} needs its clients in step; leave "
                f"it out, or choose of {able}"
            )
        problem = late.problem_with(
            fraction_reply=self.strategy.fraction_reply,
            min_train_nodes=self.strategy.min_train_nodes,
            fewest=self.robust.aggregated_by().fewest,
        )
        if problem is not None:
            return f"async.buffer = {late.buffer}: {problem}"
        if late.generate and not ALGORITHMS[self.algorithm].sends_smashed_data:
            return (
                f"async.generate = {late.generate}: clients of {self.algorithm} send no smashed "
                "data; leave it out"
            )
        pooled = isinstance(options, UploadOptions) and options.server_pool
        return late.problem_in_a_pool() if pooled else None

    def _problem_with_labels(self) -> str | None:
        """Return the problem with labels that stay on the clients."""
        if self.labels == "server":
            return None
        if not ALGORITHMS[self.algorithm].labels_may_stay:
            able = ", ".join(name for name, one in ALGORITHMS.items() if one.labels_may_stay)
            why = (
                "its server computes losses from smashed data and labels"
                if ALGORITHMS[self.algorithm].sends_smashed_data
                else "its clients have the whole model, and send no labels"
            )
            return (
                f"labels = 'client': {self.algorithm} cannot, or need not, keep labels on clients: "
                f"{why}; leave it out, or choose of {able}"
            )
        if self.cut == "auto":
            return "cut = 'auto': it does not know the tail's bytes (labels = 'client'); name a cut"
        options = self.options
        if isinstance(options, ExchangeOptions) and options.batches_per_exchange > 1:
            return (
                f"splitfed.batches-per-exchange = {options.batches_per_exchange}: with "
                "labels = 'client' each batch is one exchange; set it to 1"
            )
        if isinstance(options, ServerStepsOptions) and options.server_steps > 1:
            return (
                f"server-steps = {options.server_steps}: with labels = 'client' each step needs "
                "the clients' gradients of new hidden states; set it to 1"
            )
        if self.privacy.max_grad_norm:
            return (
                f"privacy.max-grad-norm = {self.privacy.max_grad_norm:g}: with labels = 'client' "
                "clients also send gradients of hidden states, which DP-SGD does not cover; leave "
                "one of both out"
            )
        return None

    def strategy_settings(self) -> StrategySettings:
        """Return the arguments, common to all strategies, that have run-config keys."""
        found = {f.name: getattr(self.strategy, f.name) for f in fields(self.strategy)}
        del found["max_reply_mib"]
        found["max_reply_bytes"] = self.strategy.max_reply_bytes
        found |= {"compression": self.codecs(), "aggregation": self.robust.aggregated_by()}
        found["fed_opt"] = self.fedopt.fed_opt()
        found["asynchrony"] = self.asynchrony if self.asynchrony.buffer else None
        return cast(StrategySettings, found)

    def codecs(self) -> Compression:
        """Return the codec of each payload; ``none`` for payloads that the algorithm lacks."""
        return self.codec.codecs(dict(self._codecs_of_nothing()))

    def workload(self) -> Workload:
        """Return the work of one client in a round, with 5,000 examples per client."""
        return Workload(
            batch_size=self.batch_size,
            local_epochs=self.local_epochs,
            rounds=self.num_server_rounds,
        )

    def schedule(self, key: str) -> LearningRateSchedule:
        """Return the learning-rate schedule of a key in ``SCHEDULE_KEYS``.

        It is constant if the run's algorithm has no such key.

        Raises
        ------
        ConfigError
            The schedule does not fit the number of rounds.
        """
        text = str(self.to_run_config().get(key, CONSTANT))
        try:
            return parse_schedule(text, self.num_server_rounds)
        except ValueError as error:
            raise ConfigError(f"{key} = {text!r}: {error}") from error

    def to_run_config(self) -> dict[str, Any]:
        """Return all keys of the run with their values, as in ``config.json``."""
        found = values_of(self)
        for part in self._parts():
            found |= values_of(part)
        return {key: found[key] for key in all_settings() if key in found}

    def unused_keys(self) -> dict[str, str]:
        """Return the keys that have no effect in this run, each with the key that is the reason.

        These include all keys of other algorithms, unless the run's algorithm is not
        registered here.
        """
        own = settings_of(type(self.options))
        others = [key for key in settings_of_all(ALGORITHMS) if key not in own]
        unused = dict.fromkeys(others if self.algorithm in ALGORITHMS else [], "algorithm")
        own = settings_of(type(self.task_options))
        others = [key for key in settings_of_all(TASKS) if key not in own]
        unused |= dict.fromkeys(others if self.task in TASKS else [], "task")
        for part in self._parts():
            unused |= part.unused()
        return {**unused, **dict(self._without_heads()), **dict(self._unused_in_the_core())}

    def _unused_in_the_core(self) -> Iterable[tuple[str, str]]:
        of_distribution = distribution_keys(self.distribution)
        for key in ("alpha", "shards-per-client"):
            if of_distribution is not None and key not in of_distribution:
                yield key, "distribution"
        if self.labels == "server":
            yield "tail", "labels"
        if self.strategy.fraction_evaluate == 0:
            yield "validation-fraction", "fraction-evaluate"
        if self.strategy.max_client_failures == 0:
            yield "pause-rounds", "max-client-failures"
        if self.privacy.smashed_noise_multiplier == 0:
            yield "privacy.delta", "privacy.smashed-noise-multiplier"
        elif self.privacy.smashed_noise_seed:
            yield "privacy.delta", "privacy.smashed-noise-seed"
        yield from self._codecs_of_nothing()

    def _codecs_of_nothing(self) -> Iterable[tuple[str, str]]:
        """Iterate over the codecs of payloads that the algorithm does not have."""
        algorithm = ALGORITHMS.get(self.algorithm)
        if algorithm is not None and not algorithm.sends_smashed_data:
            yield "codec.smashed", "algorithm"
        if not isinstance(self.options, ExchangeOptions):
            yield "codec.gradients", "algorithm"
        if not isinstance(self.options, HeadOptions):
            yield "codec.auxiliary", "algorithm"

    def _without_heads(self) -> Iterable[tuple[str, str]]:
        """Iterate over the task's keys for heads, where the algorithm has none."""
        if self.algorithm in ALGORITHMS and not isinstance(self.options, HeadOptions):
            yield from ((key, "algorithm") for key in self.task_options.unused_without_heads())

    def torch_device(self) -> torch.device:
        """Return the configured device; ``auto`` means CUDA if it is available, else the CPU."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def _groups() -> dict[str, type[Options]]:
    """Return the classes of the options that every run has, by the field of ``RunConfig``."""
    return {f.name: type(f.default) for f in fields(RunConfig) if isinstance(f.default, Options)}


def settings_of_all(registry: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the settings of all algorithms, or all kinds of tasks, of a registry by key."""
    found: dict[str, Setting] = {}
    for entry in registry.values():
        found |= settings_of(entry.options)
    return found


def settings_of_every_run() -> dict[str, Setting]:
    """Return the settings that do not belong to an algorithm or a kind of task, by key."""
    found = dict(settings_of(RunConfig))
    for group in _groups().values():
        found |= settings_of(group)
    return found


def all_settings() -> dict[str, Setting]:
    """Return all settings of a run configuration by key: core keys first, then the groups.

    Raises
    ------
    ConfigError
        A registered algorithm or task declares a key that another one, or every run, has.
    """
    parts = (settings_of_every_run(), settings_of_all(TASKS), settings_of_all(ALGORITHMS))
    found: dict[str, Setting] = {}
    for part in parts:
        both = sorted(set(found) & set(part))
        if both:
            raise ConfigError(
                f"key {both[0]!r} belongs to every run, or to a task, and a registered algorithm "
                "or task declares it too; rename its option"
            )
        found |= part
    groups = list(dict.fromkeys(entry.group for entry in found.values()))
    return dict(sorted(found.items(), key=lambda item: groups.index(item[1].group)))


def all_defaults() -> dict[str, Any]:
    """Return all keys of a run configuration with their defaults."""
    return {key: entry.default for key, entry in all_settings().items()}


def new_names() -> dict[str, str]:
    """Return the keys of earlier versions with their new names."""
    return {old: key for key, entry in all_settings().items() for old in entry.formerly}


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that an earlier version wrote, with the names of this one."""
    values = {key: entry.renamed_values for key, entry in all_settings().items()}
    return renamed(config, new_names(), values)


def _options_of(algorithm: str) -> type[Options]:
    """Return the options class of an algorithm; an empty one if it is not registered here."""
    return ALGORITHMS[algorithm].options if algorithm in ALGORITHMS else Options


def _options_of_task(task: str) -> type[Options]:
    """Return the options class of a kind of task; an empty one if it is not registered here."""
    return TASKS[task].options if task in TASKS else Options
