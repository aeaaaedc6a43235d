"""Stages of torchvision's basic blocks (He et al., 2015), and their shortcuts."""

from torch import Tensor, nn
from torch.nn import functional as F


class PaddedShortcut(nn.Module):
    """Shortcut without parameters (He et al., section 3.3, option A).

    Keeps every ``stride``-th position and appends channels of zeros.

    Parameters
    ----------
    added_channels : int
        Number of appended channels.
    stride : int
        Distance between the kept positions.
    """

    def __init__(self, added_channels: int, stride: int) -> None:
        super().__init__()
        self.added_channels = added_channels
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, C + added_channels, H / stride, W / stride)`` from ``(B, C, H, W)``."""
        kept = features[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, 0, self.added_channels))


def projection(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Return the shortcut of a 1×1 convolution and BatchNorm (section 3.3, option B)."""
    convolution = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


def basic_stage(
    channels_in: int,
    channels_out: int,
    blocks: int,
    stride: int = 1,
    shortcut: nn.Module | None = None,
) -> nn.Sequential:
    """Return ``blocks`` basic blocks of two 3×3 convolutions each.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels of the input, and of the output of every block.
    blocks : int
        Number of blocks.
    stride : int
        Stride of the first block.
    shortcut : nn.Module, optional
        Shortcut of the first block, required if the stride or the channels change the shape.
    """
    # Imported here for the reason given in resnet.py.
    from torchvision.models.resnet import BasicBlock

    first = BasicBlock(channels_in, channels_out, stride, shortcut)
    others = (BasicBlock(channels_out, channels_out) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


def initialise(model: nn.Module) -> None:
    """Draw the convolutions' weights as torchvision's ResNets do (normal, by fan-out)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
