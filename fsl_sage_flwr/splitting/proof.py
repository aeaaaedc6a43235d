"""Prove that two halves compute the outputs and gradients of their model."""

import torch
from torch import Tensor, nn

from .errors import SplitError, UnfaithfulError
from .pytree import leaves_of
from .random_state import RandomState, random_state
from .split_model import SplitModel


def prove_halves(model: nn.Module, halves: SplitModel, example: tuple[Tensor, ...]) -> None:
    """Compare the halves' outputs and gradients with the whole model's, in train and eval mode.

    The model's state is restored afterwards.

    Raises
    ------
    UnfaithfulError
        They differ; another way of cutting the model may work.
    SplitError
        A tensor of the model is in neither half or in both.
    """
    modes = {module: module.training for module in model.modules()}
    gradients = [parameter.grad for parameter in model.parameters()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = random_state(example[0].device)
    try:
        for training in (False, True):
            model.train(training)
            whole = _run(model, model, example, before, state)
            # After the model's own pass, as the modules are shared: its train() may leave some
            # in another mode.
            halves.client.train(training)
            halves.server.train(training)
            parts = _run(model, halves, example, before, state)
            if not all(_equal(*pair) for pair in zip(whole, parts, strict=True)):
                mode = "train" if training else "eval"
                model.train(training)
                _refuse_unrepeatable(model, mode, whole, _run(model, model, example, before, state))
                raise UnfaithfulError(
                    f"the halves cut at {halves.cut!r} do not compute what the model "
                    f"computes in {mode} mode: its forward depends on the mode or on data."
                )
    finally:
        model.load_state_dict(before)
        state.restore()
        halves.client.train(modes[model])
        halves.server.train(modes[model])
        for module, training in modes.items():
            module.training = training
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
    names = set(before)
    left, right = set(halves.client.state_dict()), set(halves.server.state_dict())
    if left & right or left | right != names:
        missing = sorted(names - left - right)
        raise SplitError(
            f"cut {halves.cut!r}: each tensor of the model must be in one half "
            f"(in neither half: {', '.join(missing[:3]) or 'none'})."
        )


def _refuse_unrepeatable(
    model: nn.Module, mode: str, first: list[Tensor | None], second: list[Tensor | None]
) -> None:
    """Refuse a model of which two passes from the same state differ before it is cut."""
    parameters = [name for name, _ in model.named_parameters()]
    outputs = len(first) - len(parameters)
    names = [*(f"output {k}" for k in range(outputs)), *(f"gradient of {n!r}" for n in parameters)]
    pairs = zip(names, first, second, strict=True)
    differ = [name for name, *pair in pairs if not _equal(*pair)]
    if differ:
        raise SplitError(
            f"two passes of the uncut {type(model).__name__} in {mode} mode, from the same weights "
            f"and torch's same random state, differ in {differ[0]} and {len(differ) - 1} more: its "
            "forward draws random numbers that are not torch's (numpy.random, random) or counts "
            "its calls; draw them by torch.rand, or in train_batches, from its seed."
        )


def _run(
    model: nn.Module,
    function: nn.Module | SplitModel,
    example: tuple[Tensor, ...],
    before: dict[str, Tensor],
    rng: RandomState,
) -> list[Tensor | None]:
    """Return the outputs of one pass and each parameter's gradient."""
    model.load_state_dict(before)
    for parameter in model.parameters():
        parameter.grad = None  # not zeroed in place: the caller's gradients are restored later
    rng.restore()
    outputs = leaves_of(function(*example), Tensor)
    loss = sum((out.float().pow(2).mean() for out in outputs), torch.zeros(()))
    torch.autograd.backward(loss)
    return [*outputs, *(parameter.grad for parameter in model.parameters())]


def _equal(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    # In eval mode a very deep network (ResNet-1202) overflows until its running statistics fit
    # the data. The halves must then give NaN exactly where the model does.
    return torch.equal(left, right) or (
        left.shape == right.shape and bool(((left == right) | (left.isnan() & right.isnan())).all())
    )
