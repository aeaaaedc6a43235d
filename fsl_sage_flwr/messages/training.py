"""A round of local training: one request and one reply per client."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from .payload import (
    Reply,
    Request,
    figure_field,
    flag_field,
    measure_field,
    smashed_field,
    weights_field,
)
from .records import AUXILIARY, CLIENT_HALF
from .smashed import SmashedBatches


@dataclass(frozen=True, kw_only=True)
class TrainRequest(Request):
    """Train for one round on the client's own data.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    server_update_interval : int
        Batches per upload, ``q``; 0 uploads none.
    keep_optimizer_state : bool
        Go on with the optimizer state of the client's round before.
    trained_before : bool
        The node has trained in this run: if it finds no optimizer state, that is a loss.
    auxiliary_version : int
        Which head to use; the node keeps the last that it was sent.
    client_half : Mapping or None
        The average ``x_c``, or of whole models; None when the node has it already.
    auxiliary : Mapping or None
        The head ``x_a``, when it has changed since the node last got it.
    """

    round: int = figure_field()
    server_update_interval: int = figure_field()
    keep_optimizer_state: bool = flag_field()
    trained_before: bool = flag_field()
    auxiliary_version: int = figure_field()
    client_half: Mapping[str, Tensor] | None = weights_field(CLIENT_HALF, optional=True)
    auxiliary: Mapping[str, Tensor] | None = weights_field(AUXILIARY, optional=True)


@dataclass(frozen=True, kw_only=True)
class TrainReply(Reply):
    """A client's answer to a request to train.

    Attributes
    ----------
    round : int
        The round it belongs to.
    num_examples : int
        What it was trained on, as the objective counts: examples, or tokens; weight of the
        client in the average.
    optimizer_state_lost : bool
        The client had to begin its optimizer afresh.
    seconds, step_seconds : float
        Time that the client spent on the request, and of it on forward and backward passes.
    client_half : Mapping
        The client half ``x_{c,i}`` after the last batch.
    smashed : SmashedBatches or None
        Batches kept for the server; None when there are none.
    auxiliary : Mapping or None
        The head ``x_{a,i}``, where clients train it.
    train_loss : float or None
        Mean loss of the client's steps, where the client knows it.
    """

    round: int = figure_field()
    num_examples: int = figure_field(at_least=1)
    optimizer_state_lost: bool = flag_field()
    seconds: float = measure_field()
    step_seconds: float = measure_field()
    client_half: Mapping[str, Tensor] = weights_field(CLIENT_HALF)
    smashed: SmashedBatches | None = smashed_field(optional=True)
    auxiliary: Mapping[str, Tensor] | None = weights_field(AUXILIARY, optional=True)
    train_loss: float | None = measure_field(optional=True)

    def without_tensors(self) -> Self:
        """Return the reply's figures alone."""
        return replace(self, client_half={}, smashed=None, auxiliary=None)
