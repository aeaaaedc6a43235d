"""What happened in one round."""

from dataclasses import dataclass, field

from ...splitting import Evaluation


@dataclass
class RoundSummary:
    """What happened in one round.

    Attributes
    ----------
    round : int
        Rounds finished when it ended: the first round is 1.
    clients : int
        Clients whose replies were used.
    given_up : bool
        The round was undone: too few replies were good, or their average was not.
    failures : dict of int to str
        Clients left out, of training or of evaluation, by partition id, with the reason.
    train_loss : float or None
        Mean loss of the server half's steps, weighted by samples.
    validation : Evaluation or None
        Federated evaluation after the round, weighted by examples; None when there was none.
    client_seconds, client_step_seconds : float
        Time that the clients spent on their requests, and of it on forward and backward
        passes; sums over the clients.
    server_seconds : float
        Time in which the server half was trained.
    alignment_seconds : float
        Time in which heads were aligned.
    alignment_cosine, alignment_relative_error : float or None
        Of the heads aligned in this round, over all their newest uploads' samples that are never
        fitted; None when no head was aligned, or there are no such samples.
    """

    round: int
    clients: int = 0
    given_up: bool = False
    failures: dict[int, str] = field(default_factory=dict)
    train_loss: float | None = None
    validation: Evaluation | None = None
    client_seconds: float = 0.0
    client_step_seconds: float = 0.0
    server_seconds: float = 0.0
    alignment_seconds: float = 0.0
    alignment_cosine: float | None = None
    alignment_relative_error: float | None = None


@dataclass(frozen=True)
class StepLoss:
    """Mean loss over the samples of one of a client's batches, or of all of them.

    ``exchange`` is the one of the round in which it was exchanged for its gradient.
    """

    client: int
    loss: float
    samples: int
    exchange: int = 0
