"""An optimizer of a client whose state lasts from round to round."""

import torch

from ..splitting import flatten_state, restore_state
from .client_state import ClientState

OPTIMIZER = "optimizer"
SERVER_OPTIMIZER = "server-optimizer"
AUXILIARY_OPTIMIZER = "auxiliary-optimizer"


class PersistentOptimizer:
    """An optimizer whose state lasts from round to round.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Fresh; its state is restored here.
    state : ClientState
        Where it is kept.
    name : str
        Under which name.
    keep : bool
        False starts every round fresh.
    trained_before : bool
        There should be a state.

    Attributes
    ----------
    lost : bool
        There should have been one and was not.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        state: ClientState,
        name: str,
        *,
        keep: bool,
        trained_before: bool,
    ) -> None:
        self.optimizer = optimizer
        self._state, self._name, self._keep = state, name, keep
        kept = state.load(name) if keep else None
        self.lost = keep and trained_before and kept is None
        if kept is not None:
            restore_state(optimizer, kept)

    def save(self) -> None:
        """Keep the state for the next round."""
        if self._keep:
            self._state.save(self._name, flatten_state(self.optimizer))
