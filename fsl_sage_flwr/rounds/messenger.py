"""The messages of one round to its clients, and their replies."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ConfigRecord, Message
from torch import Tensor

from ..compression.server import DeltaSync
from ..messages import BadReplyError, open_reply
from ..messages.encoding import Decoder
from ..messages.reply import discard
from .checks.norm_outliers import NormOutlierFilter, Sent
from .exclusions import Exclusions
from .grid.reply_stream import ReplyStream
from .grid.split_grid import SERVER_TIME, SplitGrid
from .instruction import Instruction, Instructions, ReplyT
from .metrics.sample_uploads import SampleUploads
from .round_settings import RoundSettings


class Messenger:
    """Packs instructions into messages, and opens the replies.

    Parameters
    ----------
    grid : SplitGrid
        Sends messages and receives replies.
    nodes : Mapping
        Node of each client in the round.
    config : ConfigRecord
        Configuration that Flower and its wrappers send along.
    settings : RoundSettings
        What the strategy demands of all its rounds.
    downlink : DeltaSync
        What nodes hold of earlier messages, and how messages are coded.
    uploads : SampleUploads
        Counts how often samples are uploaded.
    exclusions : Exclusions
        Takes the clients whose replies are invalid or missing.

    Attributes
    ----------
    client_of : dict of int to int
        Client of each node in the round.
    """

    def __init__(
        self,
        grid: SplitGrid,
        nodes: Mapping[int, int],
        config: ConfigRecord,
        settings: RoundSettings,
        downlink: DeltaSync,
        uploads: SampleUploads,
        exclusions: Exclusions,
    ) -> None:
        self.nodes = nodes
        self.client_of = {node: client for client, node in nodes.items()}
        self._grid, self._config, self._settings = grid, config, settings
        self._downlink, self._uploads, self._exclusions = downlink, uploads, exclusions

    def stream(
        self, instructions: Instructions[Any], quorum_reached: Callable[[], bool]
    ) -> ReplyStream:
        """Return the replies to instructions, which are sent when the stream is iterated."""
        timeout = self._settings.timeout
        return ReplyStream(self._grid, self.messages(instructions), quorum_reached, timeout=timeout)

    def messages(self, instructions: Instructions[Any]) -> Iterator[Message]:
        """Iterate over messages; each is made when it is sent: a round may have a thousand."""
        for client in list(instructions):
            yield self.message(client, instructions[client])

    def message(self, client: int, instruction: Instruction[Any]) -> Message:
        """Return an instruction as a message."""
        node, settings = self.nodes[client], self._settings
        content = instruction.request.pack(self._config, self._downlink.encoder(client, node))
        uploads = instruction.sample_uploads
        if uploads is None:
            expects = instruction.expected.smashed is not None
            uploads = settings.batches.task.local_epochs if expects else 0
        self._uploads.record_training(client, uploads)
        ttl = settings.timeout + SERVER_TIME
        return self._grid.new_message(content, node, instruction.message_type, ttl)

    def read_reply(
        self,
        client: int,
        instruction: Instruction[ReplyT],
        reply: Message,
        decoder: Decoder | None = None,
    ) -> ReplyT | None:
        """Open and check a reply; exclude its client if it is invalid.

        ``decoder`` is that of an earlier round's weights; by default the current one.
        """
        decoder = decoder or self.decoder(client)
        expected = replace(instruction.expected, decoder=decoder)
        try:
            answer = open_reply(reply, instruction.reply, expected, self._settings.max_reply_bytes)
        except BadReplyError as error:
            self._exclusions.add(client, str(error))
            return None
        problem = None if instruction.problem is None else instruction.problem(answer)
        if problem is not None:
            discard(reply)
            self._exclusions.add(client, problem)
            return None
        return answer

    def decoder(self, client: int) -> Decoder:
        """Return the decoder of a client's replies to the weights that it was sent last."""
        return self._downlink.decoder(client)

    def held(self, clients: Iterable[int]) -> list[int]:
        """Return those of the clients whose replies are held for the next round."""
        nodes = self._grid.late.held_nodes
        return [client for client in clients if self.nodes[client] in nodes]

    def is_quorum(self, valid: int, asked: int) -> bool:
        """Tell whether enough replies are valid not to wait for the others."""
        share = self._settings.fraction_reply
        return share < 1 and valid >= min(asked, math.ceil(share * len(self.nodes)))

    def exclude_missing(self, clients: Collection[int], valid: int, asked: int) -> None:
        """Exclude clients without a valid reply, after a stream has ended."""
        for client in clients:
            if client in self._exclusions.reasons:
                continue
            if self.is_quorum(valid, asked):
                reason = f"late: {valid} of {asked} had answered"
                self._exclusions.add(client, reason, blameless=True)
            elif self.nodes[client] not in self._grid.sent_to:
                reason = "not asked: clients asked before it did not answer in time"
                self._exclusions.add(client, reason, blameless=True)
            else:
                timeout = self._settings.timeout
                self._exclusions.add(client, f"no reply within {timeout:g} s")

    def exclude_outliers(self, outliers: NormOutlierFilter) -> None:
        """Exclude clients whose update or smashed data have a norm far above the median."""
        for client, reason in outliers.outliers().items():
            if client not in self._exclusions.reasons:
                self._exclusions.add(client, reason)


def weights_sent(instruction: Instruction[Any], client_half: Mapping[str, Tensor]) -> Sent:
    """Return the weights that a client starts from, by the name that they have in its reply."""
    head = getattr(instruction.request, "auxiliary", None)
    return {"client_half": client_half, "auxiliary": head or {}}
