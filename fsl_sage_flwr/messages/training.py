"""Declare the request and the reply of a round of local training."""

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

# Flower's FedProx puts this key into the configuration of its requests, for the clients' loss.
PROXIMAL_MU = "proximal-mu"


@dataclass(frozen=True, kw_only=True)
class TrainRequest(Request):
    """Asks a client to train for one round on its data.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    server_update_interval : int
        Batches per upload, ``q``; 0 disables uploads.
    keep_optimizer_state : bool
        Whether the client resumes with the optimizer state of its previous round.
    trained_before : bool
        Whether the node has trained in this run, so that a missing optimizer state is a loss.
    auxiliary_version : int
        Version of the head to use; the node stores the last that it was sent.
    client_half : Mapping or None
        The average ``x_c``, or that of whole models; None if the node has it already.
    auxiliary : Mapping or None
        The head ``x_a``, if it has changed since the node was sent one.
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
    """Returns a client's trained weights and its uploads.

    Attributes
    ----------
    round : int
        Round of the request.
    num_examples : int
        Number of examples, or tokens, as the objective counts; weight of the client in the
        average.
    optimizer_state_lost : bool
        Whether the client has lost its optimizer state and started a new one.
    seconds, step_seconds : float
        Time of the whole request, and of its forward and backward passes.
    client_half : Mapping or None
        The client half ``x_{c,i}`` after the last batch; None if clients do not train it.
    smashed : SmashedBatches or None
        Batches uploaded to the server; None for none.
    auxiliary : Mapping or None
        The head ``x_{a,i}``, where clients train it.
    train_loss : float or None
        Mean loss of the client's steps; None if the client does not compute it.
    """

    round: int = figure_field()
    num_examples: int = figure_field(at_least=1)
    optimizer_state_lost: bool = flag_field()
    seconds: float = measure_field()
    step_seconds: float = measure_field()
    client_half: Mapping[str, Tensor] | None = weights_field(CLIENT_HALF, optional=True)
    smashed: SmashedBatches | None = smashed_field(optional=True)
    auxiliary: Mapping[str, Tensor] | None = weights_field(AUXILIARY, optional=True)
    train_loss: float | None = measure_field(optional=True)

    def without_tensors(self) -> Self:
        """Return the reply without its tensors."""
        return replace(self, client_half=None, smashed=None, auxiliary=None)
