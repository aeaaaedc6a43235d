"""Begin and end a client's round of exchanges."""

import time
from collections.abc import Mapping

from torch import Tensor, nn

from ..messages import TrainReply
from ..splitting import flatten_state
from ..task import SplitTask
from .client_state import ClientState
from .exchange_state import FILE, PendingForward
from .loading import load_weights
from .persistent_optimizer import OPTIMIZER, PersistentOptimizer


def begin_round(
    task: SplitTask,
    half: nn.Module,
    state: ClientState,
    weights: Mapping[str, Tensor] | None,
    mu: float,
    *,
    keep: bool,
    trained_before: bool,
) -> PendingForward:
    """Load the average into a client half, and take up the optimizer of the round before.

    Parameters
    ----------
    task : SplitTask
        Task to train.
    half : nn.Module
        Client half for this round.
    state : ClientState
        The node's files.
    weights : Mapping or None
        The average ``x_c`` of the first message.
    mu : float
        Weight of FedProx's term; 0 for none.
    keep, trained_before : bool
        As in ``TrainRequest``.
    """
    load_weights(half, weights, "client half", task)
    optimizer = task.optimizer_of_client(half)
    kept = PersistentOptimizer(
        optimizer, state, OPTIMIZER, keep=keep, trained_before=trained_before
    )
    return PendingForward.of(half, kept.optimizer, mu, lost=kept.lost)


def end_round(
    task: SplitTask,
    state: ClientState,
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
    task : SplitTask
        Task to train.
    state : ClientState
        The node's files; the file of the exchanges is dropped.
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
        state.save_file(OPTIMIZER, flatten_state(forward.optimizer))
    state.drop(FILE)
    seconds = forward.seconds + time.perf_counter() - began
    return TrainReply(
        round=round_,
        num_examples=forward.examples // task.local_epochs,
        optimizer_state_lost=forward.lost,
        seconds=seconds,
        step_seconds=seconds,
        client_half=task.weights_of(forward.half),
        train_loss=train_loss,
    )
