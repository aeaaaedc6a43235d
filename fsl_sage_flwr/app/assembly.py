"""Build the task that server and clients train, and the strategy, from a run configuration."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..algorithm_options import HeadOptions
from ..algorithm_registry import ALGORITHMS
from ..classes import Classes
from ..compression.estimates import coded_cut
from ..config.optimizer import ADAM, ADAMW, SGD, OptimizerOptions
from ..cpus import usable_cpus
from ..data import DataIdentity, Distribution
from ..runs.privacy_account import PrivacyAccount
from ..seeding import derive_seed
from ..splitting import (
    ClientPrivacy,
    SplitError,
    as_tensors,
    choose_cut,
    list_cuts,
    mixes_samples,
    set_up_gpu,
)
from ..strategies import SplitStrategy
from ..task import OptimizerFactory, SplitTask, Weights
from ..task_registry import TASKS, TaskSettings, TestBatches, TrainingCost
from .config import ConfigError, RunConfig

Finish = Callable[[Weights, Path], Mapping[str, float]]


def build_task(
    config: RunConfig,
    data_path: str | None = None,
    *,
    on_client: bool = False,
    parts_folder: Path | None = None,
) -> SplitTask:
    """Build the task, with the same initial weights on server and clients.

    Parameters
    ----------
    config : RunConfig
        What to train.
    data_path : str, optional
        Directory of the node's own data, in place of a part of the run's dataset.
    on_client : bool
        A client need not hold what it never runs, nor prove at length what the server has
        proven.
    parts_folder : Path, optional
        Where processes that serve clients of this run share their decoded parts of the dataset.

    Raises
    ------
    DatasetError, SplitError
        The data or the cut of the configuration cannot be used.
    """
    settings = task_settings(config, data_path, on_client=on_client, parts_folder=parts_folder)
    set_up_gpu(settings.device, settings.precision)
    if torch.get_num_threads() > usable_cpus():  # torch knows no quota of a container
        torch.set_num_threads(usable_cpus())
    task = TASKS[config.task].build(settings, config.task_options)
    if config.privacy.smashed_clip_norm and not on_client:
        _refuse_constants(config, task)
    if config.privacy.max_grad_norm:
        task = replace(task, client_privacy=_client_privacy(config))
    return task


def _client_privacy(config: RunConfig) -> ClientPrivacy:
    privacy = config.privacy
    return ClientPrivacy(privacy.max_grad_norm, privacy.noise_multiplier, config.batch_size)


def _refuse_constants(config: RunConfig, task: SplitTask) -> None:
    """Refuse to clip smashed data that contain a constant, such as an attention mask.

    Raises
    ------
    SplitError
        The mask's huge values would be all that is left of a clipped sample.
    """
    inputs = (tensor.to(task.device) for tensor in as_tensors(task.example))
    with torch.random.fork_rng(devices=[]):
        smashed = as_tensors(task.model.client.eval()(*inputs))
    task.model.client.train()
    floating = [tensor for tensor in smashed if tensor.is_floating_point()]
    if any(not tensor.requires_grad for tensor in floating):
        raise SplitError(
            f"privacy.smashed-clip-norm = {config.privacy.smashed_clip_norm:g}: a constant crosses "
            f"the cut {task.model.cut!r}, an attention mask for example, and would be clipped with "
            "the smashed data; leave the key out, or cut elsewhere"
        )


def build_account(config: RunConfig, task: SplitTask) -> PrivacyAccount | None:
    """Return the privacy account of the noise on smashed data; None without noise.

    Raises
    ------
    PrivacyAccountError
        The accountant is not installed.
    """
    if not config.privacy.has_account:
        return None
    example = tuple(tensor.to(task.device) for tensor in as_tensors(task.example))
    mixed = mixes_samples(task.model.client, example)
    # A single example at the end of an epoch joins the last batch.
    moved = config.batch_size + 1 if mixed else 1
    privacy = config.privacy
    return PrivacyAccount(
        privacy.smashed_noise_multiplier, privacy.delta, moved, privacy.noise_multiplier
    )


def check_task(config: RunConfig, clients: int) -> None:
    """Check a task before it is built.

    Raises
    ------
    DatasetError, SplitError, LanguageModelError
        As :func:`build_task`.
    """
    kind = TASKS[config.task]
    if kind.check is not None:
        kind.check(task_settings(config), config.task_options, clients)


def training_cost(config: RunConfig) -> TrainingCost | None:
    """Return what determines the length of a training pass; None if it is unknown.

    Raises
    ------
    DatasetError, SplitError
        The data or the model cannot be used.
    """
    cost = TASKS[config.task].cost
    return cost and cost(task_settings(config), config.task_options)


def classes_of_node(config: RunConfig, data_path: str | None) -> Classes | None:
    """Return the classes of a node's data; None if they are the run's by construction.

    Raises
    ------
    DatasetError
        The data cannot be read.
    """
    kind = TASKS[config.task]
    if kind.classes is None:
        return None
    return kind.classes(task_settings(config, data_path, on_client=True), config.task_options)


def identify_data(config: RunConfig, *, download: bool) -> DataIdentity | None:
    """Return the identity of a run's data; None without one, or if the data are absent.

    Raises
    ------
    DatasetError
        The data cannot be read.
    """
    identify = TASKS[config.task].identify
    return identify and identify(task_settings(config), config.task_options, download)


def build_test_batches(config: RunConfig) -> TestBatches:
    """Return a function that iterates over the test split."""
    return TASKS[config.task].test_batches(task_settings(config), config.task_options)


def finish_of(config: RunConfig) -> Finish | None:
    """Return the task's own writer of a completed run's models, if it has one."""
    finish = TASKS[config.task].finish
    if finish is None:
        return None
    return lambda weights, path: finish(task_settings(config), config.task_options, weights, path)


def task_settings(
    config: RunConfig,
    data_path: str | None = None,
    *,
    on_client: bool = False,
    parts_folder: Path | None = None,
) -> TaskSettings:
    """Return the settings from which a run's task is built."""
    heads = config.options if isinstance(config.options, HeadOptions) else HeadOptions()
    evaluated = config.strategy.fraction_evaluate > 0
    return TaskSettings(
        model=config.model,
        cut=config.cut,
        tail=config.tail if config.labels == "client" else None,
        dataset=config.dataset,
        data_path=data_path,
        parts_folder=parts_folder,
        auto_cut=lambda model, example: _auto_cut(config, model, example),
        distribution=distribution_of(config),
        validation_fraction=config.validation_fraction if evaluated else 0.0,
        label_epsilon=config.privacy.label_epsilon if on_client else 0.0,
        training={
            "client_optimizer": _optimizer(config.client),
            "server_optimizer": _optimizer(config.server),
            "auxiliary_optimizer": _optimizer(
                OptimizerOptions(
                    ADAM, heads.auxiliary_learning_rate, weight_decay=0.0, momentum=0.0
                )
            ),
            "client_schedule": config.schedule("lr-schedule"),
            "server_schedule": config.schedule("server-lr-schedule"),
            "auxiliary_schedule": config.schedule("auxiliary.lr-schedule"),
            "local_epochs": config.local_epochs,
            "batch_size": config.batch_size,
            "device": config.torch_device(),
            "precision": config.precision,
            "seed": config.seed,
        },
        heads=heads,
        client_half_only=on_client and ALGORITHMS[config.algorithm].sends_smashed_data,
        prove=not on_client,
    )


def _auto_cut(config: RunConfig, model: nn.Module, example: Tensor) -> str:
    algorithm, work, codecs = ALGORITHMS[config.algorithm], config.workload(), config.codecs()
    round_bytes = algorithm.round_bytes
    if round_bytes is None:
        raise SplitError(
            f"cut = 'auto' does not know the bytes of {config.algorithm!r}: it was registered "
            "without round_bytes; name a cut."
        )
    return choose_cut(
        list_cuts(model, example),
        lambda cut: round_bytes(coded_cut(cut, codecs), work, config.options),
        max_parameters=config.client_max_params,
        max_flops=config.client_max_flops,
    ).name


def build_strategy(config: RunConfig, task: SplitTask) -> SplitStrategy:
    """Build the strategy of the algorithm that the configuration names.

    Raises
    ------
    ConfigError
        The algorithm's strategy is not a ``SplitStrategy``.
    """
    make = ALGORITHMS[config.algorithm].strategy
    strategy = make(task, config.options, config.strategy_settings())
    if not isinstance(strategy, SplitStrategy):
        raise ConfigError(
            f"algorithm = {config.algorithm!r}: it was registered with a "
            f"{type(strategy).__name__}; a SplitStrategy is needed"
        )
    return strategy


def distribution_of(config: RunConfig) -> Distribution:
    """Return the distribution of the training split among the clients, with its seed."""
    return Distribution(
        name=config.distribution,
        alpha=config.alpha,
        shards_per_client=config.shards_per_client,
        seed=derive_seed(config.seed, "partition") % 2**32,
    )


def _optimizer(options: OptimizerOptions) -> OptimizerFactory:
    rate, decay = options.learning_rate, options.weight_decay

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if options.optimizer == SGD:
            return torch.optim.SGD(
                parameters, lr=rate, weight_decay=decay, momentum=options.momentum
            )
        kind = torch.optim.AdamW if options.optimizer == ADAMW else torch.optim.Adam
        parameters = list(parameters)
        # One kernel instead of a dozen: a GPU waits for launches more than for arithmetic here.
        # Fused steps need one memory layout, and loaded state has lost its own.
        fused = all(p.is_cuda and p.is_contiguous() for p in parameters) or None
        return kind(parameters, lr=rate, weight_decay=decay, fused=fused)

    return make
