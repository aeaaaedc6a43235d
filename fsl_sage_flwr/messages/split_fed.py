"""What SplitFed's server and clients say to each other, batch by batch.

Exchange ``k`` of a round takes the gradients of exchange ``k - 1`` down and brings the
smashed data of the next batch (or batches) up. After the last batch the *flush* takes the
last gradients down, and is answered with a ``TrainReply``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from .records import (
    CLIENT_HALF,
    CONFIG,
    GRADIENTS,
    METRICS,
    BadReplyError,
    check_records,
    number,
    tensors_of,
    to_arrays,
)
from .smashed import SmashedBatches, SmashedSpec

SPLIT_FED_EXCHANGE = "query.split_fed_exchange"
SPLIT_FED_FLUSH = "train.split_fed"


@dataclass(frozen=True)
class ExchangeRequest:
    """Step on these gradients, and send the next smashed data; or, in a flush, the result.

    Attributes
    ----------
    round, attempt, exchange : int
        Round ``t``, how often it has begun again, and exchange ``k`` in it, from 0.
    batches_per_exchange : int
        Batches sent forward with the same weights.
    keep_optimizer_state, trained_before : bool
        As in ``TrainRequest``.
    client_half : Mapping or None
        The average ``x_c``, in exchange 0.
    gradients : tuple of Tensor
        Of the mean loss of each batch of the exchange before, with respect to the
        floating-point smashed tensors, batches one after the other; empty in exchange 0.
    """

    round: int
    attempt: int
    exchange: int
    batches_per_exchange: int
    keep_optimizer_state: bool
    trained_before: bool
    client_half: Mapping[str, Tensor] | None = None
    gradients: tuple[Tensor, ...] = ()

    def to_records(self, config: ConfigRecord | None = None) -> RecordDict:
        """Pack for a request, beside what is already in ``config``."""
        merged = ConfigRecord(
            {
                **(config or {}),
                "round": self.round,
                "attempt": self.attempt,
                "exchange": self.exchange,
                "batches-per-exchange": self.batches_per_exchange,
                "keep-optimizer-state": self.keep_optimizer_state,
                "trained-before": self.trained_before,
            }
        )
        content = RecordDict({CONFIG: merged})
        if self.client_half is not None:
            content[CLIENT_HALF] = to_arrays(self.client_half)
        if self.gradients:
            content[GRADIENTS] = to_arrays({str(i): t for i, t in enumerate(self.gradients)})
        return content

    @classmethod
    def from_records(cls, content: RecordDict) -> "ExchangeRequest":
        """Read on the client."""
        config, arrays = content.config_records[CONFIG], content.array_records
        gradients = tensors_of(content, GRADIENTS) if GRADIENTS in arrays else {}
        return cls(
            round=number(config, "round"),
            attempt=number(config, "attempt"),
            exchange=number(config, "exchange"),
            batches_per_exchange=number(config, "batches-per-exchange"),
            keep_optimizer_state=bool(config["keep-optimizer-state"]),
            trained_before=bool(config["trained-before"]),
            client_half=tensors_of(content, CLIENT_HALF) if CLIENT_HALF in arrays else None,
            gradients=tuple(gradients.values()),
        )


@dataclass(frozen=True)
class ExchangeReply:
    """Smashed data of the next batch or batches.

    Attributes
    ----------
    round, exchange : int
        What it answers.
    batches : int
        How many the client's round has in all.
    smashed : SmashedBatches
        One batch, or up to ``batches_per_exchange``.
    """

    round: int
    exchange: int
    batches: int
    smashed: SmashedBatches

    def to_records(self) -> RecordDict:
        """Pack for a reply."""
        metrics = MetricRecord(
            {"round": self.round, "exchange": self.exchange, "batches": self.batches}
        )
        content = RecordDict({METRICS: metrics})
        self.smashed.write_to(content)
        return content

    @classmethod
    def take_from(
        cls,
        content: RecordDict,
        *,
        round_: int,
        exchange: int,
        width: int,
        spec: SmashedSpec,
        promised: int | None = None,
    ) -> "ExchangeReply":
        """Read and check on the server.

        ``width`` is the request's ``batches_per_exchange``; ``promised`` is how many batches
        the client's earlier replies said that its round has.

        Raises
        ------
        BadReplyError
            Anything is missing, of another shape or dtype, not finite, out of range, or
            of another exchange.
        """
        if METRICS not in content.metric_records:
            raise BadReplyError(f"record {METRICS!r} is missing")
        metrics = content.metric_records[METRICS]
        found = number(metrics, "round"), number(metrics, "exchange")
        if found != (round_, exchange):
            raise BadReplyError(
                f"reply of round {found[0]}, exchange {found[1]} in round {round_}, "
                f"exchange {exchange}"
            )
        batches = number(metrics, "batches")
        if promised is not None and batches != promised:
            raise BadReplyError(f"{batches} batches in the round, but {promised} were promised")
        smashed = SmashedBatches.take_from(content, spec)
        check_records(content, {METRICS})
        sent = min(width, batches - exchange * width)
        if len(smashed.batch_sizes) != sent:
            raise BadReplyError(
                f"{len(smashed.batch_sizes)} batches in exchange {exchange}, but {batches} in the "
                f"round: {sent} expected"
            )
        return cls(round_, exchange, batches, smashed)


def join_gradients(batches: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Put the gradients of several batches one after the other, on the CPU."""
    return tuple(torch.cat([t.cpu() for t in column]) for column in zip(*batches, strict=True))
