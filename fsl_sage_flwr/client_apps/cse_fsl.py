"""CSE-FSL on the client: a head's own loss trains head and client half.

The strategy is ``fsl_sage_flwr.strategies.CseFsl``.
"""

from ..nodes.shared_head import train_shared_head

TRAIN = "train.cse_fsl"

HANDLERS = {TRAIN: train_shared_head}
