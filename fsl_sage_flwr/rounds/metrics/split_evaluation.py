"""Messages of an evaluation on the clients' validation parts, and what their replies score."""

from collections.abc import Mapping
from dataclasses import replace

from flwr.app import Message

from ...compression.server import DeltaSync
from ...messages import (
    EVALUATE_SPLIT,
    EVALUATE_TAIL,
    BadReplyError,
    EvaluateReply,
    PackedWeights,
    ReplySchema,
    SmashedReply,
    SmashedSpec,
    TailEvaluation,
    UnlabelledReply,
    WeightsRequest,
    open_reply,
)
from ...splitting import Evaluation
from ...task import SplitTask
from ..grid.split_grid import SERVER_TIME, SplitGrid
from .evaluation import evaluate_server_half, evaluation_in, hidden_states


class SplitEvaluation:
    """Evaluates smashed data of the clients on the server; with a tail, on the clients.

    Parameters
    ----------
    task : SplitTask
        What is evaluated.
    smashed : SmashedSpec
        What a client's smashed data must be.
    downlink : DeltaSync
        Codes the messages.
    round_ : int
        Rounds done.
    timeout : float
        Seconds that a client has.
    max_reply_bytes : int
        Largest size of a reply in bytes.
    """

    kind = EVALUATE_SPLIT
    sends_smashed_data = True

    def __init__(
        self,
        task: SplitTask,
        smashed: SmashedSpec,
        downlink: DeltaSync,
        round_: int,
        timeout: float,
        max_reply_bytes: int,
    ) -> None:
        self.task, self.round, self.max_reply_bytes = task, round_, max_reply_bytes
        self._smashed, self._downlink, self._timeout = smashed, downlink, timeout

    def request(self, grid: SplitGrid, weights: PackedWeights, client: int, node: int) -> Message:
        """Return the message that asks a client to evaluate weights."""
        return self._message(
            grid, WeightsRequest(round=self.round, weights=weights), client, node, self.kind
        )

    def score(self, reply: Message) -> Evaluation:
        """Return the results of a client's last reply.

        Raises
        ------
        BadReplyError
            The reply is not valid.
        """
        if self.task.model.tail is not None:
            return self.scored_by_client(reply)
        # In eval mode nothing normalises over a batch, so a batch may have one sample.
        spec = replace(self._smashed, smallest_batch=1)
        expected = ReplySchema(smashed=spec, decoder=self._downlink.decoder(None))
        answer = open_reply(reply, SmashedReply, expected, self.max_reply_bytes)
        found = evaluate_server_half(self.task, answer.smashed)
        if not found.num_examples:
            raise BadReplyError("none of the labels of its validation examples counts")
        return found

    def following(
        self, grid: SplitGrid, clients: Mapping[int, int], request: Message, reply: Message
    ) -> Message | None:
        """Return the second message to a client with a tail, hidden states; None after the last.

        Parameters
        ----------
        grid : SplitGrid
            Makes the message.
        clients : mapping of int to int
            Partition ids by node id.
        request, reply : Message
            The client's last messages.

        Raises
        ------
        BadReplyError
            The reply is not valid.
        """
        node = request.metadata.dst_node_id
        if self.task.model.tail is None or request.metadata.message_type == EVALUATE_TAIL:
            return None
        expected = ReplySchema(
            batch={"smashed": self._smashed.tensors}, decoder=self._downlink.decoder(None)
        )
        answer = open_reply(reply, UnlabelledReply, expected, self.max_reply_bytes)
        hidden = TailEvaluation(round=self.round, hidden=hidden_states(self.task, answer.smashed))
        return self._message(grid, hidden, clients[node], node, EVALUATE_TAIL)

    def scored_by_client(self, reply: Message) -> Evaluation:
        """Return the results that a client has computed itself."""
        names = self.task.objective.score_names
        expected = ReplySchema(equal={"round": self.round}, scores=names)
        return evaluation_in(
            open_reply(reply, EvaluateReply, expected, self.max_reply_bytes), names
        )

    def _message(
        self,
        grid: SplitGrid,
        request: WeightsRequest | TailEvaluation,
        client: int,
        node: int,
        kind: str,
    ) -> Message:
        content = request.pack(encoder=self._downlink.encoder(client, node))
        return grid.new_message(content, node, kind, self._timeout + SERVER_TIME)
