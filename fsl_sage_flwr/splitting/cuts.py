"""List the possible cuts of a model and their costs."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from ..objective import logits_of
from .auxiliary import head_of_sizes
from .call_memory import CallMemory
from .counted_flops import CountedFlops
from .cutter import Cutter, cutting, raw_inputs_of
from .errors import SplitError, UnfaithfulError, running_the_model
from .hooks import has_hooks
from .inputs import Inputs, as_tensors
from .model_state import unchanged
from .proof import prove_halves, prove_outputs, refuse_unsent_values
from .recording import record
from .refusals import refuse_unfit
from .request import Request
from .smashed_dtypes import as_sent
from .split_model import SplitModel
from .submodules import ancestors_of, holds_tensors, outermost
from .whole import Whole


@dataclass(frozen=True)
class Cut:
    """A possible cut of a model, with its sizes and costs.

    Attributes
    ----------
    name : str
        First submodule of the server half, as :func:`split` expects it.
    smashed_shapes : tuple of tuple of int
        Shape of one sample of each tensor that crosses the cut.
    smashed_dtypes : tuple of str
        Type of each: ``"float32"``; masks, public inputs and sizes have others.
    smashed_bytes : int
        Bytes of one sample's smashed data.
    gradient_bytes : int
        Bytes of the gradient of one sample's smashed data.
    hidden_bytes, hidden_gradient_bytes : int
        Bytes of one sample's hidden states before a tail, and of their gradient; 0 without one.
    client_parameters, server_parameters, head_parameters : int
        Number of parameters of the halves and of the default auxiliary head.
    client_bytes, server_bytes, head_bytes : int
        Bytes of their state_dicts, including buffers.
    client_vector_bytes, server_vector_bytes, head_vector_bytes : int
        Bytes of those of their tensors with at most one axis.
    client_flops, server_flops : int
        Floating-point operations of the forward pass of one sample, in matrix products and
        convolutions; a multiplication and an addition count as two.

    The representation leaves out FLOPs and all bytes but those of the smashed data.
    """

    name: str
    smashed_shapes: tuple[tuple[int, ...], ...]
    smashed_bytes: int
    client_parameters: int
    server_parameters: int
    head_parameters: int
    client_bytes: int = field(repr=False)
    server_bytes: int = field(repr=False)
    head_bytes: int = field(repr=False)
    client_flops: int = field(repr=False)
    server_flops: int = field(repr=False)
    gradient_bytes: int = field(repr=False)
    client_vector_bytes: int = field(repr=False)
    server_vector_bytes: int = field(repr=False)
    head_vector_bytes: int = field(repr=False)
    hidden_bytes: int = field(default=0, repr=False)
    hidden_gradient_bytes: int = field(default=0, repr=False)
    smashed_dtypes: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Workload:
    """One client's work in a round, which determines its traffic.

    Attributes
    ----------
    examples : int
        Number of the client's examples.
    batch_size : int
        Examples per batch.
    local_epochs : int
        Passes over the examples.
    rounds : int
        Rounds of the run, among which the bytes that are sent once are divided.
    """

    examples: int = 5000
    batch_size: int = 256
    local_epochs: int = 1
    rounds: int = 1

    @property
    def seen(self) -> int:
        """Number of examples trained on; each example counts once per epoch."""
        return self.examples * self.local_epochs

    @property
    def batches(self) -> int:
        """Number of batches trained on."""
        return ceil(self.examples / self.batch_size) * self.local_epochs


def list_cuts(
    model: nn.Module,
    example: Inputs,
    *,
    public: Collection[str] = (),
    batch_axis: int | Mapping[str, int] = 0,
    depth: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Cut]:
    """Return the possible cuts of a model, in the order of ``named_modules``.

    Each cut's halves have computed the model's outputs for the example in eval mode, bit for bit;
    :func:`split` also proves the chosen cut's gradients.

    Parameters
    ----------
    model : nn.Module
        Any model that returns scores ``(B, num_classes)``; it is not changed.
    example : Tensor, tuple of Tensor or mapping
        Inputs of the model, a batch of at least two samples.
    public : collection of str
        Names of inputs that the server may see, as for :func:`split`.
    batch_axis : int or mapping
        Axis of the samples in the inputs, as for :func:`split`.
    depth : int
        Depth of the search for submodules: 2 includes ``layer3`` and ``layer3.0``. The blocks of
        the outermost ``nn.ModuleList``, such as the layers of a language model, are included at
        any depth.
    on_progress : callable, optional
        Called with the number of submodules that have been tried, and their total.
    """
    names = list(_candidates(model, depth))
    found: dict[str, Cut] = {}
    if not names:
        return []
    with cutting(model, example, public=public, batch_axis=batch_axis, several=True) as cutter:
        for done, (name, cut) in enumerate(_tried(cutter, names), start=1):
            if cut is not None:
                found[name] = cut
            if on_progress is not None:
                on_progress(done, len(names))
    return [found[name] for name in names if name in found]


def _tried(cutter: Cutter, names: Sequence[str]) -> Iterator[tuple[str, Cut | None]]:
    """Try the cuts, first those that can be traced; one recording serves all others."""
    replayed: list[Request] = []
    after: Whole | None = None
    names_of: dict[str, str] = {}  # of a module with several names, the one called may differ
    for name in names:
        request = cutter.request(name)
        names_of[request.at] = name
        request.state.restore()  # tracing runs the forward
        try:
            halves, traced = cutter.trace(request)
            after = after or cutter.whole.starting_from(traced)
            yield name, replace(_measured_traced(after, halves, request), name=name)
        except UnfaithfulError:
            replayed.append(request)
        except SplitError:
            yield name, None
    if not replayed:
        return
    replayed[0].state.restore()
    try:
        recorded = record(replayed)
    except SplitError as reason:
        recorded = {request.at: reason for request in replayed}
    for request in replayed:
        try:
            with running_the_model(f"the halves cut at {request.at!r} fail"):
                passes = recorded[request.at]
                if isinstance(passes, SplitError):
                    raise passes
                halves = cutter.replay(request, passes)
                cut = _measured(cutter.whole, halves, request)
                if passes.reads_values:
                    refuse_unsent_values(cutter.whole, halves, request.example, eval_alone=True)
        except SplitError:
            yield names_of[request.at], None
        else:
            yield names_of[request.at], replace(cut, name=names_of[request.at])


def _candidates(model: nn.Module, depth: int) -> Iterator[str]:
    lists = outermost(
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue  # has no forward
        if name and (name.count(".") < depth or name.rpartition(".")[0] in lists):
            with suppress(SplitError):
                refuse_unfit(model, name)
                yield name


def choose_cut(
    cuts: Sequence[Cut],
    round_bytes: Callable[[Cut], int],
    *,
    max_parameters: int = 0,
    max_flops: int = 0,
) -> Cut:
    """Return the cut with the fewest bytes per round among those within the client's limits.

    Parameters
    ----------
    cuts : sequence of Cut
        As :func:`list_cuts` returns them; the first of several equal cuts wins.
    round_bytes : callable
        Returns a client's bytes per round with a given cut.
    max_parameters, max_flops : int
        Limits on the client half's parameters and FLOPs per sample; 0 disables a limit.

    Raises
    ------
    SplitError
        No cut is within the limits; the message gives the needs of the smallest client half.
    """
    fit = [
        cut
        for cut in cuts
        if (not max_parameters or cut.client_parameters <= max_parameters)
        and (not max_flops or cut.client_flops <= max_flops)
    ]
    if not fit:
        smallest = min(cuts, key=lambda cut: cut.client_parameters, default=None)
        needed = (
            f"the smallest client half, cut at {smallest.name!r}, has "
            f"{smallest.client_parameters:,} parameters and {smallest.client_flops:,} FLOPs a "
            "sample: raise auto-cut.max-params or auto-cut.max-flops"
            if smallest
            else "the model cannot be cut anywhere"
        )
        raise SplitError(f"no cut is within the client's budget; {needed}.")
    return min(fit, key=round_bytes)


def _measured_traced(whole: Whole, halves: SplitModel, request: Request) -> Cut:
    """Return the sizes of a traced cut, whose halves compute the model's outputs."""
    memory = request.memory or CallMemory()
    outputs, flops = list[Any](), list[int]()

    def run(half: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        output, of_half = memory.run(half, inputs)
        outputs.append(output)
        flops.append(of_half)
        return output

    prove_outputs(whole, halves, request.example, run, raw_inputs_of(request))
    smashed, (client, server) = as_tensors(outputs[0]), flops
    scores = logits_of(outputs[1])
    head = head_of_sizes(halves.server.eval(), smashed, scores.shape[-1], run)
    count = request.arguments.count(request.example)
    cut = cut_of(halves, head, tuple(tensor.detach() for tensor in smashed))
    return replace(cut, client_flops=client // count, server_flops=server // count)


def _measured(whole: Whole, halves: SplitModel, request: Request) -> Cut:
    """Return the sizes of a replayed cut, whose halves compute the model's outputs.

    If the model keeps no state from pass to pass, the client half's modules answer from memory:
    each cut's client half begins as that of the cut before it.
    """
    memory = request.memory or CallMemory()
    whole.outputs(request.example)
    units = list(_units(halves.client, halves.cut)) if whole.keeps_state else []
    try:
        return _measured_from(memory, units, whole, halves, request)
    except SplitError:
        if not units:
            raise
        return _measured_from(memory, (), whole, halves, request)


def _measured_from(
    memory: CallMemory,
    units: Sequence[str],
    whole: Whole,
    halves: SplitModel,
    request: Request,
) -> Cut:
    outputs, flops = list[Any](), list[int]()

    def run(half: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        names = units if half is halves.client else ()
        output, of_half = memory.run_modules(half, names, inputs)
        outputs.append(output)
        flops.append(of_half)
        return output

    check = raw_inputs_of(request)
    prove_halves(whole, halves, request.example, eval_alone=True, run=run, smashed_check=check)
    smashed = tuple(tensor.detach() for tensor in as_tensors(outputs[0]))
    with unchanged(halves.server):
        scores = logits_of(outputs[1])
        head = head_of_sizes(halves.server.eval(), smashed, scores.shape[-1], _without_graph)
    count = request.arguments.count(request.example)
    cut = cut_of(halves, head, smashed)
    return replace(cut, client_flops=flops[0] // count, server_flops=flops[1] // count)


def _units(half: nn.Module, cut: str) -> Iterator[str]:
    """Iterate over the outermost modules before a cut whose submodules have no hooks."""
    around = ancestors_of(cut)
    found: tuple[str, ...] = ()
    for name, module in half.named_modules():
        if name in around or name.startswith(found) or not holds_tensors(module):
            continue
        if not any(has_hooks(inner) for inner in module.modules() if inner is not module):
            found = (*found, f"{name}.")
            yield name


def _without_graph(half: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    with torch.no_grad():
        return half(*inputs)


def forward_flops(model: nn.Module, *inputs: Tensor) -> int:
    """Return the floating-point operations of the forward pass of one sample.

    Counted are matrix products and convolutions; a multiplication and an addition count as two.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad(), CountedFlops() as counted:
        model(*inputs)
    model.train(was_training)
    flops: int = counted.total
    return flops // len(inputs[0])


def cut_of(
    halves: SplitModel,
    head: nn.Module,
    smashed: tuple[Tensor, ...],
    weights_of: Callable[[nn.Module], Mapping[str, Tensor]] = nn.Module.state_dict,
    *,
    hidden: tuple[Tensor, ...] = (),
) -> Cut:
    """Return the sizes of an existing cut; FLOPs are not counted (0).

    Parameters
    ----------
    halves : SplitModel
        Client half and server half.
    head : nn.Module
        Auxiliary head.
    smashed : tuple of Tensor
        Smashed data of at least one sample.
    weights_of : callable
        Returns the transmitted tensors of a half or a head.
    hidden : tuple of Tensor
        Hidden states of at least one sample, for a tail.
    """
    client, server = halves.client, halves.server
    of_client, of_server, of_head = (weights_of(module) for module in (client, server, head))
    return Cut(
        name=halves.cut,
        smashed_shapes=tuple(tuple(tensor.shape[1:]) for tensor in smashed),
        smashed_bytes=sum(_size(as_sent(tensor[0])) for tensor in smashed),
        client_parameters=_parameters(client),
        server_parameters=_parameters(server),
        head_parameters=_parameters(head),
        client_bytes=_bytes(of_client),
        server_bytes=_bytes(of_server),
        head_bytes=_bytes(of_head),
        client_flops=0,
        server_flops=0,
        gradient_bytes=sum(
            _size(as_sent(tensor[0])) for tensor in smashed if tensor.is_floating_point()
        ),
        hidden_bytes=sum(_size(as_sent(tensor[0])) for tensor in hidden),
        hidden_gradient_bytes=sum(
            _size(as_sent(tensor[0])) for tensor in hidden if tensor.is_floating_point()
        ),
        client_vector_bytes=_vector_bytes(of_client),
        server_vector_bytes=_vector_bytes(of_server),
        head_vector_bytes=_vector_bytes(of_head),
        smashed_dtypes=tuple(str(tensor.dtype).removeprefix("torch.") for tensor in smashed),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(_size(tensor) for tensor in weights.values())


def _vector_bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(_size(tensor) for tensor in weights.values() if tensor.dim() < 2)


def _size(tensor: Tensor) -> int:
    # NumPy has no bfloat16, which is sent as float32.
    item = 4 if tensor.dtype == torch.bfloat16 else tensor.element_size()
    return tensor.numel() * item
