"""Define a training task: the object that strategies and client apps receive."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from ..batch_check import check_batch, check_function
from ..classes import Classes
from ..objective import Loss, Objective, classification
from ..schedules import Schedule, constant
from ..seeding import derive_seed
from ..splitting import (
    AuxiliaryHead,
    ClientPrivacy,
    Inputs,
    SplitError,
    SplitModel,
    as_sent,
    as_tensors,
    autocast,
    cast_inputs,
    cast_to_parameters,
    check_private_steps,
    copy_sharing_frozen,
    float_dtypes,
    refuse_vanishing_eps,
    to_device,
)
from ..splitting.pytree import map_leaves
from .client_batches import Batch, TrainBatches, ValidationBatches
from .default_head import build_default_head
from .objective_check import check_objective
from .weights import Weights, load_whole_state, whole_state

CPU = torch.device("cpu")

OptimizerFactory = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


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
    """Return Adam with a learning rate of 1e-3, the default of all modules."""
    return torch.optim.Adam(parameters, lr=1e-3)


@dataclass(frozen=True)
class SplitTask:
    """A split model with its data, optimizers and objective.

    Server and clients each build an equal task. Building it moves ``model`` and the heads to
    ``device``.

    Attributes
    ----------
    model : SplitModel
        Client half and server half.
    example : Tensor, tuple of Tensor or mapping
        A batch of the model's inputs, of at least two samples, as ``split`` takes it; only its
        shape matters. Batches with named inputs need an example with the same names.
    num_classes : int or None
        Labels are in ``range(num_classes)``, the width of a default head's output. None for an
        objective without classes: heads are then as wide as the server half's output.
    train_batches : callable
        ``(client, seed) -> (inputs, labels)`` batches of one local epoch on that client, on any
        device. All randomness (order, augmentation) must come from ``seed``. Gradient estimates are
        measured on held-out samples if the result is also :class:`NumberedBatches`; otherwise they
        are not measured.
    validation_batches : callable, optional
        ``client -> (inputs, labels)`` batches of that client's validation part, for
        federated evaluation.
    client_optimizer, server_optimizer, auxiliary_optimizer : callable
        Map a list of parameters to a ``torch.optim.Optimizer``.
    client_schedule, server_schedule, auxiliary_schedule : callable
        Map finished rounds to a factor of the learning rate; 2.5 is in the middle of the third
        round. Within a round the factor advances with every batch if the result of
        ``train_batches`` has a length. An alignment uses the factor of its round.
    auxiliary : callable, optional
        Builds an untrained auxiliary head, by default from the first blocks of the server half.
    auxiliary_from_server : bool
        True starts a head as a copy of the server half's blocks, if it has ``copy_from``; False
        keeps its initialisation.
    loss : callable, optional
        Mean loss of (output, labels) of a classification; by default the cross-entropy.
    objective : Objective, optional
        Loss, scores and valid labels; by default a classification with ``num_classes`` and
        ``loss``. ``dataclasses.replace`` keeps it: pass a new one to change the loss.
    weights_of, load_weights : callable
        Return and load the transmitted tensors of a half or a head, by name: by default the whole
        ``state_dict``. ``load_weights(module, weights_of(module))`` must change nothing.
        ``trainable_state`` and ``load_trainable_state`` of ``splitting`` leave out frozen
        parameters.
    client_privacy : ClientPrivacy, optional
        Enables DP-SGD of the clients' steps.
    local_epochs : int
        Passes over the client's data per round.
    batch_size : int or None
        Samples per batch of ``train_batches``; the last batch of an epoch may have fewer, or one
        more. The server refuses uploads that do not fit; None disables this check.
    gradient_batch : int
        Samples per pass of an alignment's true gradients and its measurement. BatchNorm normalises
        over them; outputs of a language model need much memory.
    device : torch.device
        Device of this side.
    precision : {"fp32", "tf32", "bf16"}
        ``"bf16"`` autocasts the halves' steps. The other two differ on a GPU only, and for the
        whole process: see :func:`~fsl_sage_flwr.splitting.set_up_gpu`.
    seed : int
        Seed of the run.
    class_names : tuple of str
        Names of the classes in the order of the labels; empty if unknown. A node with other class
        names is excluded from the run.

    Raises
    ------
    ValueError
        Neither ``num_classes`` nor an objective is given, or both a loss and an objective; the
        model is not cut, or what must be a function is none; or an optimizer's ``eps`` is 0 in
        the weights' float16.
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
        self._check_parts()
        check_function(self.train_batches, "train_batches(client, seed)")
        if self.validation_batches is not None:
            check_function(self.validation_batches, "validation_batches(client)")
        object.__setattr__(self, "objective", self._objective())
        object.__setattr__(self, "loss", self.objective.loss)
        to_device(self.model.client, self.device, self.precision).train()
        to_device(self.model.server, self.device, self.precision).train()
        if self._other_weights:
            refuse_vanishing_eps(self.client_optimizer, self.model.client, "client_optimizer")
            refuse_vanishing_eps(self.server_optimizer, self.model.server, "server_optimizer")
        if self._casts:
            cast_inputs(self.model.server, self._smashed_dtypes)
            if self.model.tail is not None:
                hidden = self._passed_on(self.model.server, self._smashed())
                cast_inputs(self.model.tail, [tensor.dtype for tensor in hidden])

    def _check_parts(self) -> None:
        if not isinstance(self.model, SplitModel):
            raise ValueError(
                f"model is a {type(self.model).__name__}; cut it: "
                "SplitTask(model=split(model, at=…, example=…), …)"
            )
        for name in ("client_optimizer", "server_optimizer", "auxiliary_optimizer"):
            factory = getattr(self, name)
            if not callable(factory):
                raise ValueError(
                    f"{name} is a {type(factory).__name__}; give a function that makes it from a "
                    f"list of parameters: {name}=lambda parameters: torch.optim.SGD(parameters, "
                    "lr=0.1)"
                )

    def _objective(self) -> Objective:
        if self.objective is None:
            if self.num_classes is None:
                raise ValueError(
                    "num_classes = None: a task without classes needs an objective; give SplitTask "
                    "objective=regression(…) or another Objective"
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
    def _other_weights(self) -> bool:
        """Whether a half has parameters that are not float32."""
        halves = (self.model.client, self.model.server)
        return any(dtype != torch.float32 for half in halves for dtype in float_dtypes(half))

    @cached_property
    def _smashed_dtypes(self) -> tuple[torch.dtype, ...]:
        """Dtypes in which the client half computes smashed data."""
        return tuple(tensor.dtype for tensor in self._smashed())

    @property
    def _casts(self) -> bool:
        """Whether the modules behind the cut must cast what they are given.

        A forward under ``torch.autocast`` makes 16-bit smashed data from float32 weights.
        """
        return self._other_weights or any(
            dtype.is_floating_point and dtype != torch.float32 for dtype in self._smashed_dtypes
        )

    @property
    def classes(self) -> Classes | None:
        """Classes of the labels; None for an objective without classes."""
        return None if self.num_classes is None else Classes(self.num_classes, self.class_names)

    def made_for(self) -> str:
        """Describe the inputs and classes that the model fits."""
        shapes = [tuple(tensor.shape[1:]) for tensor in as_tensors(self.example)]
        classes = "" if self.num_classes is None else f"{self.num_classes} classes and "
        return f"{classes}inputs of shape {', '.join(map(str, shapes))}"

    def weights_of_both(self) -> Weights:
        """Return the transmitted tensors of the whole model."""
        model = self.model
        return model.joined(self.weights_of(model.client), self.weights_of(model.server))

    def parted(self, whole: Weights) -> tuple[Weights, Weights]:
        """Divide the whole model's tensors into the client half's and the server half's."""
        client, server = self.weights_of(self.model.client), self.weights_of(self.model.server)
        return self.model.parted(whole, client, server)

    def optimizer_of_client(self, half: nn.Module, parts: int = 1) -> torch.optim.Optimizer:
        """Return a client half's optimizer; ``parts`` is that of ``ClientPrivacy.optimizer``."""
        return self._private(half, self.client_optimizer(list(half.parameters())), parts)

    def optimizer_of_server(self, half: nn.Module) -> torch.optim.Optimizer:
        """Return a server half's optimizer."""
        return self.server_optimizer(list(half.parameters()))

    def optimizer_of_auxiliary(self, head: nn.Module, parts: int = 1) -> torch.optim.Optimizer:
        """Return the optimizer of a head trained on the client."""
        return self._private(head, self.auxiliary_optimizer(list(head.parameters())), parts)

    def _private(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, parts: int
    ) -> torch.optim.Optimizer:
        privacy = self.client_privacy
        return optimizer if privacy is None else privacy.optimizer(module, optimizer, parts)

    def check_private_steps(self, *, with_head: bool) -> None:
        """Refuse DP-SGD of a client half or head without per-sample gradients.

        Raises
        ------
        SplitError
            Opacus is not installed, or DP-SGD is not possible.
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

        On the CPU this takes a hundredth of the 2 ms of ``torch.manual_seed``, which looks for
        GPUs each time.
        """
        seed = derive_seed(self.seed, *purpose)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def to_device(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Move smashed data to this side's device."""
        return tuple(to_device(tensor, self.device, self.precision) for tensor in tensors)

    def on_device(self, batch: Batch, source: str = "train_batches") -> Batch:
        """Check a batch that the task's functions give, and move it to this side's device.

        Raises
        ------
        ValueError
            It is not ``(inputs, labels)``, or its inputs have other names, dtypes or numbers of
            axes than the example's; the error names ``source`` and the expected form.
        """
        check_batch(batch, self.example, source)
        inputs, labels = batch
        if isinstance(inputs, Mapping):
            batch = dict(inputs), labels
        moved: Batch = map_leaves(batch, Tensor, lambda tensor: tensor.to(self.device))
        return moved

    def smashed_example(self) -> tuple[Tensor, ...]:
        """Return smashed data of ``example`` on the CPU, without moving any buffer.

        Raises
        ------
        SplitError
            A complex tensor crosses the cut.
        """
        smashed = self._smashed()
        if any(tensor.is_complex() for tensor in smashed):
            raise SplitError(
                f"a complex tensor crosses the cut {self.model.cut!r}, and gradients are sent for "
                "real ones: cut before it, or let the client half end with torch.view_as_real"
            )
        return tuple(as_sent(tensor).cpu() for tensor in smashed)

    def hidden_example(self) -> tuple[Tensor, ...]:
        """Return hidden states of ``example``, on ``device``: what a tail is given."""
        hidden = self._passed_on(self.model.server, self._smashed_on_device())
        return tuple(as_sent(tensor) for tensor in hidden)

    def _smashed(self) -> tuple[Tensor, ...]:
        """Return smashed data of ``example`` as the client half computes them."""
        inputs = tuple(tensor.to(self.device) for tensor in as_tensors(self.example))
        return self._passed_on(self.model.client, inputs)

    def _passed_on(self, part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return what a part of the model computes in eval mode, without moving any buffer."""
        training = part.training
        part.eval()
        with torch.no_grad():
            output = as_tensors(part(*inputs))
        part.train(training)
        return output

    def check_objective(self) -> None:
        """Refuse an objective that does not fit the server half's output.

        Raises
        ------
        SplitError
            As :func:`~fsl_sage_flwr.task.objective_check.check_objective`.
        """
        check_objective(self.model, self.objective, self.num_classes, self._smashed_on_device())

    def takes_single_samples(self, *, with_head: bool = False) -> bool:
        """Return whether the server half can be trained on a batch of one sample.

        BatchNorm refuses one sample if it has only the batch axis to normalise over.

        Parameters
        ----------
        with_head : bool
            Whether the auxiliary head is trained on the batch too.
        """
        behind = self.model.behind_the_cut
        parts = [behind, self.head] if with_head else [behind]
        one = tuple(tensor[:1] for tensor in self._smashed_on_device())
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                for part in parts:
                    copy_sharing_frozen(part).train()(*one)
            except ValueError:
                return False
        return True

    @cached_property
    def head(self) -> nn.Module:
        """Head into which a client loads each message's values; built once."""
        return self.new_head("client")

    def head_parameters(self) -> int:
        """Return the number of trainable parameters of an auxiliary head."""
        return sum(p.numel() for p in self.head.parameters() if p.requires_grad)

    def new_head(self, purpose: int | str) -> nn.Module:
        """Build an auxiliary head on ``device``, initialised from the seed and a purpose.

        The state of torch's global generator does not change.
        """
        with torch.random.fork_rng(devices=[]):
            make = self.auxiliary or partial(self._default_head.fresh_copy, self.model.server)
            self.reseed("auxiliary", purpose)
            head = to_device(make(), self.device, self.precision).train()
        if self._casts:
            cast_to_parameters(head, self._smashed_dtypes)
        return head

    @cached_property
    def _default_head(self) -> AuxiliaryHead:
        """Template of the default heads, because tracing the server half takes most of the time."""
        server, smashed = self.model.server, self.smashed_example()
        return build_default_head(server, self.objective, self.num_classes, smashed, self.device)

    def _smashed_on_device(self) -> tuple[Tensor, ...]:
        return tuple(tensor.to(self.device) for tensor in self.smashed_example())
