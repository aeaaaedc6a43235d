"""Build the task that server and clients train, and the strategy, from a run configuration."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..data import (
    ClientData,
    Distribution,
    FederatedImages,
    ImageDataset,
    NodeImages,
    load_images,
    load_own_images,
)
from ..models import CATALOGUE, build_model
from ..registry import ALGORITHMS
from ..seeding import derive_seed
from ..splitting import SplitError, as_tensors, build_auxiliary, choose_cut, list_cuts, split
from ..strategies import SplitStrategy
from ..strategies.common_options import HeadOptions
from ..task import (
    Batch,
    ClientIdentity,
    OptimizerFactory,
    SplitTask,
    TrainBatches,
    ValidationBatches,
)
from .config import ConfigError, RunConfig
from .forecast import coded_cut

EVALUATION_BATCH = 500


def build_task(config: RunConfig, data_path: str | None = None) -> SplitTask:
    """Build the task; its halves are initialised from the seed and are the same everywhere.

    Parameters
    ----------
    config : RunConfig
        What to train.
    data_path : str, optional
        Directory of the node's own data. These data then give the image shape and the
        classes, and the node does not need the run's dataset.

    Raises
    ------
    DatasetError, SplitError
        The data or the cut of the configuration cannot be used.
    """
    train = _training_split(config, data_path)
    device, entry = config.torch_device(), CATALOGUE[config.model]
    example = torch.zeros(2, *train.image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "model"))
        whole = build_model(config.model, train.image_shape, train.num_classes)
        cut = _cut(config, whole, example)
        model = split(whole, at=cut, example=example)
    smashed = tuple(t.detach() for t in as_tensors(model.client(example)))
    own_head = entry.auxiliary if cut == entry.cut or isinstance(entry.auxiliary, str) else "auto"
    heads = config.options if isinstance(config.options, HeadOptions) else HeadOptions()
    kind = {"auto": own_head, "blocks": "auto", "linear": "linear"}[heads.auxiliary]

    def auxiliary() -> nn.Module:
        moved = tuple(t.to(device) for t in smashed)
        if not isinstance(kind, str):
            return kind(moved, train.num_classes)
        return build_auxiliary(
            model.server, moved, train.num_classes, kind, heads.auxiliary_max_share
        )

    parts = NodeImages if data_path is not None else FederatedImages
    kept_out = config.validation_fraction if config.fraction_evaluate else 0.0
    federated = parts(train, distribution_of(config), device, kept_out)
    train_batches, validation_batches = _client_batches(config, federated, train.image_shape[0])
    return SplitTask(
        model=model,
        example=example,
        num_classes=train.num_classes,
        train_batches=train_batches,
        validation_batches=validation_batches if kept_out else None,
        client_optimizer=_optimizer(
            config.optimizer, config.learning_rate, config.weight_decay, config.momentum
        ),
        server_optimizer=_optimizer(
            config.server_optimizer,
            config.server_learning_rate,
            config.server_weight_decay,
            config.server_momentum,
        ),
        auxiliary_optimizer=_optimizer("adam", heads.auxiliary_learning_rate, 0.0, 0.0),
        client_schedule=config.schedule("lr-schedule"),
        server_schedule=config.schedule("server-lr-schedule"),
        auxiliary_schedule=config.schedule("auxiliary-lr-schedule"),
        auxiliary=auxiliary,
        auxiliary_from_server=heads.auxiliary_init == "server",
        local_epochs=config.local_epochs,
        device=device,
        precision=config.precision,
        seed=config.seed,
    )


def _cut(config: RunConfig, model: nn.Module, example: Tensor) -> str:
    """Return the configured cut; ``""`` means the model's usual cut.

    The server and all nodes must get the same cut, so ``auto`` does not use a node's own data.
    """
    if config.cut != "auto":
        return config.cut or CATALOGUE[config.model].cut
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


def build_test_batches(config: RunConfig) -> Callable[[], Iterable[Batch]]:
    """Return a function that iterates over the test split, which is decoded only once."""
    _, test = load_images(config.dataset)
    images, labels = test.decode()
    device = config.torch_device()
    data = ClientData(images.to(device), labels.to(device))
    return lambda: data.in_order(EVALUATION_BATCH)


def distribution_of(config: RunConfig) -> Distribution:
    """Return the distribution of the training split among the clients, with its seed."""
    return Distribution(
        name=config.distribution,
        alpha=config.alpha,
        shards_per_client=config.shards_per_client,
        seed=derive_seed(config.seed, "partition") % 2**32,
    )


def _training_split(config: RunConfig, data_path: str | None) -> ImageDataset:
    if data_path is not None:
        return load_own_images(data_path, config.dataset)
    return load_images(config.dataset)[0]


def _client_batches(
    config: RunConfig, federated: FederatedImages, channels: int
) -> tuple[TrainBatches, ValidationBatches]:
    colour = channels == 3
    augmented = config.augmentation == "crop_flip" or (config.augmentation == "auto" and colour)

    def train_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        part = federated.part(client.partition_id, client.num_partitions)
        return part.epoch(config.batch_size, seed, augmented=augmented)

    def validation_batches(client: ClientIdentity) -> Iterable[Batch]:
        part = federated.validation_part(client.partition_id, client.num_partitions)
        return part.in_order(EVALUATION_BATCH)

    return train_batches, validation_batches


def _optimizer(
    name: str, learning_rate: float, weight_decay: float, momentum: float
) -> OptimizerFactory:
    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        if name == "sgd":
            return torch.optim.SGD(
                parameters, lr=learning_rate, weight_decay=weight_decay, momentum=momentum
            )
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        return kind(parameters, lr=learning_rate, weight_decay=weight_decay)

    return make
