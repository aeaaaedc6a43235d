"""Auxiliary heads for language models."""

from torch import Tensor, nn

from ..splitting import SplitError, SplitModel, copied


class BlocksHead(nn.Module):
    """The server half with its blocks cut short: its first ones, the last norm and the scores.

    Frozen tensors are the server half's own; what is trained is a copy.

    Parameters
    ----------
    body : nn.Module
        What is left of the server half.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, *smashed: Tensor) -> Tensor:
        """Return scores ``(B, T, V)`` from smashed data."""
        scores: Tensor = self.body(*smashed)
        return scores

    def copy_from(self, server_half: nn.Module) -> None:
        """Copy the server half's current values into what is trained here."""
        theirs = dict(server_half.named_parameters())
        own = {n: theirs[n] for n, p in self.body.named_parameters() if p.requires_grad}
        self.body.load_state_dict(own, strict=False)


def blocks_head(model: SplitModel, blocks: int) -> BlocksHead:
    """Build a head from the first blocks of a server half.

    Parameters
    ----------
    model : SplitModel
        A language model, cut before one of its blocks.
    blocks : int
        How many of the server half's blocks the head has.

    Raises
    ------
    SplitError
        The cut is not one of a list of blocks, or the server half has fewer.
    """
    owner, _, place = model.cut.rpartition(".")
    known = dict(model.server.named_modules())
    if not place.isdigit() or not isinstance(known.get(owner), nn.ModuleList):
        raise SplitError(
            f"cut {model.cut!r} is not a block of a list of blocks, which a head is made from; "
            "cut before one, e.g. layers.3, or give a head of your own"
        )
    first, count = int(place), len(list(known[owner].children()))
    if not 1 <= blocks <= count - first:
        raise SplitError(
            f"a head of {blocks} blocks: behind {model.cut!r} the model has {count - first}; "
            f"give 1 to {count - first}"
        )
    body = copied(model.server)
    holder, _, name = owner.rpartition(".")
    listed = body.get_submodule(owner).children()
    kept = nn.ModuleList([block for k, block in enumerate(listed) if k < first + blocks])
    setattr(body.get_submodule(holder), name, kept)
    return BlocksHead(body)
