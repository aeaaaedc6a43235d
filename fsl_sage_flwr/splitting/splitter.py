"""Cut an ``nn.Module`` in two before a named submodule."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .call_memory import CallMemory
from .called_names import name_as_called
from .errors import RawInputError, SplitError, UnfaithfulError, running_the_model
from .hooks import refuse_inner_hooks
from .inputs import Arguments, Inputs, as_tensors
from .model_state import ModelState, unchanged
from .other_values import OtherValues
from .ownership import complete, refuse_empty, shell_tree
from .proof import RawInputs, prove_halves, refuse_unsent_values
from .recording import Recorded
from .replay import ReplayedHalf, by_replay
from .request import Request
from .slow_notice import slow_notice
from .split_model import FrontAndTail, SplitModel
from .submodules import ancestors_of
from .traced import Traces, by_graph
from .whole import Whole

log = logging.getLogger("flwr.fsl_sage")


def split(
    model: nn.Module,
    at: str,
    example: Inputs,
    *,
    tail: str = "",
    public: Collection[str] = (),
    smaller: Inputs | None = None,
    batch_axis: int | Mapping[str, int] = 0,
    prove: bool = True,
) -> SplitModel:
    """Cut ``model`` before the submodule named ``at``, and with ``tail`` once more behind it.

    The halves share the model's parameters and buffers; nothing is copied. The cut is proven on
    ``example``: the outputs in train and eval mode, and the parameters' gradients in train mode,
    equal the whole model's bit for bit.

    Parameters
    ----------
    model : nn.Module
        Any model. If ``torch.fx`` can trace its forward along the ancestors of the cut, the
        graph is divided. Otherwise, or if the forward depends on train or eval mode, the forward
        is replayed on both sides; then all axes of a batch after the first must have the example's
        size. Either way every tensor that the server half needs crosses: arguments of the cut
        module, skips, encoder states. A tensor of the whole batch, such as an edge list, crosses
        once per sample: rows of a sample, such as its adjacency matrix, are smaller.
    at : str
        Qualified name of the first submodule of the server half, as in
        ``model.named_modules()``, e.g. ``"layer3"`` or ``"features.4"``; or a unique ending of one:
        ``"layers.3"`` for ``"base_model.model.model.layers.3"``.
    tail : str
        Name, as that of ``at``, of the first submodule of a third part, which the client holds
        beside the client half, so that labels need not leave it. The server half between them
        must make all that the tail needs: no skip crosses both cuts, but masks, whole numbers and
        public inputs may. Empty for two halves.
    example : Tensor, tuple of Tensor or mapping
        Inputs of the model, a batch of at least two samples; a mapping has keyword arguments, as
        tokenizers give them.
    public : collection of str
        Names of inputs that the server may see: attention masks, lengths, decoder inputs. They
        cross as they are, and what the forward makes of them alone is made on both sides.
    smaller : Inputs, optional
        Another batch, of as many samples, with smaller sizes: shorter texts, smaller images.
        The cut is proven with both, and batches may then have any sizes, larger ones too: each is
        sent with its shape.
    batch_axis : int or mapping
        Axis of the samples in all inputs, or by name (default 0): 1 for ``(T, B, D)``, as
        ``nn.LSTM`` and ``nn.Transformer`` take them by default. Batches have their samples there
        too; smashed data and labels have theirs on the first axis.
    prove : bool
        False skips the proof of a replayed cut if the same cut of the same model has been proven:
        it takes several passes of the model, and their memory.

    Returns
    -------
    SplitModel
        Client half and server half. Their state_dicts are disjoint and together are the
        model's. With ``tail`` the client half is a :class:`FrontAndTail`.

    Raises
    ------
    SplitError
        The cut does not exist or is never called, a half would be empty, a module or a
        trainable weight would be on both sides, an input that is not public would cross the
        cut, or the halves do not compute the model's outputs.

    Examples
    --------
    >>> halves = split(resnet18(), at="layer3", example=torch.zeros(2, 3, 32, 32))
    """
    if tail and smaller is not None:
        raise SplitError("tail: batches of several sizes (smaller=…) cannot cross two cuts yet.")
    if tail and batch_axis != 0:
        raise SplitError("tail: samples must be on the first axis (batch_axis=0).")
    _refuse_other_arguments(model, at)
    at = full_name(model, at)
    refuse_unfit(model, at)
    with (
        slow_notice(f"cutting {type(model).__name__} at {at!r} and proving the halves") as step,
        cutting(
            model, example, public=public, smaller=smaller, batch_axis=batch_axis, on_pass=step
        ) as cutter,
    ):
        halves = replace(cutter.cut(at, prove_replay=prove), cut=at)
    _warn_of_extra_state(model)
    if not tail:
        return halves
    return _with_tail(model, halves, example, full_name(model, tail), public, prove)


def _with_tail(
    model: nn.Module,
    halves: SplitModel,
    example: Inputs,
    tail: str,
    public: Collection[str],
    prove: bool,
) -> SplitModel:
    """Cut the server half before a submodule; the part behind it goes to the client.

    A replay within a replay reaches its cut, but does not start there: the tail of a replayed
    server half is then that of the model, cut at the tail alone.
    """
    if tail not in dict(halves.server.named_modules()):
        raise SplitError(
            f"tail {tail!r} is not in the server half, which begins at {halves.cut!r}: name a "
            "submodule behind the cut, such as the model's last layer."
        )
    with unchanged(halves.client), torch.no_grad(), torch.random.fork_rng(devices=[]):
        smashed = as_tensors(halves.client.eval()(*as_tensors(example)))
    both = _crosses_both(smashed, as_tensors(example), Arguments.of(model, example).names, public)
    try:
        try:
            inner = _cut_again(model, halves, smashed, example, tail, public, (), prove)
        except SplitError:
            if not both:
                raise
            inner = _cut_again(model, halves, smashed, example, tail, public, both, prove)
    except RawInputError as error:
        raise SplitError(
            f"a tensor that crosses the cut {halves.cut!r} (input {error.name!r} of the server "
            f"half) is used behind the tail {tail!r} too; only masks, whole numbers and public "
            "inputs may cross both: choose a tail behind its last use, or a later cut."
        ) from error
    except SplitError as error:
        raise SplitError(
            f"the server half of the cut {halves.cut!r} cannot be cut again at the tail {tail!r}: "
            f"{error}"
        ) from error
    return SplitModel(
        client=FrontAndTail(halves.client, inner.server),
        server=inner.client,
        cut=halves.cut,
        tail_cut=tail,
    )


def _cut_again(
    model: nn.Module,
    halves: SplitModel,
    smashed: tuple[Tensor, ...],
    example: Inputs,
    tail: str,
    public: Collection[str],
    both: Collection[int],
    prove: bool,
) -> SplitModel:
    """Return the parts of the server half; smashed tensors ``both`` may cross to the tail too."""
    behind: nn.Module | None = None
    if isinstance(halves.server, ReplayedHalf):
        with cutting(model, example, public=public, frozen_back=True) as cutter:
            behind = cutter.cut(tail, prove_replay=False).server
    names = Arguments.of(halves.server, smashed).names
    known = [names[k] for k in both]
    with cutting(halves.server, smashed, public=known, frozen_back=True) as cutter:
        cutter.behind = behind
        return cutter.cut(tail, prove_replay=prove)


def _crosses_both(
    smashed: tuple[Tensor, ...],
    example: tuple[Tensor, ...],
    names: Sequence[str],
    public: Collection[str],
) -> list[int]:
    """Return the positions of the smashed tensors that clients may get back for the tail.

    They are without gradient: masks, whole numbers, and public inputs as they are.
    """
    seen = [tensor for name, tensor in zip(names, example, strict=True) if name in public]
    return [
        k
        for k, tensor in enumerate(smashed)
        if not tensor.is_floating_point()
        or any(tensor.dtype == x.dtype and torch.equal(tensor, x) for x in seen)
    ]


def _warn_of_extra_state(model: nn.Module) -> None:
    names = [n for n, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if names:
        log.warning(
            "%d values of get_extra_state are not tensors and are not sent, such as %r: server and "
            "clients each keep theirs. Make them buffers if they must be the same",
            len(names),
            names[0],
        )


class Cutter:
    """Cuts one model, with what all its cuts have in common.

    Parameters
    ----------
    request : Request
        A cut, of which the name is replaced.
    whole : Whole
        The uncut model.
    called : mapping, optional
        For modules with several names, the name by which the forward calls them.

    Attributes
    ----------
    behind : nn.Module or None
        Server half in place of the one that a replay makes.
    """

    def __init__(
        self, request: Request, whole: Whole, called: Mapping[str, str] | None = None
    ) -> None:
        self._request, self.whole, self._called = request, whole, called or {}
        self.behind: nn.Module | None = None
        self._traces = Traces()

    def request(self, at: str) -> Request:
        """Return the request for a cut."""
        return replace(self._request, at=self._called.get(at, at))

    def cut(self, at: str, *, prove_replay: bool = True) -> SplitModel:
        """Return the proven halves."""
        request = self.request(at)
        try:
            halves, traced = self.trace(request)
            after = self.whole.starting_from(traced)
            prove_halves(after, halves, request.example, smashed_check=raw_inputs_of(request))
            for batch in request.sized:
                prove_halves(after, halves, batch)
        except UnfaithfulError as reason:
            request.state.restore()  # tracing has run its forward
            return self._replayed(request, reason, prove=prove_replay)
        return halves

    def trace(self, request: Request) -> tuple[SplitModel, ModelState]:
        """Return halves that are not proven, and the model's state after tracing."""
        halves, traced = by_graph(request, self._traces)
        _check(request, halves)
        return halves, traced

    def replay(self, request: Request, recorded: Recorded | SplitError | None) -> SplitModel:
        """Return halves that are not proven."""
        halves = by_replay(request, recorded)
        if self.behind is not None:
            halves = replace(halves, server=self.behind)
        _check(request, halves)
        return halves

    def _replayed(self, request: Request, reason: SplitError, *, prove: bool) -> SplitModel:
        """Cut by replaying the forward.

        Replaying ignores the data flow: the halves are proven on other inputs as well.
        """
        try:
            with running_the_model(f"the halves cut at {request.at!r} fail"):
                halves = self.replay(request, None)
                self._prove_replayed(request, halves, prove=prove)
        except UnfaithfulError as error:
            self._refuse_failing(request)
            raise SplitError(
                f"{reason} Its forward cannot be replayed either: {error} Cut it elsewhere "
                "(list_cuts(model, example) names the cuts that exist), name masks and lengths in "
                "public=(…), or give the halves as two modules to split_pair."
            ) from error
        return halves

    def _prove_replayed(self, request: Request, halves: SplitModel, *, prove: bool) -> None:
        raw_inputs = raw_inputs_of(request)
        if not prove:
            raw_inputs.refuse_in_pass(halves)
            return
        prove_halves(self.whole, halves, request.example, smashed_check=raw_inputs)
        for batch in request.sized:
            prove_halves(self.whole, halves, batch)
        others = request.others.batches
        for batch in others:  # of one sample, and of the example's size
            try:
                prove_halves(self.whole, halves, batch)
            except UnfaithfulError:
                if batch is others[-1]:
                    raise
            else:
                break
        refuse_unsent_values(self.whole, halves, request.example)

    def _refuse_failing(self, request: Request) -> None:
        """Refuse an example that the uncut model does not accept."""
        try:
            with running_the_model(f"{type(request.model).__name__} fails on the example"):
                self.whole.outputs(request.example)  # in eval mode; from memory if it has run
        except UnfaithfulError as error:
            raise SplitError(
                f"{error} The model must accept the example uncut: one tensor with a row per "
                f"sample for each input ({', '.join(request.arguments.names)})."
                f"{_advice(request)}"
            ) from error
        finally:
            request.state.restore()  # of a model that keeps a state from pass to pass


def _advice(request: Request) -> str:
    """Return what several inputs that the model does not accept may have been meant as."""
    if len(request.example) == 1 or request.arguments.keyword:
        return ""
    if len({tensor.dim() for tensor in request.example}) == 1:
        return " Put a list of images or texts of several sizes into one padded tensor."
    return " Labels do not belong in the example."


@contextmanager
def cutting(
    model: nn.Module,
    example: Inputs,
    *,
    public: Collection[str] = (),
    smaller: Inputs | None = None,
    batch_axis: int | Mapping[str, int] = 0,
    several: bool = False,
    frozen_back: bool = False,
    on_pass: Callable[[], None] = lambda: None,
) -> Iterator[Cutter]:
    """Prepare a model for one cut, or for several that share outputs; restore it at the end.

    ``frozen_back`` accepts a server half without a parameter to train; ``on_pass`` is called before
    each pass of the proof.
    """
    arguments, inputs = Arguments.of(model, example, batch_axis), as_tensors(example)
    _refuse_unknown(public, arguments)
    if arguments.count(inputs) < 2:
        raise SplitError(
            f"example has {arguments.count(inputs)} sample on axis {arguments.axes[0]}; give at "
            "least two: a tensor with a row per sample cannot be told from another by one"
        )
    _refuse_lazy(model)
    refuse_inner_hooks(model)
    less = None if smaller is None else _smaller(model, smaller, arguments, inputs)
    model = shell_tree(model)
    called = name_as_called(model, arguments, inputs)
    with unchanged(model) as state:
        whole = Whole(model, arguments, state, inputs[0].device, on_pass)
        request = Request(
            model,
            state,
            "",
            inputs,
            arguments,
            public=frozenset(k for k, name in enumerate(arguments.names) if name in public),
            others=OtherValues(whole, inputs),
            smaller=less,
            memory=CallMemory() if several else None,
            frozen_back=frozen_back,
        )
        yield Cutter(request, whole, called)


def _check(request: Request, halves: SplitModel) -> None:
    complete(request.model, halves)
    refuse_empty(halves, frozen_back=request.frozen_back)


def raw_inputs_of(request: Request) -> RawInputs:
    """Return the check that no private input crosses a cut as it is."""
    return RawInputs(request.arguments, request.public, request.example, request.others)


def _smaller(
    model: nn.Module, smaller: Inputs, arguments: Arguments, example: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the tensors of the smaller batch, if it is one."""
    tensors = as_tensors(smaller)
    same = Arguments.of(model, smaller).names == arguments.names
    if not same or arguments.count(tensors) != arguments.count(example):
        raise SplitError("smaller: give a batch with the example's inputs and number of samples.")
    return tensors


def _refuse_other_arguments(model: object, at: object) -> None:
    """Refuse what is no model, and what is no name."""
    if not isinstance(model, nn.Module):
        raise SplitError(f"model is a {type(model).__name__}; give an nn.Module.")
    if not isinstance(at, str):
        raise SplitError(
            f"at = {at!r}: give the name of a submodule as text, such as "
            f"{next((name for name, _ in model.named_children()), 'layer3')!r}."
        )


def refuse_unfit(model: nn.Module, at: str) -> None:
    """Refuse models with a forward that is not Python's."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and name in ancestors_of(at):
            raise SplitError(
                f"{name or 'the model'} is a TorchScript module, which cannot be cut; cut the "
                "nn.Module that it was made from."
            )
        compiled = getattr(module, "_compiled_call_impl", None) is not None or isinstance(
            vars(module).get("_modules", {}).get("_orig_mod"), nn.Module
        )
        if compiled and name in ancestors_of(at):
            raise SplitError(
                f"{name or 'the model'} is compiled, and what is compiled cannot be cut; cut the "
                "model before torch.compile, and compile the halves."
            )


def _refuse_lazy(model: nn.Module) -> None:
    """Refuse parameters without a shape."""
    lazy = [name for name, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise SplitError(
            f"parameter {lazy[0]!r} has no shape yet (a lazy module); call the model once on a "
            "batch before split."
        )


def _refuse_unknown(public: Collection[str], arguments: Arguments) -> None:
    unknown = [name for name in public if name not in arguments.names]
    if isinstance(public, str) or unknown:
        raise SplitError(
            f"public = {public!r}: give a tuple of input names; the example has "
            f"{', '.join(arguments.names)}."
        )


def full_name(model: nn.Module, at: str) -> str:
    """Return the qualified name of the submodule with this name or this unique ending.

    Raises
    ------
    SplitError
        No submodule matches, or several do.
    """
    modules: list[str] = [name for name, _ in model.named_modules()]
    if at in modules and at:
        return at
    for name, module in model.named_modules(remove_duplicate=False):
        if name == at and at:  # a second name
            return modules[[known for _, known in model.named_modules()].index(module)]
    ends = [name for name in modules if at and name.endswith(f".{at}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise SplitError(
            f"cut {at!r} is the end of several names: {', '.join(ends[:4])}; give a longer ending."
        )
    named = ", ".join(name for name, _ in model.named_children())
    close = get_close_matches(at, modules, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SplitError(
        f"cut {at!r} is not a submodule of {type(model).__name__}.{hint} "
        f"Its children are: {named}; any name of named_modules() is valid."
    )


def split_pair(client: nn.Module, server: nn.Module, example: Inputs) -> SplitModel:
    """Make a split model from two modules and prove it on ``example``.

    Parameters
    ----------
    client, server : nn.Module
        The two halves. The server half is called with the tensors that the client half
        returns, each as a separate argument.
    example : Tensor or tuple of Tensor
        Inputs of the client half, a batch of at least two samples.

    Returns
    -------
    SplitModel
        Names in the state_dicts begin with ``client.`` and ``server.``.

    Raises
    ------
    SplitError
        As :func:`split`.
    """
    return split(_Pair(client, server), "server", example)


class _Pair(nn.Module):
    def __init__(self, client: nn.Module, server: nn.Module) -> None:
        super().__init__()
        self.client, self.server = client, server

    def forward(self, *inputs: Tensor) -> Any:
        return self.server(*as_tensors(self.client(*inputs)))
