"""The figures of one round."""

from dataclasses import dataclass, field

from ...splitting import Evaluation


@dataclass
class RoundSummary:
    """The figures of one round.

    Attributes
    ----------
    round : int
        Number of the round, from 1.
    clients : int
        Clients whose replies count.
    given_up : bool
        The round was undone: too few replies were valid, or their average was not finite.
    failures : dict of int to str
        Clients excluded from training or evaluation, by partition id, with the reason.
    train_loss : float or None
        Mean loss of the server half's steps, weighted by samples.
    validation : Evaluation or None
        Federated evaluation after the round, weighted by examples; None without one.
    client_seconds, client_step_seconds : float
        Seconds of the clients, in all and on forward and backward passes; sums over clients.
    server_seconds : float
        Seconds of training the server half.
    alignment_seconds : float
        Seconds of aligning heads.
    alignment_cosine, alignment_relative_error : float or None
        Of the heads aligned in this round, over the held-out samples of their newest uploads;
        None when no head was aligned, or no sample is held out.
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

    ``exchange`` is the number of the exchange that the batch was in.
    """

    client: int
    loss: float
    samples: int
    exchange: int = 0
