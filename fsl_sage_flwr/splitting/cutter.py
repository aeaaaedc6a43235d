"""Cut one model, at one place or at several that share what they have in common."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from .call_memory import CallMemory
from .called_names import name_as_called
from .errors import SplitError, UnfaithfulError, running_the_model
from .hooks import refuse_inner_hooks
from .inputs import Arguments, Inputs, as_tensors
from .model_state import ModelState, unchanged
from .other_values import OtherValues
from .ownership import complete, refuse_empty, shell_tree
from .proof import RawInputs, prove_halves, refuse_unsent_values
from .recording import Recorded, record
from .refusals import refuse_lazy, refuse_unknown, smaller_batch
from .replay import by_replay
from .request import Request
from .split_model import SplitModel
from .traced import by_graph
from .tracing import Traces
from .whole import Whole


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

    def replay(self, request: Request, recorded: Recorded) -> SplitModel:
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
            return self._recorded(request, prove=prove)
        except UnfaithfulError as error:
            self._refuse_failing(request)
            raise SplitError(
                f"{reason} Its forward cannot be replayed either: {error} Cut it elsewhere "
                "(list_cuts(model, example) names the cuts that exist), name masks and lengths in "
                "public=(…), or give the halves as two modules to split_pair."
            ) from error

    def _recorded(self, request: Request, *, prove: bool) -> SplitModel:
        with running_the_model(f"the halves cut at {request.at!r} fail"):
            recorded = record([request])[request.at]
            if isinstance(recorded, SplitError):
                raise recorded
            halves = self.replay(request, recorded)
            raw_inputs = raw_inputs_of(request)
            if not prove:
                raw_inputs.refuse_in_pass(halves)
                return halves
            prove_halves(self.whole, halves, request.example, smashed_check=raw_inputs)
            for batch in request.sized:
                prove_halves(self.whole, halves, batch)
            self._prove_on_other_values(request, halves, recorded)
            if recorded.reads_values:
                refuse_unsent_values(self.whole, halves, request.example)
        return halves

    def _prove_on_other_values(
        self, request: Request, halves: SplitModel, recorded: Recorded
    ) -> None:
        """Prove the halves on few samples with other values, or on as many as the example has.

        Where no Python code depends on values that the server half lacks, the gradients of other
        values are computed as the example's, which are proven: outputs suffice.
        """
        others = request.others.batches
        for batch in others:
            reads = batch is not recorded.few or recorded.reads_values
            try:
                prove_halves(self.whole, halves, batch, gradients=reads)
            except SplitError as error:
                if batch is others[-1]:
                    raise UnfaithfulError(
                        f"with other values than the example's: {error}"
                    ) from error
            else:
                break

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
    refuse_unknown(public, arguments)
    if arguments.count(inputs) < 2:
        raise SplitError(
            f"example has {arguments.count(inputs)} sample on axis {arguments.axes[0]}; give at "
            "least two: a tensor with a row per sample cannot be told from another by one"
        )
    refuse_lazy(model)
    refuse_inner_hooks(model)
    less = None if smaller is None else smaller_batch(model, smaller, arguments, inputs)
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
