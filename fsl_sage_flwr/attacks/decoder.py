"""Train a decoder that reconstructs inputs from smashed data.

Shapes: ``C H W`` for an image, ``D h w`` for smashed data that are maps.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, NARROWEST = 64, 16
HIDDEN = 512


class Decoder(nn.Module):
    """Reconstructs images, with convolutions and upsampling for maps, otherwise with an MLP.

    Its output is added to the mean image, the best guess without smashed data.

    Parameters
    ----------
    shapes : list of torch.Size
        Shape of each smashed tensor without the sample axis. A single tensor with three axes is a
        map; other tensors are flattened and joined.
    mean_image : Tensor
        ``(C, H, W)``.
    """

    def __init__(self, shapes: list[torch.Size], mean_image: Tensor) -> None:
        super().__init__()
        self.mean_image = nn.Parameter(mean_image.clone())
        is_map = len(shapes) == 1 and len(shapes[0]) == 3 and min(shapes[0][1:]) > 1
        if is_map:
            self.body = _upsampling(shapes[0], mean_image.shape)
        else:
            width = sum(math.prod(shape) for shape in shapes)
            self.body = _perceptron(width, mean_image.numel())
        last = self.body[-1]
        nn.init.zeros_(last.get_parameter("weight"))
        nn.init.zeros_(last.get_parameter("bias"))

    def forward(self, *smashed: Tensor) -> Tensor:
        """Return images ``(B, C, H, W)``."""
        if isinstance(self.body[0], nn.BatchNorm2d):
            inputs = smashed[0].float()
        else:
            inputs = torch.cat([t[:, None].flatten(1).float() for t in smashed], dim=1)
        found: Tensor = self.body(inputs).view(-1, *self.mean_image.shape)
        return found + self.mean_image


def train_decoder(
    decoder: Decoder,
    draw: Callable[[Tensor], tuple[Tensor, ...]],
    images: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> None:
    """Train with Adam on the mean squared error; the rate falls to zero along a cosine.

    Parameters
    ----------
    decoder : Decoder
        Decoder, trained in place; in eval mode afterwards.
    draw : callable
        Returns the smashed data of given rows as sent to the server, with new noise.
    images : Tensor
        ``(N, C, H, W)``, the images of the smashed data.
    steps, batch_size, learning_rate
        Settings of the training.
    generator : torch.Generator
        CPU generator that draws the rows.
    """
    optimizer = torch.optim.Adam(decoder.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    decoder.train()
    for _ in range(steps):
        rows = torch.randint(len(images), (batch_size,), generator=generator)
        error = F.mse_loss(decoder(*draw(rows)), images[rows])
        optimizer.zero_grad()
        torch.autograd.backward(error)
        optimizer.step()
        schedule.step()
    decoder.eval()


def _upsampling(shape: torch.Size, image: torch.Size) -> nn.Sequential:
    doublings = max(0, round(math.log2(image[1] / shape[1])))
    # Only normalises the scale of the smashed data, which may be clipped. Without momentum its
    # statistics are the mean over all steps, however few.
    layers: list[nn.Module] = [nn.BatchNorm2d(shape[0], affine=False, momentum=None)]
    layers += _convolution(shape[0], WIDTH)
    width = WIDTH
    for _ in range(doublings):
        layers += [nn.Upsample(scale_factor=2), *_convolution(width, max(width // 2, NARROWEST))]
        width = max(width // 2, NARROWEST)
    layers += [nn.Upsample(size=tuple(image[1:]), mode="bilinear")]
    layers += [nn.Conv2d(width, image[0], 3, padding=1)]
    return nn.Sequential(*layers)


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _perceptron(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm1d(width, affine=False, momentum=None),
        nn.Linear(width, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, outputs),
    )
