"""Prove that two halves compute the outputs and gradients of their model."""

from collections.abc import Callable, Collection, Sequence
from math import nan
from typing import Any

import torch
from torch import Tensor, nn

from .blanks import delivered, other_blanks
from .errors import (
    OtherFunctionError,
    RawInputError,
    SplitError,
    UnfaithfulError,
    running_the_model,
)
from .inputs import Arguments, as_tensors
from .model_state import ModelState
from .other_values import OtherValues
from .replay import ReplayedHalf
from .split_model import SplitModel
from .submodules import ancestors_of
from .substitutes import Absent
from .whole import Gradients, Outputs, Whole, equal

# Values that take the place of zeros, on both sides of most bounds; True: with the greatest whole
# numbers of the example, not the least.
BLANKS = ((30.0, False), (-30.0, True), (1e6, False), (nan, False))


def prove_halves(
    whole: Whole,
    halves: SplitModel,
    example: tuple[Tensor, ...],
    *,
    gradients: bool = True,
    eval_alone: bool = False,
    run: Callable[[nn.Module, tuple[Tensor, ...]], Any] | None = None,
    smashed_check: "RawInputs | None" = None,
) -> None:
    """Compare the halves with the whole model, from the same state.

    Compared are the outputs in eval and in train mode, and with ``gradients`` each parameter's in
    train mode, the only one in which halves are trained; with ``eval_alone`` the outputs in eval
    mode. ``run`` computes the output of a half in place of its call. ``smashed_check`` looks at the
    smashed data of the first pass. The model's state is restored afterwards.

    Raises
    ------
    UnfaithfulError
        They differ; another way of cutting the model may work.
    SplitError
        A tensor of the model is in neither half or in both.
    """
    _check_names(whole.model, halves)
    whole.state.restore()
    of_halves = ModelState(halves.client, halves.server)
    # Without a graph a pass is faster. PyTorch's fast paths are then taken, but not under the mode
    # in which some replayed halves run.
    in_eval = (True,) if eval_alone or isinstance(halves.server, ReplayedHalf) else (False, True)
    try:
        for training in (False,) if eval_alone else (False, True):
            graphs = (gradients,) if training else in_eval
            for graph in graphs:
                check = None if training else smashed_check
                try:
                    _prove_mode(
                        whole, halves, example, of_halves, training=training, graph=graph,
                        gradients=gradients, remembered=eval_alone, run=run, smashed_check=check,
                    )  # fmt: skip
                except OtherFunctionError:
                    raise
                except UnfaithfulError:
                    if graph is graphs[-1]:
                        raise
                else:
                    break
    finally:
        of_halves.restore()
        whole.state.restore()
        whole.rng.restore()


def refuse_unsent_values(
    whole: Whole, halves: SplitModel, example: tuple[Tensor, ...], *, eval_alone: bool = False
) -> None:
    """Refuse a server half whose output depends on values that do not cross the cut.

    A forward may read a number before the cut (``bool(mask.any())``, ``x.max().item()``) and use it
    behind. The server half's replay reads it of blanks, which only some batches tell.

    Raises
    ------
    UnfaithfulError
        Other blanks change the output.
    """
    of_halves = ModelState(halves.client, halves.server)
    try:
        for training in (False,) if eval_alone else (False, True):
            of_halves.restore()
            _, smashed = whole.run_halves(halves, example, training=training)
            of_halves.restore()
            # Again, of smashed data without gradients: some kernels round these in another way.
            found = whole.run_server_half(halves, smashed, training=training)
            places = delivered()
            for level, greatest in BLANKS:
                of_halves.restore()
                with other_blanks(halves.server, level, greatest=greatest):
                    try:
                        with running_the_model("other blanks"):
                            other = whole.run_server_half(halves, smashed, training=training)
                    except SplitError:
                        continue  # the forward does not accept such values
                # Where a path leaves out a tensor that crosses, the client half refuses the batch.
                if delivered() == places and not _same(found, other):
                    raise UnfaithfulError(
                        f"behind the cut {halves.cut!r} the forward uses a number that it has read "
                        "before the cut, from values that do not cross (bool(), item(), the length "
                        "of a selection): compute with the tensor instead, or read it behind it."
                    )
    finally:
        of_halves.restore()
        whole.state.restore()
        whole.rng.restore()


def _prove_mode(
    whole: Whole,
    halves: SplitModel,
    example: tuple[Tensor, ...],
    of_halves: ModelState,
    *,
    training: bool,
    graph: bool,
    gradients: bool,
    remembered: bool,
    run: Callable[[nn.Module, tuple[Tensor, ...]], Any] | None,
    smashed_check: "RawInputs | None",
) -> None:
    """Compare one pass; ``remembered`` takes the model's outputs in eval mode from memory."""
    model, mode = whole.model, "train" if training else "eval"
    with running_the_model(f"{type(model).__name__} fails on the example in {mode} mode"):
        kept = Gradients(model) if training and gradients else None
        if remembered:
            wanted = whole.outputs(example)
        else:
            wanted = whole.run(example, training=training, gradients=kept, graph=graph)
            _refuse_changed(model, halves, whole.state)
        if not training and not remembered:
            _refuse_counting(whole, example, wanted, graph=graph)
    of_halves.restore()
    with running_the_model(f"the halves cut at {halves.cut!r} fail in {mode} mode"):
        compared = None if kept is None else Gradients(model, kept.found)
        found, smashed = whole.run_halves(
            halves, example, training=training, gradients=compared, graph=graph, run=run
        )
    if smashed_check is not None:
        of_halves.restore()
        smashed_check.refuse(halves, smashed)
    if not _same(wanted, found) or (compared is not None and compared.differ()):
        _refuse_unrepeatable(whole, example, training)
        kind = UnfaithfulError if _close(wanted, found) else OtherFunctionError
        raise kind(_difference(wanted, found, halves, mode))


def prove_outputs(
    whole: Whole,
    halves: SplitModel,
    example: tuple[Tensor, ...],
    run: Callable[[nn.Module, tuple[Tensor, ...]], Any],
    smashed_check: "RawInputs",
) -> None:
    """Compare the outputs of traced halves in eval mode with the whole model's.

    ``run`` computes the output of a half. The model is not set back to its state.

    Raises
    ------
    UnfaithfulError, SplitError
        As of :func:`prove_halves`.
    """
    _check_names(whole.model, halves)
    with running_the_model(f"{type(whole.model).__name__} fails on the example in eval mode"):
        wanted = whole.outputs(example)
    try:
        with running_the_model(f"the halves cut at {halves.cut!r} fail in eval mode"):
            found, smashed = whole.run_halves(halves, example, training=False, run=run)
    finally:
        whole.rng.restore()
    smashed_check.refuse(halves, smashed)
    if not _same(wanted, found):
        raise UnfaithfulError(_difference(wanted, found, halves, "eval"))


def _same(wanted: Outputs, found: Outputs) -> bool:
    pairs = zip(wanted.values(), found.values(), strict=False)
    return len(wanted) == len(found) and all(equal(*pair) for pair in pairs)


def _close(wanted: Outputs, found: Outputs) -> bool:
    """Return whether outputs differ by rounding alone, as PyTorch's fast paths do."""
    pairs = zip(wanted.values(), found.values(), strict=False)
    return wanted.keys() == found.keys() and all(
        equal(ours, theirs)
        or (
            ours.is_floating_point()
            and (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            and torch.allclose(ours, theirs, 1e-3, 1e-4, equal_nan=True)
        )
        for ours, theirs in pairs
    )


def _difference(wanted: Outputs, found: Outputs, halves: SplitModel, mode: str) -> str:
    """Return the error of halves that return or compute something else than the model."""
    at, alike = halves.cut, len(wanted) == len(found)
    hooked = any(type(m) is Absent and m._forward_hooks for m in halves.server.modules())
    if alike and not hooked:
        return (
            f"the halves cut at {at!r} do not compute what the model computes in {mode} mode: its "
            "forward depends on the mode or on data."
        )
    others = [path for path in wanted if path not in found or not equal(wanted[path], found[path])]
    names = ", ".join(".".join(map(str, path)) for path in others[:3]) or "of other names"
    said = (
        f"do not compute what the model computes in {mode} mode"
        if alike
        else f"return {len(found)} tensors and the model {len(wanted)} in {mode} mode"
    )
    or_else = ". Or its forward depends on the mode or on data" if alike else ""
    return (
        f"the halves cut at {at!r} {said} ({names}): values that hooks of modules before the cut "
        "compute, or that these hand on by attributes, do not cross. Let the model not collect "
        "them (output_router_logits=False, output_hidden_states=False, output_attentions=False), "
        f"or return them from the modules{or_else}."
    )


def _refuse_counting(
    whole: Whole, example: tuple[Tensor, ...], first: Outputs, *, graph: bool
) -> None:
    """Refuse a model whose outputs in eval mode change from one pass to the next.

    The second pass starts from the attributes that the first has left, as it does in training. It
    is left out where the first has left all as it was: a state outside the model, which nothing
    restores, shows between the passes of the model and of its halves.

    Raises
    ------
    SplitError
        The outputs of two passes differ.
    """
    if whole.repeats or whole.state.is_kept():
        return
    second = whole.run_again(example, training=False, graph=graph)
    if not _same(first, second):
        _refuse_difference(whole, "eval", ["output 0"])
    whole.repeats = True


class RawInputs:
    """Refuses smashed data that equal an input in every batch, unless it is public.

    Parameters
    ----------
    arguments : Arguments
        Names of the inputs.
    public : collection of int
        Positions of the inputs that may cross as they are.
    example : tuple of Tensor
        The inputs.
    others : OtherValues
        Inputs with other values, used only where smashed data of the example equal an input.
    """

    def __init__(
        self,
        arguments: Arguments,
        public: Collection[int],
        example: tuple[Tensor, ...],
        others: OtherValues,
    ) -> None:
        self._arguments, self._public = arguments, public
        self._example, self._others = example, others

    def refuse(self, halves: SplitModel, smashed: Sequence[Tensor]) -> None:
        """Refuse the smashed data of a pass on the example.

        Raises
        ------
        SplitError
            The message names the input.
        """
        same = self._same(smashed, self._example)
        for batch in self._others.batches[:1] if same else ():
            same &= self._same(_smashed(halves, batch), batch)
        for _, i in sorted(same):
            name = self._arguments.names[i]
            raise RawInputError(
                f"the raw input {name!r} would cross the cut {halves.cut!r} as it is. Choose a "
                f"later cut, or give public=({name!r},) if the server may see it.",
                name,
            )

    def refuse_in_pass(self, halves: SplitModel) -> None:
        """As :meth:`refuse`, after a pass of the client half."""
        self.refuse(halves, _smashed(halves, self._example))

    def _same(self, smashed: Sequence[Tensor], batch: Sequence[Tensor]) -> set[tuple[int, int]]:
        return {
            (k, i)
            for k, tensor in enumerate(smashed)
            for i, (x, axis) in enumerate(zip(batch, self._arguments.axes, strict=True))
            if i not in self._public and _same_values(tensor, x.movedim(axis, 0) if axis else x)
        }


def _smashed(halves: SplitModel, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return smashed data in eval mode; the client half is set back to its state."""
    state = ModelState(halves.client)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        smashed = as_tensors(halves.client.eval()(*(tensor.clone() for tensor in batch)))
    state.restore()
    return smashed


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

    def run() -> tuple[list[Tensor], list[Tensor | None]]:
        kept = Gradients(model) if training else None
        outputs = whole.run(example, training=training, gradients=kept)
        return list(outputs.values()), [] if kept is None else list(kept.found.values())

    (outputs, gradients), again = run(), run()
    first, second = [*outputs, *gradients], [*again[0], *again[1]]
    parameters = [name for name, _ in model.named_parameters()][: len(gradients)]
    names = [
        *(f"output {k}" for k in range(len(outputs))),
        *(f"gradient of {n!r}" for n in parameters),
    ]
    pairs = zip(names, first, second, strict=True)
    differ = [name for name, *pair in pairs if not equal(*pair)]
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
