"""Auxiliary head for models with a server half of bottleneck blocks."""

from torch import Tensor, nn

from .residual import basic_stage, initialise, projection


def basic_head(smashed: tuple[Tensor, ...], num_classes: int, *, blocks: int) -> nn.Module:
    """Return one stage of basic blocks, global average pooling and a linear layer.

    The stage halves height, width and channels. FSL-SAGE uses this head for a server half of
    bottleneck blocks. It shares no part with the server half, so it has no ``copy_from`` and starts
    from random weights.

    Parameters
    ----------
    smashed : tuple of Tensor
        Example smashed data, one tensor ``(B, C, H, W)``.
    num_classes : int
        Number of classes.
    blocks : int
        Number of blocks in the stage, as in the server half's first stage.
    """
    channels_in = smashed[0].shape[1]
    channels_out = channels_in // 2
    shortcut = projection(channels_in, channels_out, stride=2)
    head = nn.Sequential(
        basic_stage(channels_in, channels_out, blocks, 2, shortcut),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels_out, num_classes),
    )
    initialise(head)
    return head
