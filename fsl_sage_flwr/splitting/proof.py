"""Prove that two halves compute the outputs and gradients of their model."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from .errors import SplitError, UnfaithfulError, running_the_model
from .inputs import Arguments, as_tensors
from .model_state import ModelState
from .pytree import leaves_of
from .random_state import random_state
from .split_model import SplitModel
from .submodules import ancestors_of


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
    """

    def __init__(
        self, model: nn.Module, arguments: Arguments, state: ModelState, device: torch.device
    ) -> None:
        self.model, self.arguments, self.state, self._device = model, arguments, state, device
        self.rng = random_state(device)
        self.repeats = False  # whether a second pass was seen to equal the first
        self._outputs: dict[int, tuple[tuple[Tensor, ...], list[Tensor | None]]] = {}

    def starting_from(self, state: ModelState) -> "Whole":
        """Return the same model, of which passes start from another state."""
        return Whole(self.model, self.arguments, state, self._device)

    def outputs(self, batch: tuple[Tensor, ...]) -> list[Tensor | None]:
        """Return the outputs for a batch in eval mode; the second time from memory."""
        if id(batch) not in self._outputs:
            self._outputs[id(batch)] = batch, _run(self, None, batch, training=False)
        return self._outputs[id(batch)][1]


def prove_halves(
    whole: Whole, halves: SplitModel, example: tuple[Tensor, ...], *, gradients: bool = True
) -> None:
    """Compare the halves with the whole model, from the same state.

    Compared are the outputs and each parameter's gradient, in eval and in train mode; without
    ``gradients`` the outputs in eval mode alone. The model's state is restored afterwards.

    Raises
    ------
    UnfaithfulError
        They differ; another way of cutting the model may work.
    SplitError
        A tensor of the model is in neither half or in both.
    """
    model, state = whole.model, whole.state
    _check_names(model, halves)
    state.restore()
    of_halves = ModelState(halves.client, halves.server)
    try:
        for training in (False, True) if gradients else (False,):
            mode = "train" if training else "eval"
            with running_the_model(f"{type(model).__name__} fails on the example in {mode} mode"):
                if gradients:
                    wanted = _run(whole, None, example, training, kept := _Gradients(model))
                    _refuse_changed(model, halves, state)
                else:
                    wanted, kept = whole.outputs(example), None
            of_halves.restore()
            with running_the_model(f"the halves cut at {halves.cut!r} fail in {mode} mode"):
                compared = None if kept is None else _Gradients(model, kept.found)
                found = _run(whole, halves, example, training, compared)
            same = len(wanted) == len(found) and all(map(_equal, wanted, found))
            if not same or (compared is not None and compared.differ()):
                _refuse_unrepeatable(whole, example, training)
                raise UnfaithfulError(
                    f"the halves cut at {halves.cut!r} do not compute what the model "
                    f"computes in {mode} mode: its forward depends on the mode or on data."
                )
        if gradients and not whole.repeats:
            _refuse_counting(whole, example)
            whole.repeats = True
    finally:
        of_halves.restore()
        state.restore()
        whole.rng.restore()


def _refuse_counting(whole: Whole, example: tuple[Tensor, ...]) -> None:
    """Refuse a model whose outputs in eval mode change from one pass to the next.

    The second pass starts from the attributes that the first has left, as it does in training.

    Raises
    ------
    SplitError
        The outputs of two passes differ.
    """
    first = _run(whole, None, example, training=False)
    whole.state.restore_tensors()
    whole.rng.restore()
    # Not without gradients: some layers have another path then, with other bits.
    output = whole.arguments.apply(whole.model, tuple(tensor.clone() for tensor in example))
    second = [tensor.detach() for tensor in leaves_of(output, Tensor)]
    whole.state.restore()
    whole.rng.restore()
    if len(first) != len(second) or not all(map(_equal, first, second)):
        _refuse_difference(whole, "eval", ["output 0"])


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
    state = ModelState(halves.client)
    for batch in batches:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            smashed = as_tensors(halves.client.eval()(*(tensor.clone() for tensor in batch)))
        state.restore()
        found = {
            (k, i)
            for k, tensor in enumerate(smashed)
            for i, x in enumerate(batch)
            if i not in public and _same_values(tensor, x)
        }
        equal = found if equal is None else equal & found
        if not equal:
            return
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


def _refuse_unrepeatable(whole: Whole, example: tuple[Tensor, ...], training: bool) -> None:
    """Refuse a model of which two passes from the same state differ before it is cut."""
    model, mode = whole.model, "train" if training else "eval"
    first, second = (
        [*_run(whole, None, example, training, kept), *kept.found.values()]
        for kept in (_Gradients(model), _Gradients(model))
    )
    parameters = [name for name, _ in model.named_parameters()]
    outputs = len(first) - len(parameters)
    names = [*(f"output {k}" for k in range(outputs)), *(f"gradient of {n!r}" for n in parameters)]
    pairs = zip(names, first, second, strict=True)
    differ = [name for name, *pair in pairs if not _equal(*pair)]
    if differ:
        _refuse_difference(whole, mode, differ)


def _refuse_difference(whole: Whole, mode: str, differ: Sequence[str]) -> None:
    raise SplitError(
        f"two passes of the uncut {type(whole.model).__name__} in {mode} mode, from the same "
        f"weights and torch's same random state, differ in {differ[0]} and {len(differ) - 1} more: "
        "its forward draws random numbers that are not torch's (numpy.random, random), counts its "
        "calls or keeps a state from pass to pass; draw them by torch.rand, or in train_batches, "
        "from its seed, and begin each pass with a new state."
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


class _Gradients:
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
            self._same[id(parameter)] = _equal(self._wanted[id(parameter)], parameter.grad)
        parameter.grad = None

    def differ(self) -> bool:
        """Return whether a gradient differs from the wanted one, or one of the two is missing."""
        wanted = self._wanted or {}
        missing = any(g is not None and key not in self._same for key, g in wanted.items())
        return missing or not all(self._same.values())


def _run(
    whole: Whole,
    halves: SplitModel | None,
    example: tuple[Tensor, ...],
    training: bool,
    gradients: _Gradients | None = None,
) -> list[Tensor | None]:
    """Return the outputs of one pass; with ``gradients``, give them each parameter's gradient."""
    whole.state.restore()
    for module in (whole.model,) if halves is None else (whole.model, halves.client, halves.server):
        module.train(training)
    for parameter in whole.model.parameters():
        parameter.grad = None  # not zeroed in place: the caller's gradients are restored later
    whole.rng.restore()
    inputs = tuple(tensor.clone() for tensor in example)  # a forward may change them in place
    output = whole.arguments.apply(whole.model, inputs) if halves is None else halves(*inputs)
    outputs = leaves_of(output, Tensor)
    if gradients is not None:
        trained = [_real(out).float().pow(2).mean() for out in outputs if out.requires_grad]
        with gradients:
            if trained:  # some models return decisions alone
                torch.autograd.backward(sum(trained, torch.zeros_like(trained[0])))
    return [out.detach() for out in outputs]


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


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
