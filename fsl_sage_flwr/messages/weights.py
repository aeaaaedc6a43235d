"""Weights to compute with, and nothing to train: FSL-SAGE's probe, and evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict
from torch import Tensor

from .records import CLIENT_HALF, CONFIG, number, tensors_of, to_arrays

FSL_SAGE_PROBE = "query.fsl_sage_probe"


@dataclass(frozen=True)
class WeightsRequest:
    """Ask for what these weights make of the client's data.

    Attributes
    ----------
    round : int
        Round ``t``, from 0.
    weights : Mapping
        The average ``x_c``; FedAvg's evaluation: of full models.
    """

    round: int
    weights: Mapping[str, Tensor]

    def to_records(self) -> RecordDict:
        """Pack for a request."""
        return RecordDict(
            {CLIENT_HALF: to_arrays(self.weights), CONFIG: ConfigRecord({"round": self.round})}
        )

    @classmethod
    def from_records(cls, content: RecordDict) -> "WeightsRequest":
        """Read on the client."""
        config = content.config_records[CONFIG]
        return cls(number(config, "round"), tensors_of(content, CLIENT_HALF))
