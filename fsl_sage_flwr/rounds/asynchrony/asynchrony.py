"""Clients that still compute when their round has ended, and the merging of their replies."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...messages import Request, TrainReply
from ...messages.encoding import Decoder
from ..checks.norm_outliers import Sent
from ..instruction import Instruction
from .options import DROPPED, MODEL, WEIGHTED, AsyncOptions


@dataclass(frozen=True)
class BusyClient:
    """A client that still computes its reply to an earlier round.

    Attributes
    ----------
    node : int
        Node of the client.
    awaited : Instruction
        What its reply must look like; without the content of its request.
    sent : Mapping
        Weights that it started from, by their field in its reply, in files.
    decoder : Decoder
        Decoder of its reply, for the weights that it was sent.
    version : int
        Version of these weights: the number of rounds that had counted.
    round : int
        Number of the request's round, from 0.
    """

    node: int
    awaited: Instruction[Any]
    sent: Sent
    decoder: Decoder
    version: int
    round: int


class Asynchrony:
    """Merges replies by their staleness: the number of versions since the client got its weights.

    The weights ``x`` change once a round that counts, when ``buffer`` replies are valid. A reply
    ``y`` with staleness τ, trained from ``z``, counts in the average as

        ``x + α s(τ) (y - z)``    (``update``: FedBuff, arXiv 2106.06639, algorithm 1)

        ``x + α s(τ) (y - x)``    (``model``: FedAsync, arXiv 1903.03934, algorithm 1)

    and so the round's result is ``x`` plus the weighted mean of these steps. Without staleness and
    with α = 1 both are ``y``, with its bits. Running statistics and counters are always
    merged as ``model``: sums of differences of several clients could make a variance negative.

    Replies in flight are in no checkpoint: a resumed run asks their clients again.

    Parameters
    ----------
    options : AsyncOptions
        Its ``buffer`` is at least 1.

    Attributes
    ----------
    options : AsyncOptions
        The settings.
    busy : dict of int to BusyClient
        Clients that still compute, by partition id.
    """

    def __init__(self, options: AsyncOptions) -> None:
        self.options = options
        self.busy: dict[int, BusyClient] = {}
        self._version = 0
        self._late: dict[int, BusyClient] = {}

    def begin(self, version: int) -> Mapping[int, BusyClient]:
        """Begin a round with the weights of a version; return the clients that are busy."""
        self._version, self._late = version, dict(self.busy)
        return self._late

    def staleness_of(self, client: int) -> int:
        """Return the staleness τ of a client's reply in this round, in versions."""
        late = self._late.get(client)
        return 0 if late is None else self._version - late.version

    def round_of(self, client: int, current: int) -> int:
        """Return the round of the request that a client's reply answers."""
        late = self._late.get(client)
        return current if late is None else late.round

    def sent_to(self, client: int) -> Sent | None:
        """Return the weights that a busy client started from; None for those of this round."""
        late = self._late.get(client)
        return None if late is None else late.sent

    def without_dropped(self, client: int, reply: TrainReply) -> TrainReply:
        """Return a reply without smashed data that are to be dropped."""
        if self.options.late == DROPPED and self.staleness_of(client):
            return replace(reply, smashed=None)
        return reply

    def upload_weight(self, client: int) -> float:
        """Return the factor of the server's learning rate on a client's smashed data."""
        if self.options.late != WEIGHTED:
            return 1.0
        return self.options.weight(self.staleness_of(client))

    def merged(
        self,
        client: int,
        field: str,
        trained: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parameters: Collection[str],
    ) -> Mapping[str, Tensor]:
        """Return what a client's trained weights count as in the average.

        Parameters
        ----------
        client : int
            Partition id.
        field : str
            Field of the weights in a reply.
        trained : Mapping
            ``y``: the client's weights.
        now : Mapping
            ``x``: the current weights.
        parameters : collection of str
            Names of the weights that are trained by gradients.
        """
        staleness = self.staleness_of(client)
        share = self.options.mixing * self.options.weight(staleness)
        by_model = self.options.merge == MODEL or staleness == 0
        if share == 1 and by_model:
            return trained
        sent = self.sent_to(client)
        start = now if by_model or sent is None else sent[field]
        return {
            name: _stepped(now[name], value, (start if name in parameters else now)[name], share)
            for name, value in trained.items()
        }

    def keep(self, busy: Mapping[int, BusyClient]) -> None:
        """Replace the clients that still compute, at the end of a round's replies."""
        self.busy = dict(busy)


def awaited(instruction: Instruction[Any]) -> Instruction[Any]:
    """Return an instruction without its request, which holds the weights of its round."""
    return replace(instruction, request=Request())


def _stepped(now: Tensor, trained: Tensor, start: Tensor, share: float) -> Tensor:
    """Return ``now + share (trained - start)``; rounded for integers, in float64 for both."""
    now, trained, start = (value.detach().cpu() for value in (now, trained, start))
    step = share * (trained.double() - start.double())
    # An infinite value that stays, as in an attention mask, has no difference.
    found = torch.where(trained == start, now.double(), now.double() + step)
    return (found if now.is_floating_point() else found.round()).to(now.dtype)
