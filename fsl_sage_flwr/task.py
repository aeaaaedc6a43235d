"""What is trained: the one thing that strategies and client apps are handed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol, TypedDict, runtime_checkable

import torch
from torch import Tensor, nn

from .classes import Classes
from .objective import Loss, Objective, classification, logits_of
from .schedules import Schedule, constant
from .seeding import derive_seed
from .splitting import (
    AuxiliaryHead,
    ClientPrivacy,
    SplitError,
    SplitModel,
    as_tensors,
    autocast,
    build_auxiliary,
    check_private_steps,
    copied,
    to_device,
)
from .splitting.structures import map_leaves

CPU = torch.device("cpu")

Inputs = Tensor | tuple[Tensor, ...]
Batch = tuple[Inputs, Tensor]
Weights = Mapping[str, Tensor]
OptimizerFactory = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


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
    secret : bytes or None
        What only this node knows, the same in all messages of a run, where a mod has drawn it
        (``label_secret_mod``).
    """

    partition_id: int
    num_partitions: int
    node_config: Mapping[str, object] = field(default_factory=dict)
    secret: bytes | None = field(default=None, repr=False)


@runtime_checkable
class NumberedBatches(Protocol):
    """Batches that say which of the client's samples they hold."""

    def sample_numbers(self, k: int) -> Tensor:
        """Return the numbers of the samples in batch ``k``.

        ``(B,)``, whole numbers from 0, in the order of the batch. A sample has one number in
        all epochs and rounds, whatever augmentation makes of it; consecutive numbers are best.
        """


TrainBatches = Callable[[ClientIdentity, int], Iterable[Batch]]
ValidationBatches = Callable[[ClientIdentity], Iterable[Batch]]


class TrainingArguments(TypedDict):
    """Arguments of :class:`SplitTask` that do not depend on the kind of task."""

    client_optimizer: OptimizerFactory
    server_optimizer: OptimizerFactory
    auxiliary_optimizer: OptimizerFactory
    client_schedule: Schedule
    server_schedule: Schedule
    auxiliary_schedule: Schedule
    local_epochs: int
    batch_size: int
    device: torch.device
    precision: str
    seed: int


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam with a learning rate of 1e-3, the default of every part."""
    return torch.optim.Adam(parameters, lr=1e-3)


def whole_state(module: nn.Module) -> Weights:
    """Return all parameters and buffers of a module: what travels by default."""
    return module.state_dict()


def load_whole_state(module: nn.Module, weights: Weights) -> None:
    """Load what :func:`whole_state` returned."""
    module.load_state_dict(weights)


@dataclass(frozen=True)
class SplitTask:
    """A split model, its data, its optimizers and its objective.

    Server and clients each build one, alike. ``model`` and the heads are moved to
    ``device`` as the task is made.

    Attributes
    ----------
    model : SplitModel
        Client half and server half.
    example : Tensor or tuple of Tensor
        A batch of the model's inputs, of at least two samples; only its shape matters.
    num_classes : int or None
        Labels are in ``range(num_classes)``; the width of a default head's output. None for an
        objective without classes: heads are then as wide as the server half's output.
    train_batches : callable
        ``(client, seed) -> (inputs, labels)`` batches of one local epoch on that client,
        on any device. All randomness (order, augmentation) must come from ``seed``. Where what
        it returns is :class:`NumberedBatches` too, estimates of gradients are measured on samples
        that they are never fitted to; else they are not measured.
    validation_batches : callable, optional
        ``client -> (inputs, labels)`` batches of that client's validation part, for
        federated evaluation.
    client_optimizer, server_optimizer, auxiliary_optimizer : callable
        From a list of parameters to a ``torch.optim.Optimizer``.
    client_schedule, server_schedule, auxiliary_schedule : callable
        From rounds done to a factor of the optimizer's learning rate; 2.5 is in the middle
        of the third round. Within a round it advances with every batch if ``train_batches``
        returns something that has a length. An alignment has the rate of its round.
    auxiliary : callable, optional
        Builds an untrained auxiliary head; by default the first blocks of the server half.
    auxiliary_from_server : bool
        True: a head begins as a copy of the server half's blocks (when it has
        ``copy_from``); False: as it was initialised.
    loss : callable, optional
        Mean loss of (output, labels) of a classification; by default the cross-entropy.
    objective : Objective, optional
        Loss, scores and valid labels; by default a classification with ``num_classes`` and
        ``loss``. ``dataclasses.replace`` keeps it: give a new one with another loss.
    weights_of, load_weights : callable
        What of a half or a head travels, by name, and how it is put back: by default the whole
        ``state_dict``. ``load_weights(module, weights_of(module))`` must change nothing.
        ``trained_state`` and ``load_trained_state`` of ``splitting`` leave out frozen parameters.
    client_privacy : ClientPrivacy, optional
        Clients take the steps of DP-SGD.
    local_epochs : int
        Passes over the client's data in a round.
    batch_size : int or None
        Samples of every batch of ``train_batches`` but the last of an epoch, which may have fewer,
        or one more. The server then refuses what such batches cannot be; None: it does not know.
    gradient_batch : int
        Samples of a pass in which an alignment takes true gradients, and measures estimates.
        BatchNorm normalises over them; outputs of a language model need much memory.
    device : torch.device
        Where this side computes.
    precision : {"fp32", "tf32", "bf16"}
        ``"bf16"`` autocasts the halves' steps. The other two differ on a GPU only, where
        :func:`~fsl_sage_flwr.splitting.set_up_gpu` says for the whole process which it is.
    seed : int
        Seed of the run.
    class_names : tuple of str
        Names of the classes in the order of the labels; empty if unknown. A node that reports
        classes of other names is left out of the run.

    Raises
    ------
    ValueError
        There is neither ``num_classes`` nor an objective; or a loss beside an objective, which
        has its own.
    """

    model: SplitModel
    example: Inputs
    num_classes: int | None
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
    loss: Loss = None  # type: ignore[assignment]  # the objective's, once the task is made
    objective: Objective = None  # type: ignore[assignment]  # set when the task is made
    weights_of: Callable[[nn.Module], Weights] = whole_state
    load_weights: Callable[[nn.Module, Weights], None] = load_whole_state
    client_privacy: ClientPrivacy | None = None
    local_epochs: int = 1
    batch_size: int | None = None
    gradient_batch: int = 256
    device: torch.device = CPU
    precision: str = "fp32"
    seed: int = 0
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", self._objective())
        object.__setattr__(self, "loss", self.objective.loss)
        to_device(self.model.client, self.device, self.precision).train()
        to_device(self.model.server, self.device, self.precision).train()

    def _objective(self) -> Objective:
        if self.objective is None:
            if self.num_classes is None:
                raise ValueError(
                    "num_classes = None: a task without classes needs an objective; give SplitTask "
                    "objective=regression(…) or an Objective of your own"
                )
            return classification(self.num_classes, self.loss)
        if not isinstance(self.objective, Objective):
            raise ValueError(
                f"objective = {self.objective!r}: an Objective is needed, e.g. regression()"
            )
        if self.loss not in (None, self.objective.loss):
            raise ValueError("SplitTask has a loss and an objective; the objective has its own")
        return self.objective

    @property
    def classes(self) -> Classes | None:
        """Classes of the labels; None for an objective without classes."""
        return None if self.num_classes is None else Classes(self.num_classes, self.class_names)

    def made_for(self) -> str:
        """Return what the model is made for, in words."""
        shapes = [tuple(tensor.shape[1:]) for tensor in as_tensors(self.example)]
        classes = "" if self.num_classes is None else f"{self.num_classes} classes and "
        return f"{classes}inputs of shape {', '.join(map(str, shapes))}"

    def weights_of_both(self) -> Weights:
        """Return what travels of the whole model."""
        model = self.model
        return model.joined(self.weights_of(model.client), self.weights_of(model.server))

    def parted(self, whole: Weights) -> tuple[Weights, Weights]:
        """Return the client half's and the server half's part of such weights."""
        client, server = self.weights_of(self.model.client), self.weights_of(self.model.server)
        return self.model.parted(whole, client, server)

    def optimizer_of_client(self, half: nn.Module, parts: int = 1) -> torch.optim.Optimizer:
        """Return a client half's optimizer; ``parts`` is :class:`ClientPrivacy`'s."""
        return self._private(half, self.client_optimizer(list(half.parameters())), parts)

    def optimizer_of_server(self, half: nn.Module) -> torch.optim.Optimizer:
        """Return a server half's optimizer."""
        return self.server_optimizer(list(half.parameters()))

    def optimizer_of_auxiliary(self, head: nn.Module, parts: int = 1) -> torch.optim.Optimizer:
        """Return the optimizer of a head that a client trains."""
        return self._private(head, self.auxiliary_optimizer(list(head.parameters())), parts)

    def _private(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, parts: int
    ) -> torch.optim.Optimizer:
        privacy = self.client_privacy
        return optimizer if privacy is None else privacy.optimizer(module, optimizer, parts)

    def check_private_steps(self, *, with_head: bool) -> None:
        """Refuse DP-SGD of a client half, or a head, whose samples have no gradients of their own.

        Raises
        ------
        SplitError
            Opacus is not installed, or it cannot be done.
        """
        example = tuple(tensor.to(self.device) for tensor in as_tensors(self.example))
        check_private_steps(self.model.client, example, "client half")
        if with_head:
            check_private_steps(self.head, self._smashed_on_device(), "auxiliary head")

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

    def on_device(self, batch: Batch) -> Batch:
        """Move a batch to where this side computes."""
        moved: Batch = map_leaves(batch, Tensor, lambda tensor: tensor.to(self.device))
        return moved

    def smashed_example(self) -> tuple[Tensor, ...]:
        """Return smashed data of ``example`` on the CPU, without moving any buffer."""
        client = self.model.client
        training = client.training
        client.eval()
        with torch.no_grad():
            inputs = [tensor.to(self.device) for tensor in as_tensors(self.example)]
            smashed = as_tensors(client(*inputs))
        client.train(training)
        return tuple(tensor.cpu() for tensor in smashed)

    def check_objective(self) -> None:
        """Refuse an objective that does not take what the server half gives.

        Raises
        ------
        SplitError
            Its loss or its scores fail, as where there are fewer scores than classes.
        """
        half = self.model.server
        smashed = self._smashed_on_device()
        labels = self.objective.example_labels(len(smashed[0])).to(self.device)
        shape: object = None
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                output = self.objective.output_of(half.eval(), smashed, labels)
                shape = tuple(logits_of(output).shape)
                self.objective.reported_loss(output, labels)
                self.objective.scored(output, labels)
        except (
            RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError,
        ) as error:  # fmt: skip
            given = f" of shape {shape}" if shape else ""
            raise SplitError(
                f"the objective does not take what the server half gives{given}, with labels of "
                f"shape {tuple(labels.shape)}: {' '.join(str(error).split())[:200]}"
            ) from error
        finally:
            half.train()

    def takes_single_samples(self, *, with_head: bool = False) -> bool:
        """Tell whether the server half can be trained on a batch of one sample.

        BatchNorm refuses one where there is nothing but the batch to normalise over.

        Parameters
        ----------
        with_head : bool
            The auxiliary head is trained on the batch too.
        """
        parts = [self.model.server, self.head] if with_head else [self.model.server]
        one = tuple(tensor[:1] for tensor in self._smashed_on_device())
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                for part in parts:
                    copied(part).train()(*one)
            except ValueError:
                return False
        return True

    @cached_property
    def head(self) -> nn.Module:
        """The head that a client loads each message's values into; built once."""
        return self.new_head("client")

    def head_parameters(self) -> int:
        """Return how many parameters of an auxiliary head are trained."""
        return sum(p.numel() for p in self.head.parameters() if p.requires_grad)

    def new_head(self, purpose: int | str) -> nn.Module:
        """Build an auxiliary head on ``device``, initialised from the seed and a purpose.

        torch's global generator is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            make = self.auxiliary or partial(self._default_head.another, self.model.server)
            self.reseed("auxiliary", purpose)
            return to_device(make(), self.device, self.precision).train()

    @cached_property
    def _default_head(self) -> AuxiliaryHead:
        """What default heads are made from: tracing the server half takes most of the time."""
        smashed = self.smashed_example()
        head = build_auxiliary(self.model.server, smashed, self._output_width())
        self._check_default_head(head, tuple(tensor.to(self.device) for tensor in smashed))
        return head

    def _check_default_head(self, head: nn.Module, smashed: tuple[Tensor, ...]) -> None:
        """Refuse a default head whose scores the objective's loss does not take."""
        labels = self.objective.example_labels(len(smashed[0])).to(self.device)
        try:
            with torch.no_grad():
                self.loss(copied(head).to(self.device).eval()(*smashed), labels)
        except (RuntimeError, ValueError, IndexError) as error:
            raise SplitError(
                "the default auxiliary head gives one row of scores a sample, which the loss does "
                f"not take ({' '.join(str(error).split())[:120]}); give SplitTask auxiliary=…"
            ) from error

    def _output_width(self) -> int:
        if self.num_classes is not None:
            return self.num_classes
        with torch.no_grad():
            output = logits_of(copied(self.model.server).eval()(*self._smashed_on_device()))
        return output.shape[-1] if output.dim() > 1 else 1

    def _smashed_on_device(self) -> tuple[Tensor, ...]:
        return tuple(tensor.to(self.device) for tensor in self.smashed_example())
