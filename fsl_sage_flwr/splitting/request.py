"""Everything that a cut is made from."""

from dataclasses import dataclass

from torch import Tensor, nn

from .call_memory import CallMemory
from .inputs import Arguments
from .model_state import ModelState
from .other_values import OtherValues


@dataclass(frozen=True)
class Request:
    """A cut to make.

    Attributes
    ----------
    model : nn.Module
        The model.
    state : ModelState
        Its state, to which it is set back after its forward has run.
    at : str
        Full name of the first submodule of the server half.
    example : tuple of Tensor
        Inputs of the model, a batch of at least two samples.
    arguments : Arguments
        How the forward takes them.
    public : frozenset of int
        Positions of the inputs that cross as they are.
    others : OtherValues
        Inputs with other values, if the model accepts them.
    smaller : tuple of Tensor or None
        Inputs of as many samples with smaller sizes; batches may then have any up to the
        example's.
    memory : CallMemory or None
        Outputs of modules, which several cuts of one model share.
    frozen_back : bool
        Whether the server half may have no parameter to train.
    """

    model: nn.Module
    state: ModelState
    at: str
    example: tuple[Tensor, ...]
    arguments: Arguments
    others: OtherValues
    public: frozenset[int] = frozenset()
    smaller: tuple[Tensor, ...] | None = None
    memory: CallMemory | None = None
    frozen_back: bool = False

    @property
    def sized(self) -> list[tuple[Tensor, ...]]:
        """The smaller batch, if there is one."""
        return [] if self.smaller is None else [self.smaller]
