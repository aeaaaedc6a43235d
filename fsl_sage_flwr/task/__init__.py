"""Define a training task: the object that strategies and client apps receive."""

from .client_batches import Batch, ClientIdentity, NumberedBatches, TrainBatches, ValidationBatches
from .split_task import CPU, OptimizerFactory, SplitTask, TrainingArguments, adam
from .weights import Weights, load_whole_state, whole_state

__all__ = [
    "CPU",
    "Batch",
    "ClientIdentity",
    "NumberedBatches",
    "OptimizerFactory",
    "SplitTask",
    "TrainBatches",
    "TrainingArguments",
    "ValidationBatches",
    "Weights",
    "adam",
    "load_whole_state",
    "whole_state",
]
