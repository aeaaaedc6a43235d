"""FedAvg of the whole model: the baseline that splits nothing."""

from collections.abc import Mapping, Sequence
from typing import Unpack

from flwr.app import ArrayRecord, Message
from torch import Tensor, nn

from ..algorithm_registry import Algorithm, LineStyle
from ..client_apps.fed_avg import HANDLERS, TRAIN
from ..clock.phases import Down, Steps, Up
from ..config import Options
from ..messages import (
    EVALUATE_FULL_MODEL,
    CommunicationLedger,
    ReplySchema,
    TrainReply,
    TrainRequest,
)
from ..rounds.client_weights import ClientHalfWeights
from ..rounds.instruction import Instruction
from ..rounds.metrics.round_summary import StepLoss
from ..rounds.metrics.split_evaluation import SplitEvaluation
from ..rounds.round import Round, RoundBody
from ..rounds.split_strategy import SplitStrategy
from ..rounds.strategy_arguments import StrategySettings
from ..splitting import Cut, Evaluation, Workload, trainable_parameters
from ..task import SplitTask


class FullModelEvaluation(SplitEvaluation):
    """Takes the results that clients find themselves, as they hold the whole model."""

    kind = EVALUATE_FULL_MODEL
    sends_smashed_data = False

    def score(self, reply: Message) -> Evaluation:
        """Return the results in a reply."""
        return self.scored_by_client(reply)


class WholeModelWeights(ClientHalfWeights):
    """Weights of both halves, by their names in the whole model."""

    def current(self) -> Mapping[str, Tensor]:
        """Return those of the whole model."""
        return self.task.weights_of_both()

    def parameters(self) -> Mapping[str, Tensor]:
        """Return those of both halves."""
        model = self.task.model
        return model.joined(*map(trainable_parameters, (model.client, model.server)))

    def parts(
        self, weights: Mapping[str, Tensor]
    ) -> Sequence[tuple[nn.Module, Mapping[str, Tensor]]]:
        """Return both halves."""
        model = self.task.model
        return list(zip((model.client, model.server), self.task.parted(weights), strict=True))

    def client_half(self, average: ArrayRecord) -> ArrayRecord:
        """Return the client half in an average; load its server half into the model."""
        client, server = self.task.parted(average.to_torch_state_dict())
        self.task.load_weights(self.task.model.server, server)
        return ArrayRecord(dict(client))


class FullModelFedAvg(SplitStrategy):
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
    **settings
        Arguments of every strategy: :class:`StrategyArguments`.
    """

    message_type = TRAIN
    trains = WholeModelWeights
    evaluates = FullModelEvaluation
    sends_weights_alone = True
    replies_may_be_late = True

    def __init__(self, task: SplitTask, **settings: Unpack[StrategySettings]) -> None:
        super().__init__(task, {}, **settings)
        self.ledger = CommunicationLedger(arrays_kind="full_model")

    def train_round(self, round_: Round) -> RoundBody:
        """Send the whole model; record the clients' losses: no server half is trained."""
        instructions = {client: self._instruction(round_, client) for client in round_.clients}
        for client, reply in (yield from round_.finish(instructions)):
            if reply.train_loss is not None:
                round_.losses.append(StepLoss(client, reply.train_loss, reply.num_examples))

    def _instruction(self, round_: Round, client: int) -> Instruction[TrainReply]:
        return Instruction(
            self.message_type,
            TrainRequest(
                round=round_.number,
                server_update_interval=0,
                keep_optimizer_state=round_.keep_optimizer_state,
                trained_before=round_.has_trained(client),
                auxiliary_version=0,
                client_half=round_.client_half,
            ),
            TrainReply,
            ReplySchema(
                equal={"round": round_.number},
                weights={"client_half": round_.client_half_like},
                figures=("train_loss",),
                weighted_by=round_.weighted_by,
            ),
        )


def _strategy(task: SplitTask, options: Options, settings: StrategySettings) -> FullModelFedAvg:
    return FullModelFedAvg(task, **settings)


def _round_bytes(cut: Cut, work: Workload, options: Options) -> int:
    return 2 * (cut.client_bytes + cut.server_bytes)


ALGORITHM = Algorithm(
    name="fed_avg",
    label="FedAvg",
    strategy=_strategy,
    handlers=HANDLERS,
    options=Options,
    round_bytes=_round_bytes,
    replies_may_be_late=True,
    schedule=(Down(), Steps(client=3, server=3), Up()),
    style=LineStyle("#000000", "o", "-"),
    sends_smashed_data=False,
)
