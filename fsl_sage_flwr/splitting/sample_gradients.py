"""The per-sample gradients that a module records for DP-SGD."""

from torch import nn

DP_SGD = "DP-SGD of the client's steps"
# Attribute of a module that holds the recorder of its per-sample gradients.
RECORD = "fsl_sage_sample_gradients"


def forget_sample_gradients(module: nn.Module) -> None:
    """Stop recording per-sample gradients in a module, and release the recorded ones.

    Otherwise a batch without a private step would keep its records in memory.
    """
    recorded = module.__dict__.pop(RECORD, None)
    if recorded is not None:
        recorded.remove()
