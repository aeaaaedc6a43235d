"""A round of local training: one request and one reply per client.

FSL-SAGE, CSE-FSL and FedAvg train so; SplitFed's last message of a round is answered so too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flwr.app import ConfigRecord, MetricRecord, MetricRecordValues, RecordDict
from torch import Tensor

from .records import (
    AUXILIARY,
    CLIENT_HALF,
    CONFIG,
    LABELS,
    METRICS,
    SMASHED,
    BadReplyError,
    check_keys,
    check_like,
    check_records,
    not_negative,
    number,
    tensors_of,
    to_arrays,
)
from .smashed import SmashedBatches, SmashedSpec

FSL_SAGE_TRAIN = "train.fsl_sage"
CSE_FSL_TRAIN = "train.cse_fsl"
FED_AVG_TRAIN = "train.fed_avg"

_METRICS = ("num-examples", "round", "optimizer-state-lost", "seconds", "step-seconds")

Upload = Literal["required", "optional", "none"]


@dataclass(frozen=True)
class TrainRequest:
    """Train for one round on the client's own data.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    server_update_interval : int
        Batches per upload, ``q``; 0 uploads none.
    keep_optimizer_state : bool
        Go on with the optimizer state of the client's round before.
    trained_before : bool
        The node has trained in this run: if it finds no optimizer state, that is a loss.
    auxiliary_version : int
        Which head to use; the node keeps the last that it was sent.
    client_half : Mapping or None
        The average ``x_c`` (FedAvg: of full models); None right after a probe, which
        carried it.
    auxiliary : Mapping or None
        The head ``x_a``, when it has changed since the node last got it.
    """

    round: int
    server_update_interval: int
    keep_optimizer_state: bool
    trained_before: bool
    auxiliary_version: int
    client_half: Mapping[str, Tensor] | None
    auxiliary: Mapping[str, Tensor] | None

    def to_records(self, config: ConfigRecord | None = None) -> RecordDict:
        """Pack for a request, beside what is already in ``config``."""
        merged = ConfigRecord(
            {
                **(config or {}),
                "round": self.round,
                "server-update-interval": self.server_update_interval,
                "keep-optimizer-state": self.keep_optimizer_state,
                "trained-before": self.trained_before,
                "auxiliary-version": self.auxiliary_version,
            }
        )
        content = RecordDict({CONFIG: merged})
        if self.client_half is not None:
            content[CLIENT_HALF] = to_arrays(self.client_half)
        if self.auxiliary is not None:
            content[AUXILIARY] = to_arrays(self.auxiliary)
        return content

    @classmethod
    def from_records(cls, content: RecordDict) -> "TrainRequest":
        """Read on the client."""
        config = content.config_records[CONFIG]
        arrays = content.array_records
        return cls(
            round=number(config, "round"),
            server_update_interval=number(config, "server-update-interval"),
            keep_optimizer_state=bool(config["keep-optimizer-state"]),
            trained_before=bool(config["trained-before"]),
            auxiliary_version=number(config, "auxiliary-version"),
            client_half=tensors_of(content, CLIENT_HALF) if CLIENT_HALF in arrays else None,
            auxiliary=tensors_of(content, AUXILIARY) if AUXILIARY in arrays else None,
        )


@dataclass(frozen=True)
class TrainReply:
    """A client's answer to a :class:`TrainRequest`.

    Attributes
    ----------
    round : int
        The round it belongs to.
    num_examples : int
        Weight of the client in the average.
    optimizer_state_lost : bool
        The client had to begin its optimizer afresh.
    seconds, step_seconds : float
        Time that the client spent on the request, and of it on forward and backward passes.
    client_half : Mapping
        The client half ``x_{c,i}`` after the last batch.
    smashed : SmashedBatches or None
        Batches kept for the server; None when there are none, or all went with the probe.
    auxiliary : Mapping or None
        The head ``x_{a,i}``, where clients train it.
    train_loss : float or None
        Mean loss of the client's steps, where the client knows it.
    """

    round: int
    num_examples: int
    optimizer_state_lost: bool
    seconds: float
    step_seconds: float
    client_half: Mapping[str, Tensor]
    smashed: SmashedBatches | None = None
    auxiliary: Mapping[str, Tensor] | None = None
    train_loss: float | None = None

    def to_records(self) -> RecordDict:
        """Pack for a reply."""
        metrics: dict[str, MetricRecordValues] = {
            "num-examples": self.num_examples,
            "round": self.round,
            "optimizer-state-lost": int(self.optimizer_state_lost),
            "seconds": self.seconds,
            "step-seconds": self.step_seconds,
        }
        if self.train_loss is not None:
            metrics["train-loss"] = self.train_loss
        content = RecordDict(
            {CLIENT_HALF: to_arrays(self.client_half), METRICS: MetricRecord(metrics)}
        )
        if self.smashed is not None:
            self.smashed.write_to(content)
        if self.auxiliary is not None:
            content[AUXILIARY] = to_arrays(self.auxiliary)
        return content

    @classmethod
    def take_from(
        cls,
        content: RecordDict,
        *,
        expected_round: int,
        client_half: Mapping[str, Tensor],
        spec: SmashedSpec,
        upload: Upload = "none",
        auxiliary: Mapping[str, Tensor] | None = None,
        train_loss: bool = False,
        weighted_by_key: str = "num-examples",
    ) -> "TrainReply":
        """Read and check on the server, and leave in ``content`` what Flower averages.

        ``client_half`` and ``auxiliary`` are what the reply's must look like; no
        ``auxiliary``, and one in the reply is refused. With ``train_loss`` there must be one.

        Raises
        ------
        BadReplyError
            Anything is missing, of another shape or dtype, not finite, out of range, or
            of another round.
        """
        if list(content.metric_records) != [METRICS]:
            raise BadReplyError(f"record {METRICS!r} is missing or not the only MetricRecord")
        metrics = content.metric_records[METRICS]
        loss = {"train-loss"} if train_loss else set[str]()
        check_keys(metrics, {*_METRICS, weighted_by_key, *loss})
        if number(metrics, "round") != expected_round:
            raise BadReplyError(f"reply of round {metrics['round']!r} in round {expected_round}")
        weight = metrics.get(weighted_by_key)
        if not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise BadReplyError(f"{weighted_by_key!r} is {weight!r}; a positive number is needed")
        half = tensors_of(content, CLIENT_HALF)
        check_like(half, client_half, CLIENT_HALF)
        smashed = head = None
        there = SMASHED in content or LABELS in content
        if upload == "required" or (upload == "optional" and there):
            smashed = SmashedBatches.take_from(content, spec)
        if auxiliary is not None:
            head = tensors_of(content, AUXILIARY)
            check_like(head, auxiliary, AUXILIARY)
            del content[AUXILIARY]
        if number(metrics, "num-examples") < 1:
            raise BadReplyError(
                f"'num-examples' is {metrics['num-examples']!r}; 1 or more is needed"
            )
        check_records(content, {CLIENT_HALF, METRICS})
        return cls(
            round=expected_round,
            num_examples=number(metrics, "num-examples"),
            optimizer_state_lost=bool(number(metrics, "optimizer-state-lost")),
            seconds=not_negative(metrics, "seconds"),
            step_seconds=not_negative(metrics, "step-seconds"),
            client_half=half,
            smashed=smashed,
            auxiliary=head,
            train_loss=not_negative(metrics, "train-loss") if train_loss else None,
        )
