"""What is trained: the one thing that strategies and client apps are handed."""

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .schedules import Schedule, constant
from .seeding import derive_seed
from .splitting import Loss, SplitModel, as_tensors, autocast, build_auxiliary, to_device

CPU = torch.device("cpu")

Batch = tuple[Tensor, Tensor]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class ClientIdentity:
    """Which client this is.

    Attributes
    ----------
    partition_id : int
        The client's number, in ``range(num_partitions)``.
    num_partitions : int
        Clients in the federation.
    node_config : Mapping
        The node's whole configuration, as its operator set it.
    """

    partition_id: int
    num_partitions: int
    node_config: Mapping[str, object] = field(default_factory=dict)


TrainBatches = Callable[[ClientIdentity, int], Iterable[Batch]]
ValidationBatches = Callable[[ClientIdentity], Iterable[Batch]]


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam with a learning rate of 1e-3, the default of every part."""
    return torch.optim.Adam(parameters, lr=1e-3)


@dataclass(frozen=True)
class SplitTask:
    """A split model, its data and its optimizers.

    Server and clients each build one, alike. ``model`` and the heads are moved to
    ``device`` as the task is made.

    Attributes
    ----------
    model : SplitModel
        Client half and server half.
    example : Tensor
        A batch of inputs, of at least two samples; only its shape matters.
    num_classes : int
        Labels are in ``range(num_classes)``.
    train_batches : callable
        ``(client, seed) -> (inputs, labels)`` batches of one local epoch on that client,
        on ``device``. All randomness (order, augmentation) must come from ``seed``.
    validation_batches : callable, optional
        ``client -> (inputs, labels)`` batches of that client's validation part, for
        federated evaluation.
    client_optimizer, server_optimizer, auxiliary_optimizer : callable
        From parameters to a ``torch.optim.Optimizer``.
    client_schedule, server_schedule, auxiliary_schedule : callable
        From rounds done to a factor of the optimizer's learning rate; 2.5 is in the middle
        of the third round. Within a round it advances with every batch if ``train_batches``
        returns something that has a length. An alignment has the rate of its round.
    auxiliary : callable, optional
        Builds an untrained auxiliary head; by default the first blocks of the server half.
    auxiliary_from_server : bool
        True: a head begins as a copy of the server half's blocks (when it has
        ``copy_from``); False: as it was initialised.
    loss : callable
        Mean loss of (output, labels).
    local_epochs : int
        Passes over the client's data in a round.
    device : torch.device
        Where this side computes.
    precision : {"fp32", "bf16"}
        ``"bf16"`` autocasts the halves' steps.
    seed : int
        Seed of the run.
    """

    model: SplitModel
    example: Tensor
    num_classes: int
    train_batches: TrainBatches
    validation_batches: ValidationBatches | None = None
    client_optimizer: OptimizerFactory = adam
    server_optimizer: OptimizerFactory = adam
    auxiliary_optimizer: OptimizerFactory = adam
    client_schedule: Schedule = constant
    server_schedule: Schedule = constant
    auxiliary_schedule: Schedule = constant
    auxiliary: Callable[[], nn.Module] | None = None
    auxiliary_from_server: bool = True
    loss: Loss = F.cross_entropy
    local_epochs: int = 1
    device: torch.device = CPU
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        to_device(self.model.client, self.device, self.precision).train()
        to_device(self.model.server, self.device, self.precision).train()

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass in the task's precision."""
        return autocast(self.device, self.precision)

    def reseed(self, *purpose: int | str) -> None:
        """Seed torch's global generators from the run's seed and a purpose.

        For the CPU alone it takes a hundredth of ``torch.manual_seed``'s 2 ms, which looks
        for GPUs each time.
        """
        seed = derive_seed(self.seed, *purpose)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def to_device(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Move smashed data to where this side computes."""
        return tuple(to_device(tensor, self.device, self.precision) for tensor in tensors)

    def smashed_example(self) -> tuple[Tensor, ...]:
        """Return smashed data of ``example`` on the CPU, without moving any buffer."""
        client = self.model.client
        training = client.training
        client.eval()
        with torch.no_grad():
            smashed = as_tensors(client(self.example.to(self.device)))
        client.train(training)
        return tuple(tensor.cpu() for tensor in smashed)

    def takes_single_samples(self) -> bool:
        """Tell whether the server half can be trained on a batch of one sample.

        BatchNorm refuses one where there is nothing but the batch to normalise over.
        """
        half = copy.deepcopy(self.model.server).train()
        one = tuple(tensor[:1] for tensor in self._example_there())
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                half(*one)
            except ValueError:
                return False
        return True

    @cached_property
    def head(self) -> nn.Module:
        """The head that a client loads each message's values into; built once."""
        return self.new_head("client")

    def new_head(self, purpose: int | str) -> nn.Module:
        """Build an auxiliary head on ``device``, initialised from the seed and a purpose.

        torch's global generator is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "auxiliary", purpose))
            if self.auxiliary is not None:
                head = self.auxiliary()
            else:
                head = build_auxiliary(self.model.server, self._example_there(), self.num_classes)
        return to_device(head, self.device, self.precision).train()

    def _example_there(self) -> tuple[Tensor, ...]:
        return tuple(tensor.to(self.device) for tensor in self.smashed_example())
