"""An auxiliary head that all clients train and the server averages."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ...messages import PackedWeights, ReplySchema, TrainReply, TrainRequest
from ...splitting import trainable_parameters
from ...task import SplitTask
from ...tensor_store import TensorFile
from ..averaged_state import AveragedState
from ..instruction import Instruction, Instructions
from ..round import Round


class SharedHead(AveragedState):
    """One head for all clients, averaged each round as the client half is.

    It is initialised at random, whatever the task's ``auxiliary_from_server`` is: it is trained
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
        self._task = task
        self._trained: dict[int, TensorFile] = {}

    @property
    def parameters(self) -> Collection[str]:
        """Names of the head's trained parameters."""
        return trainable_parameters(self._task.head).keys()

    def instructions(
        self,
        round_: Round,
        message_type: str,
        server_update_interval: int,
        request: Callable[..., TrainRequest] = TrainRequest,
        *,
        held_out: bool = False,
    ) -> Instructions[TrainReply]:
        """Return a round's instructions: client half and head down, both up again, trained.

        Parameters
        ----------
        round_ : Round
            Its clients get them.
        message_type : str
            Selects the clients' handler.
        server_update_interval : int
            q: batches per upload; 0 disables uploads.
        request : callable
            Makes the request: a payload with more fields than ``TrainRequest``, where the
            algorithm's clients need it.
        held_out : bool
            Uploads may mark samples that nothing must be fitted to.
        """
        smashed = replace(round_.smashed, held_out=held_out) if server_update_interval else None
        expected = ReplySchema(
            equal={"round": round_.number},
            weights={"client_half": round_.client_half_like, "auxiliary": self.weights},
            smashed=smashed,
            weighted_by=round_.weighted_by,
        )
        head = PackedWeights(self.weights)
        problem = partial(round_.problem_with_upload, interval=server_update_interval)
        return {
            client: Instruction(
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

    def collect(self, client: int, head: Mapping[str, Tensor] | None) -> None:
        """Keep the head that a client has trained, until the round ends.

        A head that was trained from an older average is kept as what it counts in this round.
        """
        if head is not None:
            merged = self.merged(client, "auxiliary", head, self.weights)
            self._trained[client] = self.files.write(merged)

    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return the head that a client has trained in this round."""
        return self._trained[client].load()

    def average(self, weights: Mapping[int, float], trained: Iterable[int]) -> None:
        """Average the heads of these clients, each with its client's weight."""
        heads = (self.trained_by(client) for client in weights)
        self.weights = self.combined(self.weights, heads, list(weights.values()))
        self._trained = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the average."""
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the average; the round's heads are discarded."""
        self.weights, self._trained = dict(state["weights"]), {}
