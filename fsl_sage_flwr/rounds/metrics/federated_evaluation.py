"""Evaluate a round on the clients' validation parts."""

import logging
from collections.abc import Mapping

from flwr.app import Message

from ...messages import BadReplyError, PackedWeights
from ...messages.records import LARGEST
from ...splitting import Evaluation
from ..grid.reply_stream import ReplyStream
from ..grid.split_grid import SplitGrid
from .split_evaluation import SplitEvaluation

log = logging.getLogger("flwr.fsl_sage")


class FederatedEvaluation:
    """Sends the messages of one evaluation, and scores the replies.

    Parameters
    ----------
    evaluation : SplitEvaluation
        Makes the messages, and reads the replies.
    grid : SplitGrid
        Sends messages and receives replies.
    nodes : mapping of int to int
        Nodes of the clients that evaluate, by partition id.

    Attributes
    ----------
    failures : dict of int to str
        Clients without a valid reply, with the reason.
    """

    def __init__(
        self, evaluation: SplitEvaluation, grid: SplitGrid, nodes: Mapping[int, int]
    ) -> None:
        self._evaluation, self._grid = evaluation, grid
        self._clients = {node: client for client, node in nodes.items()}
        self._found: dict[int, Evaluation] = {}
        self.failures: dict[int, str] = {}

    def messages(self, weights: PackedWeights) -> list[Message]:
        """Return each client's message to evaluate weights."""
        return [
            self._evaluation.request(self._grid, weights, client, node)
            for node, client in self._clients.items()
        ]

    def receive(self, stream: ReplyStream) -> list[Message]:
        """Score the clients' last replies as they arrive; return them for Flower's loop."""
        replies = list[Message]()
        for request, reply in stream:
            following = self._score_reply(request, reply)
            if following is None:
                replies.append(reply)
            else:
                stream.send(following)
        return replies

    def _score_reply(self, request: Message, reply: Message) -> Message | None:
        """Score a reply, or return the message that follows it."""
        client = self._clients[request.metadata.dst_node_id]
        try:
            following = self._evaluation.following(self._grid, self._clients, request, reply)
            if following is not None:
                return following
            found = self._evaluation.score(reply)
        except BadReplyError as error:
            self._leave_out(client, str(error))
            return None
        problem = _problem_with(found)
        if problem is None:
            self._found[client] = found
        else:
            self._leave_out(client, problem)
        return None

    def finish(self) -> Evaluation | None:
        """Return the results over all examples; None without a valid reply."""
        for node, client in self._clients.items():
            if client not in self._found and client not in self.failures:
                was_asked = node in self._grid.sent_to
                self._leave_out(client, "no reply in time" if was_asked else "not asked in time")
        if not self._found:
            return None
        return Evaluation.mean([self._found[client] for client in sorted(self._found)])

    def _leave_out(self, client: int, reason: str) -> None:
        self.failures[client] = f"evaluation: {reason}"
        log.warning("client %d is excluded from the evaluation: %s", client, reason)


def _problem_with(found: Evaluation) -> str | None:
    """Return the first figure that makes the mean over all clients not finite."""
    figures = {"loss": found.loss, **{name: score.value for name, score in found.scores.items()}}
    for name, value in figures.items():
        if not abs(value) <= LARGEST:
            return f"not finite: the {name} is {value:.2g} on its validation part"
    return None
