"""Auxiliary heads for language models."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from ..splitting import SplitError, SplitModel, copy_sharing_frozen, receive_smashed


class BlocksHead(nn.Module):
    """The server half without its later blocks: first blocks, last norm and scores.

    Frozen tensors are shared with the server half; trainable ones are copies.

    Parameters
    ----------
    body : nn.Module
        The shortened server half.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, *smashed: Tensor) -> Tensor:
        """Return scores ``(B, T, V)`` from smashed data."""
        scores: Tensor = self.body(*smashed)
        return scores

    def copy_from(self, server_half: nn.Module) -> None:
        """Copy the server half's current values into the trainable tensors."""
        theirs = dict(server_half.named_parameters())
        trained = [n for n, p in self.body.named_parameters() if p.requires_grad]
        own = {n: theirs[n] for n in trained if n in theirs}
        self.body.load_state_dict(own, strict=False)


class Lens(nn.Module):
    """Replaces a block by one linear layer, initialised to the identity.

    Parameters
    ----------
    block : nn.Module
        Replaced block; a model may read plain attributes of its blocks.
    width : int
        Width of a token's hidden state, ``D``.
    in_tuple : bool
        Whether the model's blocks return a tuple.
    """

    def __init__(self, block: nn.Module, width: int, *, in_tuple: bool) -> None:
        super().__init__()
        for name, value in vars(block).items():
            if isinstance(value, str | int) and name != "training":
                setattr(self, name, value)
        self.linear = nn.Linear(width, width)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self._in_tuple = in_tuple

    def forward(self, hidden: Tensor, *args: object, **more: object) -> Tensor | tuple[Tensor]:
        """Map hidden states ``(B, T, D)`` linearly; other arguments of blocks are ignored."""
        found: Tensor = self.linear(hidden)
        return (found,) if self._in_tuple else found


def lens_head(model: SplitModel, smashed: tuple[Tensor, ...]) -> BlocksHead:
    """Build a head of one linear layer and the server half's own last norm and scores.

    Trainable parameters behind the server half's blocks are trained in the head too.

    Parameters
    ----------
    model : SplitModel
        A language model, cut before one of its blocks.
    smashed : tuple of Tensor
        Example smashed data.

    Raises
    ------
    SplitError
        The cut is not one of a list of blocks.
    """
    head = blocks_head(model, 1)
    returned: list[object] = []
    block = head.body.get_submodule(model.cut)
    handle = block.register_forward_hook(lambda module, args, output: returned.append(output))
    with torch.no_grad():
        head.eval()(*smashed)
    handle.remove()
    lens = Lens(block, smashed[0].shape[-1], in_tuple=isinstance(returned[0], tuple))
    receive_smashed(lens)
    owner, _, place = model.cut.rpartition(".")
    blocks: Any = head.body.get_submodule(owner)
    blocks[int(place)] = lens
    return BlocksHead(head.body).train()


def blocks_head(model: SplitModel, blocks: int) -> BlocksHead:
    """Build a head from the first blocks of a server half.

    Parameters
    ----------
    model : SplitModel
        A language model, cut before one of its blocks.
    blocks : int
        Number of the server half's blocks in the head.

    Raises
    ------
    SplitError
        The cut is not one of a list of blocks, or the server half has fewer blocks.
    """
    owner, _, place = model.cut.rpartition(".")
    known = dict(model.server.named_modules())
    traced = isinstance(model.server, fx.GraphModule)  # its blocks are not in a list
    if traced or not place.isdigit() or not isinstance(known.get(owner), nn.ModuleList):
        raise SplitError(
            f"cut {model.cut!r} is not a block of a list of blocks, which a head is made from; "
            "cut before one, e.g. layers.3, or give a custom head"
        )
    first, count = int(place), len(list(known[owner].children()))
    if not 1 <= blocks <= count - first:
        raise SplitError(
            f"a head of {blocks} blocks: behind {model.cut!r} the model has {count - first}; "
            f"give 1 to {count - first}"
        )
    body = copy_sharing_frozen(model.server)
    holder, _, name = owner.rpartition(".")
    listed = body.get_submodule(owner).children()
    kept = nn.ModuleList([block for k, block in enumerate(listed) if k < first + blocks])
    setattr(body.get_submodule(holder), name, kept)
    return BlocksHead(body)
