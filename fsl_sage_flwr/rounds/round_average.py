"""Average what the clients of a round trained."""

import logging
from collections.abc import Mapping, Sequence

from flwr.app import ArrayRecord, Message

from ..messages.arrays import to_arrays
from ..state import State
from .aggregation.aggregation import Aggregation
from .aggregation.fed_opt import FedOpt, ServerStep
from .asynchrony.asynchrony import Asynchrony
from .averaged_state import AveragedState
from .client_weights import ClientHalfWeights
from .open_round import OpenRound

log = logging.getLogger("flwr.fsl_sage")


class RoundAverage:
    """Averages client halves, and has averaged states aggregate in the same way.

    Parameters
    ----------
    trained : ClientHalfWeights
        What clients train.
    states : Mapping
        The strategy's states by name; each averaged one gets the aggregation, and its own
        optimizer on the server.
    aggregation : Aggregation
        How the clients' results become one.
    asynchrony : Asynchrony or None
        Merges replies to earlier rounds.
    fed_opt : callable or None
        Makes the optimizers on the server; None takes the average.
    """

    def __init__(
        self,
        trained: ClientHalfWeights,
        states: Mapping[str, State],
        aggregation: Aggregation,
        asynchrony: Asynchrony | None,
        fed_opt: FedOpt | None,
    ) -> None:
        self._trained, self._aggregation, self._asynchrony = trained, aggregation, asynchrony
        self.server_steps = dict[str, ServerStep]()
        for name, state in states.items():
            if isinstance(state, AveragedState):
                state.aggregation, state.asynchrony = aggregation, asynchrony
                if fed_opt is not None:
                    state.server_step = ServerStep(fed_opt, state.parameters)
                    self.server_steps[f"{name}_step"] = state.server_step
        self._step: ServerStep | None = None
        if fed_opt is not None:
            self._step = ServerStep(fed_opt, trained.parameters().keys())
            self.server_steps["client_half_step"] = self._step

    def of_client_halves(
        self,
        round_: OpenRound,
        counted: Mapping[int, Message],
        key: str | None,
        states: Mapping[str, AveragedState],
    ) -> ArrayRecord:
        """Choose the clients to average, and return the average of their client halves.

        Parameters
        ----------
        round_ : OpenRound
            Gets the choice.
        counted : Mapping
            The messages that count, by client.
        key : str or None
            Record of the trained weights; None where clients train none: the weights that they
            were sent are returned.
        states : Mapping
            States that the round averages; a choice of clients is over them too.
        """
        records = dict[int, ArrayRecord]()
        if key is not None:
            records = self._merged(
                {c: message.content.array_records[key] for c, message in counted.items()}, round_
            )
        self._choose(round_, list(counted), records, list(states.values()))
        if key is None:
            return round_.arrays
        weights = {c: weight for c, weight in round_.weights.items() if c in counted}
        averaged = [record for c, record in records.items() if c in weights]
        average = self._aggregation.of_records(averaged, list(weights.values()))
        if self._step is None:
            return average
        before, after = (a.to_torch_state_dict() for a in (round_.arrays, average))
        return to_arrays(self._step.step(before, after))

    def _merged(
        self, records: Mapping[int, ArrayRecord], round_: OpenRound
    ) -> dict[int, ArrayRecord]:
        """Return the records with those that stale replies count as in place of them."""
        if self._asynchrony is None:
            return dict(records)
        names, now = self._trained.parameters().keys(), round_.arrays.to_torch_state_dict()
        found = {}
        for client, record in records.items():
            trained = record.to_torch_state_dict()
            merged = self._asynchrony.merged(client, "client_half", trained, now, names)
            found[client] = record if merged is trained else to_arrays(merged)
        return found

    def _choose(
        self,
        round_: OpenRound,
        clients: Sequence[int],
        records: Mapping[int, ArrayRecord],
        states: Sequence[AveragedState],
    ) -> None:
        """Choose the clients to average, once for all of their results."""
        if not self._aggregation.chooses or not (records or states):
            return
        trained = {
            client: [
                *([records[client].to_torch_state_dict()] if client in records else []),
                *(state.trained_by(client) for state in states),
            ]
            for client in clients
        }
        chosen = self._aggregation.choose(trained)
        round_.average_only(chosen)
        log.info(
            "round %d: %s averages clients %s", round_.number + 1, self._aggregation.rule, chosen
        )
