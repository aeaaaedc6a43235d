"""Record passes of a model for the cuts of it that are replayed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from .crossing import TensorSpec
from .errors import SplitError, never_called
from .recorded_pass import record_pass
from .recorder import Pass, Recorder
from .request import Request
from .submodules import outermost

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Compared:
    """The passes of one mode, from which the shapes of what crosses follow.

    Attributes
    ----------
    example : Pass
        Pass of the example.
    other : Pass
        Pass of another number of samples.
    samples : int
        That number.
    smaller : Pass or None
        Pass of the smaller batch, if there is one.
    calls : Pass
        Pass whose modules' outputs are those of this mode.
    """

    example: Pass
    other: Pass
    samples: int
    smaller: Pass | None
    calls: Pass


@dataclass(frozen=True)
class Recorded:
    """What the passes of a model have shown for one cut.

    Attributes
    ----------
    modes : mapping of bool to Compared
        Passes in train mode (True) and in eval mode.
    every : tuple of Pass
        All of them.
    repeated : frozenset of str
        Modules of constants that are called on both sides.
    few : tuple of Tensor or None
        The few samples with other values that have taken the place of a larger batch.
    """

    modes: Mapping[bool, Compared]
    every: tuple[Pass, ...]
    repeated: frozenset[str] = frozenset()
    few: Batch | None = None

    @property
    def reads_values(self) -> bool:
        """Whether Python code before the cut may read values that the server half lacks."""
        return any(one.reads_values for one in self.every)


def record(requests: Sequence[Request]) -> dict[str, Recorded | SplitError]:
    """Record passes for several cuts of one model and example.

    These are the example in train mode, few samples with other values in train mode, and as few of
    the example in eval mode. Where they do not show what depends on the mode and on the number of
    samples, read values, or leave a module uncalled, a batch with one sample more, the example and
    the smaller one run in both modes, and other values in eval mode. No proof has a say in it: each
    node records what the server does.

    Returns
    -------
    dict
        For each cut, what was recorded; or the reason for which the cut cannot be made.
    """
    found: dict[str, Recorded | SplitError] = {}
    recorders = [Recorder(request) for request in requests]
    while recorders:
        passes = _Passes(recorders)
        few = passes.few()
        again = []
        for k, recorder in enumerate(recorders):
            at = recorder.request.at
            try:
                recorded = None if few is None else passes.quick(k, few)
                if recorded is None or recorded.reads_values or _leaves_out(recorder, recorded):
                    recorded = passes.thorough(k)
                both = _on_both_sides(recorder, recorded.every, passes.changed)
            except SplitError as reason:
                found[at] = reason
                continue
            if both:
                again.append(Recorder(recorder.request, recorder.repeated | both))
            else:
                found[at] = replace(recorded, repeated=recorder.repeated)
        recorders = again
    return found


def _leaves_out(recorder: Recorder, recorded: Recorded) -> bool:
    """Return whether no pass has called some module."""
    one = recorder.request
    return bool(modules_never_called(recorded.every, one.model, one.at, recorder.held))


class _Passes:
    """Passes of a model, each of which is recorded once, for several cuts.

    Attributes
    ----------
    changed : set of str
        Names of the buffers that the passes have changed.
    """

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders, one = recorders, recorders[0].request
        self._arguments, self._others, self._example = one.arguments, one.others, one.example
        self._smaller, self._larger = one.smaller, one.arguments.larger(one.example)
        self._count = one.arguments.count(one.example)
        self._first: Batch = ()  # as few samples of the example
        self._ran: dict[tuple[int, bool], tuple[Batch, list[Pass | None]]] = {}
        self._failed: dict[tuple[int, bool], SplitError] = {}
        self.changed: set[str] = set()

    def few(self) -> Batch | None:
        """Return few samples with other values, if the model accepts as few."""
        few = self._others.few
        if few is None or self._others.accepted.get(id(few)) is False:
            return None
        self._first = self._arguments.first(self._example, self._arguments.count(few))
        try:
            self._of(few, training=True)
        except SplitError:
            self._others.accepted[id(few)] = False
            return None
        self._others.accepted[id(few)] = True
        try:
            self._of(self._first, training=False)
        except SplitError:
            return None
        return few

    def quick(self, k: int, few: Batch) -> Recorded | None:
        """Return what few passes show for a cut, None if it takes more."""
        count, samples = self._count, self._arguments.count(few)
        train, of_few = self._pass(k, self._example), self._pass(k, few)
        first = self._pass(k, self._first, training=False)
        smaller = None if self._smaller is None else self._pass(k, self._smaller)
        if train is None or of_few is None or first is None:
            return None
        if (self._smaller is not None and smaller is None) or not _by_rows(
            train, of_few, count, samples
        ):
            return None
        every = [train, of_few, first, *([] if smaller is None else [smaller])]
        one = Compared(train, of_few, samples, smaller, train)
        if _alike(of_few, first):
            return Recorded({True: one, False: replace(one, calls=first)}, tuple(every), few=few)
        if self._smaller is not None:
            return None
        example = self._pass(k, self._example, training=False)
        if example is None or not _by_rows(example, first, count, samples):
            return None
        other = Compared(example, first, samples, None, example)
        return Recorded({True: one, False: other}, (*every, example), few=few)

    def thorough(self, k: int) -> Recorded:
        """Return what the passes of all batches show for a cut.

        The larger batch runs in eval mode only if the modes differ in shapes.

        Raises
        ------
        SplitError
            A pass never calls the cut, or the model fails.
        """
        modes: dict[bool, Compared] = {}
        every: list[Pass | None] = []
        for training in (True, False):
            smaller = None
            if self._smaller is not None:
                smaller = self._pass(k, self._smaller, training=training)
            example = self._pass(k, self._example, training=training)
            every += [example, *([] if self._smaller is None else [smaller])]
            if training or not _alike(modes[True].example, example):
                larger = self._pass(k, self._larger, training=training)
                every.append(larger)
            if example is None or larger is None:
                break
            modes[training] = Compared(example, larger, self._count + 1, smaller, example)
        every += [self._pass(k, batch, training=False) for batch in self._others.batches[:1]]
        called = [one for one in every if one is not None]
        if len(called) < len(every):
            request = self._recorders[k].request
            raise SplitError(never_called(request.at, request.model.get_submodule(request.at)))
        return Recorded(modes, tuple(called))

    def _pass(self, k: int, batch: Batch, *, training: bool = True) -> Pass | None:
        return self._of(batch, training=training)[k]

    def _of(self, batch: Batch, *, training: bool) -> list[Pass | None]:
        key = id(batch), training
        if key in self._failed:
            raise self._failed[key]
        if key not in self._ran:
            try:
                passes, changed = record_pass(self._recorders, batch, training=training)
            except SplitError as error:
                self._failed[key] = error
                raise
            self.changed |= changed
            self._ran[key] = batch, passes
        return self._ran[key][1]


def _alike(one: Pass | None, other: Pass | None) -> bool:
    """Return whether two passes of a batch make the same tensors, but for their values."""
    if one is None or other is None:
        return one is other
    ours, theirs = one.tensors(), other.tensors()
    return ours.keys() == theirs.keys() and all(
        (t.shape, t.dtype, origins) == (theirs[key][0].shape, theirs[key][0].dtype, theirs[key][1])
        for key, (t, origins) in ours.items()
    )


def _by_rows(one: Pass, other: Pass, count: int, other_count: int) -> bool:
    """Return whether two passes make the same tensors, but for values and the rows of samples."""
    ours, theirs = one.tensors(), other.tensors()
    if ours.keys() != theirs.keys() or any(
        (t.dtype, origins) != (theirs[key][0].dtype, theirs[key][1])
        for key, (t, origins) in ours.items()
    ):
        return False
    try:
        for key, (tensor, _) in ours.items():
            TensorSpec.between(tensor, theirs[key][0], count, other_count)
    except SplitError:
        return False
    return True


def _on_both_sides(
    recorder: Recorder, every: Sequence[Pass], changed: Collection[str]
) -> frozenset[str]:
    """Return the modules of constants that run on both sides of a cut.

    Raises
    ------
    SplitError
        A module that is not constant is used on both sides of the cut.
    """
    at, model = recorder.request.at, recorder.request.model
    if any(one.checkpointed for one in every):
        raise SplitError(
            f"the cut {at!r} is called inside torch.utils.checkpoint, which computes both sides of "
            "it again in the backward pass: disable checkpointing before split "
            "(model.gradient_checkpointing_disable()), or cut outside the checkpointed part."
        )
    front = {name for one in every for name in one.front}
    both = front & {name for one in every for name in one.behind} & recorder.held
    for name in sorted(both):
        module = model.get_submodule(name)
        if any(True for _ in module.parameters()) or any(
            buffer.startswith(f"{name}.") for buffer in changed
        ):
            raise SplitError(
                f"module {name!r} is used on both sides of the cut {at!r}; cut before its "
                "first use or behind its last. If it is called once per view of a sample, give "
                "the views as one input (B, views, …) that the forward flattens."
            )
    return frozenset(both)


def modules_behind(passes: Sequence[Pass], at: str, held: Collection[str]) -> list[str]:
    """Return the modules with tensors that are called behind the cut, but not before it."""
    front = {name for one in passes for name in one.front}
    behind = {name for one in passes for name in one.behind if name in held}
    return [
        name
        for name in outermost(sorted(behind))
        if name != at and not any(f"{name}.".startswith(f"{f}.") for f in front)
    ]


def modules_never_called(
    passes: Sequence[Pass], model: nn.Module, at: str, held: Collection[str]
) -> list[str]:
    """Return the modules with tensors that no pass calls, nor any of their submodules."""
    called = [name for one in passes for name in (*one.front, *one.behind, at)]
    return outermost(
        name
        for name, _ in model.named_modules()
        if name in held
        and not any(
            c == name or c.startswith(f"{name}.") or name.startswith(f"{c}.") for c in called
        )
    )
