"""The auxiliary head of the models whose server half is made of bottleneck blocks."""

from torch import Tensor, nn

from .residual import basic_stage, initialise, projection


def basic_head(smashed: tuple[Tensor, ...], num_classes: int, *, blocks: int) -> nn.Module:
    """Return one stage of basic blocks, global average pooling and a linear layer.

    The stage halves both the positions and the channels. It is FSL-SAGE's head for a
    server half of bottleneck blocks; none of it is the server half's, so that it has no
    ``copy_from`` and begins at random.

    Parameters
    ----------
    smashed : tuple of Tensor
        Example smashed data, one tensor ``(B, C, H, W)``.
    num_classes : int
        Number of classes.
    blocks : int
        Blocks of the stage: as many as the server half's first stage has.
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
