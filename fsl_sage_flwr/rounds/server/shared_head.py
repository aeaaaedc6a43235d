"""An auxiliary head that all clients train and the server averages."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ...messages import PackedWeights, ReplySchema, TrainReply, TrainRequest
from ...task import SplitTask
from ...tensor_store import TensorFile
from ..part import AveragedPart
from ..question import Question, Questions
from ..round import Round


class SharedHead(AveragedPart):
    """One head for all clients, averaged each round as the client half is.

    It begins at random, whatever the task's ``auxiliary_from_server`` says: it is trained
    on the labels, not aligned with the server half.

    Parameters
    ----------
    task : SplitTask
        Builds the head.

    Attributes
    ----------
    weights : dict of str to Tensor
        The average, on the CPU.
    """

    def __init__(self, task: SplitTask) -> None:
        head = task.weights_of(task.new_head("shared"))
        self.weights = {name: tensor.cpu() for name, tensor in head.items()}
        self._trained: dict[int, TensorFile] = {}

    def questions(
        self,
        round_: Round,
        message_type: str,
        server_update_interval: int,
        request: Callable[..., TrainRequest] = TrainRequest,
        *,
        held_out: bool = False,
    ) -> Questions[TrainReply]:
        """Return what clients are sent: client half and head; all of it comes back trained.

        Parameters
        ----------
        round_ : Round
            Whose clients are asked.
        message_type : str
            What they do with it.
        server_update_interval : int
            q: batches per upload.
        request : callable
            Makes the request: a payload that says more than ``TrainRequest``, where the
            algorithm's clients need it.
        held_out : bool
            Uploads may mark samples that nothing must be fitted to.
        """
        expected = ReplySchema(
            equal={"round": round_.number},
            weights={"client_half": round_.client_half_like, "auxiliary": self.weights},
            smashed=replace(round_.smashed, held_out=held_out),
            weighted_by=round_.weighted_by,
        )
        head, self._trained = PackedWeights(self.weights), {}
        problem = partial(round_.problem_with_upload, interval=server_update_interval)
        return {
            client: Question(
                message_type,
                request(
                    round=round_.number,
                    server_update_interval=server_update_interval,
                    keep_optimizer_state=round_.keep_optimizer_state,
                    trained_before=round_.has_trained(client),
                    auxiliary_version=round_.number,
                    client_half=round_.client_half,
                    auxiliary=head,
                ),
                TrainReply,
                expected,
                problem=problem,
            )
            for client in round_.clients
        }

    def keep(self, client: int, reply: TrainReply) -> None:
        """Keep the head that a client has trained, until the round ends."""
        if reply.auxiliary is not None:
            self._trained[client] = self.files.write(reply.auxiliary)

    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return the head that a client has trained in this round."""
        return self._trained[client].load()

    def average(self, weights: Mapping[int, float]) -> None:
        """Average the heads of these clients, each with its client's weight."""
        heads = (self.trained_by(client) for client in weights)
        self.weights = self.aggregation.of_states(heads, list(weights.values()))
        self._trained = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the average."""
        return {"head": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.weights = dict(state["head"])
