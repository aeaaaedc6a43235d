"""Keep a client optimizer's state between rounds."""

import torch

from ..splitting import flatten_state, restore_state
from .client_state import ClientState

OPTIMIZER = "optimizer"
SERVER_OPTIMIZER = "server-optimizer"
AUXILIARY_OPTIMIZER = "auxiliary-optimizer"


class PersistentOptimizer:
    """An optimizer with a state that lasts between rounds.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        New optimizer; its state is restored here.
    state : ClientState
        Store of the state.
    name : str
        Name in the store.
    keep : bool
        False starts every round without a state.
    trained_before : bool
        Whether a saved state is expected.

    Attributes
    ----------
    lost : bool
        Whether the expected state was missing.
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
        """Save the state for the next round."""
        if self._keep:
            self._state.save(self._name, flatten_state(self.optimizer))
