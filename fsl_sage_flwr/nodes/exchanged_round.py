"""A node's part in a round of exchanges, from its first message to its last."""

import time
from collections.abc import Mapping

from flwr.app import Context
from torch import Tensor, nn

from ..messages import MissingPayloadError, TrainReply
from ..splitting import flatten_state
from ..task import SplitTask
from .client_state import ClientState
from .exchange_state import FILE, PendingForward
from .identity import identify
from .loading import load_weights
from .persistent_optimizer import OPTIMIZER, PersistentOptimizer


class ExchangedRound:
    """Begins a round of exchanges on a node, resumes it after each message, and ends it.

    Parameters
    ----------
    context : Context
        The node's.
    task : SplitTask
        Task to train.
    mu : float
        Weight of FedProx's term; 0 for none.

    Attributes
    ----------
    client : ClientIdentity
        The node's client.
    state : ClientState
        The node's files.
    """

    def __init__(self, context: Context, task: SplitTask, mu: float) -> None:
        self.client, self.state = identify(context), ClientState(context)
        self._task, self._mu = task, mu

    def begin(
        self,
        half: nn.Module,
        weights: Mapping[str, Tensor] | None,
        *,
        keep: bool,
        trained_before: bool,
    ) -> PendingForward:
        """Load the average into a client half, and take up the optimizer of the round before.

        Parameters
        ----------
        half : nn.Module
            Client half for this round.
        weights : Mapping or None
            The average ``x_c`` of the first message.
        keep, trained_before : bool
            As in ``TrainRequest``.
        """
        load_weights(half, weights, "client half", self._task)
        optimizer = self._task.optimizer_of_client(half)
        kept = PersistentOptimizer(
            optimizer, self.state, OPTIMIZER, keep=keep, trained_before=trained_before
        )
        return PendingForward.of(half, kept.optimizer, self._mu, lost=kept.lost)

    def resume(self, half: nn.Module, exchange: int, version: int) -> PendingForward:
        """Load what was saved before an exchange's pass into a client half.

        Raises
        ------
        MissingPayloadError
            The node has no file of this version.
        """
        forward = PendingForward.of(half, self._task.optimizer_of_client(half), self._mu)
        if not forward.load(self.state, version):
            raise MissingPayloadError(f"exchange {exchange} of the round is gone from this node")
        return forward

    def end(
        self,
        forward: PendingForward,
        round_: int,
        began: float,
        *,
        keep: bool,
        train_loss: float | None = None,
    ) -> TrainReply:
        """Keep the optimizer for the next round, and return the last reply.

        Parameters
        ----------
        forward : PendingForward
            Client half after its last step.
        round_ : int
            Round ``t``.
        began : float
            ``time.perf_counter()`` at the beginning of the last message.
        keep : bool
            Whether the optimizer's state outlives the round.
        train_loss : float, optional
            Mean loss of the round, where the client has computed it.
        """
        if keep:
            # In a file, since context.state travels with every message of the next round.
            self.state.save_file(OPTIMIZER, flatten_state(forward.optimizer))
        self.state.drop(FILE)
        seconds = forward.seconds + time.perf_counter() - began
        return TrainReply(
            round=round_,
            num_examples=forward.examples // self._task.local_epochs,
            optimizer_state_lost=forward.lost,
            seconds=seconds,
            step_seconds=seconds,
            client_half=self._task.weights_of(forward.half),
            train_loss=train_loss,
        )
