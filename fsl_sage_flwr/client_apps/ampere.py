"""Ampere on the client: training on a head's loss, and one upload.

The strategy is ``fsl_sage_flwr.strategies.Ampere``.
"""

from ..nodes.shared_head import train_shared_head
from . import split_frozen

TRAIN = "train.ampere"

HANDLERS = {TRAIN: train_shared_head, **split_frozen.HANDLERS}
