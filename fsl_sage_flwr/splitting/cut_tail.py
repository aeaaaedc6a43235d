"""Cut a server half once more: the part behind the second cut is the clients' tail."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from .cutter import cutting
from .errors import RawInputError, SplitError
from .inputs import Arguments, Inputs, as_tensors
from .model_state import unchanged
from .replay import ReplayedHalf
from .split_model import FrontAndTail, SplitModel


def with_tail(
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
