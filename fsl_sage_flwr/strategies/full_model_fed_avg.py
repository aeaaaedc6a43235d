"""FedAvg of the whole model: the baseline that splits nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ..messages import (
    EVALUATE_FULL_MODEL,
    FED_AVG_TRAIN,
    CommunicationLedger,
    EvaluateReply,
    TrainReply,
    TrainRequest,
)
from ..splitting import Evaluation
from ..task import Batch, SplitTask
from .evaluation import evaluate_halves
from .round_summary import StepLoss
from .split_grid import SplitGrid
from .split_strategy import SplitStrategy


class FullModelFedAvg(SplitStrategy[TrainReply]):
    """FedAvg (McMahan et al., arXiv 1602.05629): clients train client half and server half.

    Flower's ``FedAvg`` over both halves together, with this package's byte ledger, seeded
    sampling, checks of replies and checkpoints, so that it compares with the others. Each
    half has its own optimizer, as in the other algorithms. (The reference's "FedAvg"
    shares one server half among its clients, and averages only the client half.)

    The client's half of the contract is ``fsl_sage_flwr.client_apps.fed_avg``.

    Parameters
    ----------
    task : SplitTask
        What is trained; a client holds the server half too.
    **strategy
        Arguments of :class:`SplitStrategy` and Flower's ``FedAvg``.
    """

    message_type = FED_AVG_TRAIN
    evaluation_type = EVALUATE_FULL_MODEL
    sends_weights_alone = True

    def __init__(self, task: SplitTask, **strategy: Any) -> None:
        super().__init__(task, **strategy)
        self.ledger = CommunicationLedger(arrays_kind="full_model")
        self._like = {name: t.cpu() for name, t in task.model.merged_state_dict().items()}

    def initial_arrays(self) -> ArrayRecord:
        """Return the whole model as it is, the ``initial_arrays`` of ``start``."""
        return ArrayRecord(dict(self.task.model.merged_state_dict()))

    def evaluate(self, arrays: ArrayRecord, batches: Callable[[], Iterable[Batch]]) -> Evaluation:
        """Evaluate an average of whole models on the server."""
        client, server = self.model_state(arrays)
        self.task.model.server.load_state_dict(server)
        return evaluate_halves(self.task, ArrayRecord(client), batches)

    def model_state(self, arrays: ArrayRecord) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the state_dicts of both halves in an average."""
        whole = arrays.to_torch_state_dict()
        model = self.task.model
        client = {name: whole[name] for name in model.client.state_dict()}
        return client, {name: whole[name] for name in model.server.state_dict()}

    def _requests(
        self, clients: list[int], arrays: ArrayRecord, config: ConfigRecord, grid: SplitGrid
    ) -> dict[int, RecordDict]:
        whole = arrays.to_torch_state_dict()
        return {
            client: TrainRequest(
                round=self.rounds_done,
                server_update_interval=0,
                keep_optimizer_state=self.keep_optimizer_state,
                trained_before=self._trained_before(client),
                auxiliary_version=0,
                client_half=whole,
                auxiliary=None,
            ).to_records(config)
            for client in clients
        }

    def _read(self, client: int, content: RecordDict) -> TrainReply:
        return TrainReply.take_from(
            content,
            expected_round=self.rounds_done,
            client_half=self._like,
            spec=self._spec,
            train_loss=True,
            weighted_by_key=self.weighted_by_key,
        )

    def _score(self, content: RecordDict) -> Evaluation:
        """Take the results that a client found by itself: it holds the whole model."""
        reply = EvaluateReply.from_records(content, self.rounds_done)
        return Evaluation(reply.loss, reply.accuracy, reply.num_examples)

    def _serve(self, client: int, reply: TrainReply) -> None:
        """Do nothing: there is no server half to train."""

    def _finish(self, replies: Mapping[int, TrainReply]) -> None:
        self._losses = [
            StepLoss(client, reply.train_loss, reply.num_examples)
            for client, reply in replies.items()
            if reply.train_loss is not None
        ]
        self._note(replies)

    def _save_server(self) -> Any:
        return ()

    def _restore_server(self, saved: Any) -> None:
        """Do nothing: the average is Flower's to keep."""
