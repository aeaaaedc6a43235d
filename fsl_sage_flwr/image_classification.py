"""Image classification as a task: a model of the catalogue on a dataset of images."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .classes import Classes
from .config import Options, one_of, setting
from .data import (
    AUGMENTATIONS,
    DATASETS,
    ClientData,
    DataIdentity,
    DecodedPartitionCache,
    FederatedImages,
    ImageDataset,
    NodeImages,
    check_images,
    identity_of_images,
    is_here,
    load_images,
    load_own_images,
    local_copy,
    randomised_response,
)
from .models import MODELS, build_model, tail_name
from .seeding import derive_seed
from .splitting import SplitError, as_tensors, build_auxiliary, forward_flops, full_name, split
from .task import Batch, ClientIdentity, SplitTask
from .task_registry import TaskKind, TaskSettings, TestBatches, TrainingCost

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class ImageOptions(Options):
    """Options of a run on images."""

    augmentation: str = setting(
        "auto",
        "`auto` is `crop_flip` for colour images",
        group="data",
        formerly=("augmentation",),
        choices=AUGMENTATIONS,
    )
    image_column: str = setting(
        "",
        "column of the images; empty uses the usual name or the only one",
        group="data",
        formerly=("image-column",),
    )
    label_column: str = setting(
        "",
        "column of the labels; empty uses the usual name or the only one",
        group="data",
        formerly=("label-column",),
    )


def build(settings: TaskSettings, options: ImageOptions) -> SplitTask:
    """Build the task; its halves are initialised from the seed and equal on all machines.

    With a node's own data, image shape and classes come from them, and the run's dataset is not
    needed.

    Raises
    ------
    DatasetError, SplitError
        The data or the cut cannot be used.
    """
    train = _training_split(settings, options)
    entry = MODELS[settings.model]
    example = torch.zeros(2, *train.image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(settings.seed, "model"))
        whole = build_model(settings.model, train.image_shape, train.num_classes)
        cut = _cut(settings, whole, example)
        tail = "" if settings.tail is None else tail_name(settings.model, settings.tail)
        model = split(whole, at=cut, example=example, tail=tail)
    smashed = tuple(t.detach() for t in as_tensors(model.client(example)))
    own_head = entry.auxiliary if cut == entry.cut or isinstance(entry.auxiliary, str) else "auto"
    heads = settings.heads
    kind = {"auto": own_head, "blocks": "auto", "linear": "linear"}[heads.auxiliary]

    def auxiliary() -> nn.Module:
        if not isinstance(kind, str):
            return kind(smashed, train.num_classes)
        return build_auxiliary(
            model.server, smashed, train.num_classes, kind, heads.auxiliary_max_share
        )

    parts = NodeImages if settings.data_path is not None else FederatedImages
    kept_out = settings.validation_fraction
    # Two nodes on one machine may both be partition 0, with different data.
    shared = settings.parts_folder if settings.data_path is None else None
    files = DecodedPartitionCache(shared) if shared is not None else None
    federated = parts(train, settings.distribution, settings.device, kept_out, files)
    randomised = _Randomised(settings.label_epsilon, train.num_classes)
    colour = train.image_shape[0] == 3
    augmented = options.augmentation == "crop_flip" or (options.augmentation == "auto" and colour)

    def train_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        part = federated.part(client.partition_id, client.num_partitions)
        part = randomised.of(part, client, "training")
        return part.epoch(settings.batch_size, seed, augmented=augmented)

    def validation_batches(client: ClientIdentity) -> Iterable[Batch]:
        part = federated.validation_part(client.partition_id, client.num_partitions)
        part = randomised.of(part, client, "validation")
        return part.in_order(EVALUATION_BATCH)

    return SplitTask(
        model=model,
        example=example,
        num_classes=train.num_classes,
        train_batches=train_batches,
        validation_batches=validation_batches if kept_out else None,
        auxiliary=auxiliary,
        auxiliary_from_server=heads.auxiliary_init == "server",
        class_names=train.class_names,
        **settings.training,
    )


class _Randomised:
    """Replaces labels by randomised response, once per node."""

    def __init__(self, epsilon: float, num_classes: int) -> None:
        self._epsilon, self._num_classes = epsilon, num_classes
        self._labels: dict[bytes, Tensor] = {}

    def of(self, part: ClientData, client: ClientIdentity, purpose: str) -> ClientData:
        if not self._epsilon:
            return part
        if client.secret is None:
            raise ValueError(
                f"privacy.label-epsilon = {self._epsilon:g}: client {client.partition_id} has no "
                "secret to draw with; put label_secret_mod into the mods of the ClientApp"
            )
        own = f"{purpose} {client.partition_id} {client.num_partitions} ".encode() + client.secret
        if own not in self._labels:
            self._labels[own] = randomised_response(
                part.labels, self._num_classes, self._epsilon, own
            )
        return replace(part, labels=self._labels[own])


def check(settings: TaskSettings, options: ImageOptions, clients: int) -> None:
    """Check that dataset, partition and cut can be used; nothing is downloaded."""
    named = settings.cut not in ("", "auto") or bool(settings.tail)
    if named:  # before the data, which take a second or more to read
        with suppress(_NotBuiltError):
            _check_names(settings, _built(settings.model, (3, 32, 32), 10))
    if is_here(settings.dataset):
        train, _ = _splits(settings, options)
        FederatedImages(train, settings.distribution, settings.device).rows(0, clients)
        if named:
            _check_names(settings, _built(settings.model, train.image_shape, train.num_classes))
        check_images(settings.dataset, options.image_column, options.label_column)


def _check_names(settings: TaskSettings, model: nn.Module) -> None:
    for name in (settings.cut, settings.tail):
        if name and name != "auto":
            full_name(model, name)


def identify(settings: TaskSettings, options: ImageOptions, download: bool) -> DataIdentity | None:
    """Return the identity of both splits; None for a dataset that is not on this machine."""
    if not (download or is_here(settings.dataset)):
        return None
    train, test = _splits(settings, options)
    taken = {"data.image-column": train.column, "data.label-column": train.label_column}
    given = {"data.image-column": options.image_column, "data.label-column": options.label_column}
    columns = {key: column for key, column in taken.items() if column}
    found = [key for key in columns if not given[key]]
    return identity_of_images({"train": train, "test": test}, columns, found)


def cost(settings: TaskSettings, options: ImageOptions) -> TrainingCost | None:
    """Return the cost of training; None for a dataset that is not on this machine."""
    if not is_here(settings.dataset):
        return None
    train, _ = _splits(settings, options)
    model = _built(settings.model, train.image_shape, train.num_classes)
    flops = forward_flops(model, torch.zeros(2, *train.image_shape))
    return TrainingCost(len(train.labels), flops)


class _NotBuiltError(SplitError):
    """The model does not fit the images."""


def _built(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        try:
            return build_model(name, shape, classes)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise _NotBuiltError(
                f"model = {name!r} cannot be built for {classes} classes and images "
                f"{shape}: {' '.join(str(error).split())[:200]}"
            ) from error


def classes(settings: TaskSettings, options: ImageOptions) -> Classes | None:
    """Return the classes of a node's data; None for a named dataset, equal on all machines."""
    if settings.data_path is None and settings.dataset in DATASETS:
        return None
    train = _training_split(settings, options)
    return Classes(train.num_classes, train.class_names)


def test_batches(settings: TaskSettings, options: ImageOptions) -> TestBatches:
    """Return a function that iterates over the test split, which is decoded only once."""
    _, test = _splits(settings, options)
    images, labels = test.decode()
    data = ClientData(images.to(settings.device), labels.to(settings.device))
    return lambda: data.in_order(EVALUATION_BATCH)


def _cut(settings: TaskSettings, model: nn.Module, example: Tensor) -> str:
    """Return the configured cut; ``""`` selects the model's default cut.

    The server and all nodes must get the same cut, so ``auto`` ignores a node's own data.
    """
    if settings.cut == "auto":
        return settings.auto_cut(model, example)
    return settings.cut or MODELS[settings.model].cut


def _training_split(settings: TaskSettings, options: ImageOptions) -> ImageDataset:
    if settings.data_path is not None:
        return load_own_images(
            settings.data_path, settings.dataset, options.image_column, options.label_column
        )
    return _splits(settings, options)[0]


def _splits(settings: TaskSettings, options: ImageOptions) -> tuple[ImageDataset, ImageDataset]:
    return load_images(settings.dataset, options.image_column, options.label_column)


def _dataset(value: Any) -> str | None:
    _, directory = local_copy(str(value)) or (None, str(value))
    if value in DATASETS or directory.startswith("/"):
        return None
    return (
        f"valid are {', '.join(DATASETS)}, the absolute path of a local dataset directory, or "
        "NAME:PATH for a local copy of a named dataset"
    )


KIND = TaskKind(
    name="image_classification",
    options=ImageOptions,
    build=build,
    test_batches=test_batches,
    check=check,
    checks={"model": one_of(MODELS), "dataset": _dataset},
    evaluation_batch=EVALUATION_BATCH,
    classes=classes,
    randomises_labels=True,
    identify=identify,
    cost=cost,
)
