"""Prove that two halves compute the outputs and gradients of their model."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import SplitError, UnfaithfulError, running_the_model
from .inputs import Arguments, as_tensors
from .model_state import ModelState
from .pytree import leaves_of
from .random_state import RandomState, random_state
from .split_model import SplitModel
from .submodules import ancestors_of


def prove_halves(
    model: nn.Module, halves: SplitModel, example: tuple[Tensor, ...], arguments: Arguments
) -> None:
    """Compare the halves' outputs and gradients with the whole model's, in train and eval mode.

    The model's state is restored afterwards.

    Raises
    ------
    UnfaithfulError
        They differ; another way of cutting the model may work.
    SplitError
        A tensor of the model is in neither half or in both.
    """
    _check_names(model, halves)
    state = ModelState(model, halves.client, halves.server)
    rng = random_state(example[0].device)
    try:
        for training in (False, True):
            mode = "train" if training else "eval"
            with running_the_model(f"{type(model).__name__} fails on the example in {mode} mode"):
                whole = _run(model, None, example, arguments, state, rng, training)
            _refuse_changed(model, halves, state)
            with running_the_model(f"the halves cut at {halves.cut!r} fail in {mode} mode"):
                parts = _run(model, halves, example, arguments, state, rng, training)
            if not _all_equal(whole, parts):
                again = _run(model, None, example, arguments, state, rng, training)
                _refuse_unrepeatable(model, mode, whole, again)
                raise UnfaithfulError(
                    f"the halves cut at {halves.cut!r} do not compute what the model "
                    f"computes in {mode} mode: its forward depends on the mode or on data."
                )
    finally:
        state.restore()
        rng.restore()


def refuse_inputs(
    halves: SplitModel,
    batches: Sequence[tuple[Tensor, ...]],
    arguments: Arguments,
    public: Collection[int],
) -> None:
    """Refuse smashed data that equal an input in every batch, unless it is public.

    Raises
    ------
    SplitError
        The message names the input.
    """
    equal: set[tuple[int, int]] | None = None
    client = copy_sharing_frozen(halves.client).eval()
    for batch in batches:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            smashed = as_tensors(client(*(tensor.clone() for tensor in batch)))
        found = {
            (k, i)
            for k, tensor in enumerate(smashed)
            for i, x in enumerate(batch)
            if i not in public and _same_values(tensor, x)
        }
        equal = found if equal is None else equal & found
    for _, i in sorted(equal or ()):
        name = arguments.names[i]
        raise SplitError(
            f"the raw input {name!r} would cross the cut {halves.cut!r} as it is. Choose a later "
            f"cut, or give public=({name!r},) if the server may see it."
        )


def _same_values(tensor: Tensor, x: Tensor) -> bool:
    if tensor.numel() != x.numel() or tensor.is_complex() or x.is_complex():
        return False
    return torch.equal(tensor.flatten().double(), x.flatten().double())


def _check_names(model: nn.Module, halves: SplitModel) -> None:
    names, left, right = (
        {name for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        for module in (model, halves.client, halves.server)
    )
    if left & right or left | right != names:
        missing = sorted(names - left - right)
        raise SplitError(
            f"cut {halves.cut!r}: each tensor of the model must be in one half "
            f"(in neither half: {', '.join(missing[:3]) or 'none'}); cut it elsewhere."
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
            "forward draws random numbers that are not torch's (numpy.random, random); "
            "draw them by torch.rand, or in train_batches, from its seed."
        )


def _refuse_changed(model: nn.Module, halves: SplitModel, state: ModelState) -> None:
    """Refuse statistics of the data that both halves would keep; a constant may be in both."""
    ours, theirs = dict(halves.client.named_buffers()), dict(halves.server.named_buffers())
    own = ancestors_of(halves.cut)
    for name in model.state_dict():
        both = name in ours and name in theirs and name.rpartition(".")[0] not in own
        buffer = ours[name] if both else None
        if buffer is not None and buffer.is_floating_point() and state.has_changed(buffer):
            raise SplitError(
                f"module {name.rpartition('.')[0]!r} is used on both sides of the cut "
                f"{halves.cut!r}, and its buffer {name!r} changes in training; cut elsewhere."
            )


def _run(
    model: nn.Module,
    halves: SplitModel | None,
    example: tuple[Tensor, ...],
    arguments: Arguments,
    state: ModelState,
    rng: RandomState,
    training: bool,
) -> list[Tensor | None]:
    """Return the outputs of one pass, and each parameter's gradient."""
    state.restore()
    for module in (model,) if halves is None else (model, halves.client, halves.server):
        module.train(training)
    for parameter in model.parameters():
        parameter.grad = None  # not zeroed in place: the caller's gradients are restored later
    rng.restore()
    inputs = tuple(tensor.clone() for tensor in example)  # a forward may change them in place
    output = arguments.apply(model, inputs) if halves is None else halves(*inputs)
    outputs = leaves_of(output, Tensor)
    trained = [_real(out).float().pow(2).mean() for out in outputs if out.requires_grad]
    if trained:  # in eval mode, some models return decisions alone
        torch.autograd.backward(sum(trained, torch.zeros_like(trained[0])))
    return [*outputs, *(parameter.grad for parameter in model.parameters())]


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _all_equal(left: list[Tensor | None], right: list[Tensor | None]) -> bool:
    return len(left) == len(right) and all(map(_equal, left, right))


def _equal(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    if left.is_sparse or right.is_sparse:
        left, right = left.to_dense(), right.to_dense()
    # In eval mode a very deep network (ResNet-1202) overflows until its running statistics fit
    # the data. The halves must then give NaN exactly where the model does.
    return torch.equal(left, right) or (
        left.shape == right.shape and bool(((left == right) | (left.isnan() & right.isnan())).all())
    )
