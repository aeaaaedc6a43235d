"""Run the uncut model, or its halves, from the same state."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .inputs import Arguments, as_tensors
from .model_state import ModelState
from .pytree import Path, leaves_by_path
from .random_state import random_state
from .split_model import SplitModel

Outputs = dict[Path, Tensor]
"""The tensors that a model returns, by their paths in its output, in order."""


class Whole:
    """The uncut model, which each pass runs from the same state.

    Parameters
    ----------
    model : nn.Module
        The model.
    arguments : Arguments
        How its forward takes its inputs.
    state : ModelState
        The model's state at the start of each pass.
    device : torch.device
        Device of the inputs.
    on_pass : callable
        Called before each pass.
    """

    def __init__(
        self,
        model: nn.Module,
        arguments: Arguments,
        state: ModelState,
        device: torch.device,
        on_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.arguments, self.state, self._device = model, arguments, state, device
        self._on_pass = on_pass
        self.rng = random_state(device)
        self.repeats = False  # whether a second pass was seen to equal the first
        self.keeps_state = False  # whether a pass in eval mode was seen to leave all as it was
        self._outputs: dict[int, tuple[tuple[Tensor, ...], Outputs]] = {}

    def starting_from(self, state: ModelState) -> "Whole":
        """Return the same model, of which passes start from another state."""
        return Whole(self.model, self.arguments, state, self._device, self._on_pass)

    def outputs(self, batch: tuple[Tensor, ...]) -> Outputs:
        """Return the outputs for a batch in eval mode; the second time from memory."""
        if id(batch) not in self._outputs:
            self._outputs[id(batch)] = batch, self.run(batch, training=False)
            self.keeps_state = self.state.is_kept()
        return self._outputs[id(batch)][1]

    def run(
        self,
        batch: tuple[Tensor, ...],
        *,
        training: bool,
        gradients: "Gradients | None" = None,
        graph: bool = True,
    ) -> Outputs:
        """Return the outputs of one pass; ``gradients`` takes each parameter's gradient.

        Without ``graph`` it runs under ``torch.no_grad``.
        """
        self._begin(self.model, training=training)
        with nullcontext() if graph else torch.no_grad():
            return _passed(self.forward(batch), gradients)

    def run_again(
        self, batch: tuple[Tensor, ...], *, training: bool, graph: bool = True
    ) -> Outputs:
        """Return the outputs of a pass with the attributes that the pass before it has left."""
        self.state.restore_tensors()
        self.rng.restore()
        self.model.train(training)
        with nullcontext() if graph else torch.no_grad():
            return _passed(self.forward(batch), None)

    def run_halves(
        self,
        halves: SplitModel,
        batch: tuple[Tensor, ...],
        *,
        training: bool,
        gradients: "Gradients | None" = None,
        graph: bool = True,
        run: Callable[[nn.Module, tuple[Tensor, ...]], Any] | None = None,
    ) -> tuple[Outputs, tuple[Tensor, ...]]:
        """Return the outputs of a pass of the model's halves, and the smashed data.

        The server half sees no attribute that the client half has set: they are in two processes.
        ``run`` computes the output of a half in place of its call.
        """
        run = run or _called
        self._begin(self.model, halves.client, halves.server, training=training)
        with nullcontext() if graph else torch.no_grad():
            smashed = as_tensors(run(halves.client, tuple(tensor.clone() for tensor in batch)))
            self.state.restore_attributes()
            for half in (halves.client, halves.server):
                half.train(training)
            outputs = _passed(run(halves.server, smashed), gradients)
        return outputs, tuple(tensor.detach() for tensor in smashed)

    def run_server_half(
        self, halves: SplitModel, smashed: tuple[Tensor, ...], *, training: bool
    ) -> Outputs:
        """Return the outputs of a pass of the server half alone."""
        self._begin(self.model, halves.client, halves.server, training=training)
        with torch.no_grad():
            return _passed(halves.server(*smashed), None)

    def forward(self, batch: tuple[Tensor, ...]) -> Any:
        """Return the model's output for a copy of a batch, which a forward may change in place."""
        return self.arguments.apply(self.model, tuple(tensor.clone() for tensor in batch))

    def _begin(self, *modules: nn.Module, training: bool) -> None:
        self._on_pass()
        self.state.restore()
        for module in modules:
            module.train(training)
        for parameter in self.model.parameters():
            parameter.grad = None  # not zeroed in place: the caller's are restored later
        self.rng.restore()


def _called(half: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return half(*inputs)


def _passed(output: Any, gradients: "Gradients | None") -> Outputs:
    """Return a pass's outputs, after its backward pass if gradients are wanted."""
    outputs: Outputs = leaves_by_path(output, Tensor)
    if gradients is not None:
        every = outputs.values()
        trained = [_real(out).float().pow(2).mean() for out in every if out.requires_grad]
        with gradients:
            if trained:  # some models return decisions alone
                torch.autograd.backward(sum(trained, torch.zeros_like(trained[0])))
    return {path: out.detach() for path, out in outputs.items()}


class Gradients:
    """Takes each parameter's gradient as soon as it is computed, so that few need memory at once.

    Parameters
    ----------
    model : nn.Module
        The model, or the one whose halves run.
    wanted : mapping, optional
        The gradients to compare with, by id of the parameter; without it they are kept.
    """

    def __init__(self, model: nn.Module, wanted: Mapping[int, Tensor | None] | None = None) -> None:
        self._wanted = wanted
        self.found: dict[int, Tensor | None] = {id(p): None for p in model.parameters()}
        self._same: dict[int, bool] = {}
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def __enter__(self) -> None:
        self._handles = [
            p.register_post_accumulate_grad_hook(self._take)  # type: ignore[no-untyped-call]
            for p in self._trained
        ]

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _take(self, parameter: Tensor) -> None:
        if self._wanted is None:
            self.found[id(parameter)] = parameter.grad
        else:
            self._same[id(parameter)] = equal(self._wanted[id(parameter)], parameter.grad)
        parameter.grad = None

    def differ(self) -> bool:
        """Return whether a gradient differs from the wanted one, or one of the two is missing."""
        wanted = self._wanted or {}
        missing = any(g is not None and key not in self._same for key, g in wanted.items())
        return missing or not all(self._same.values())


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def equal(left: Tensor | None, right: Tensor | None) -> bool:
    """Return whether two tensors have the same values, NaN at the same places."""
    if left is None or right is None:
        return left is right
    if left.is_sparse or right.is_sparse:
        left, right = left.to_dense(), right.to_dense()
    # In eval mode a very deep network (ResNet-1202) overflows until its running statistics fit
    # the data. The halves must then give NaN exactly where the model does.
    return left.shape == right.shape and (
        torch.equal(left, right) or bool(((left == right) | (left.isnan() & right.isnan())).all())
    )
