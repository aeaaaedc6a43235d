"""The decoder: any smashed data in, images out, and no worse than a guess."""

import pytest
import torch

from fsl_sage_flwr.attacks.decoder import Decoder, train_decoder

MEAN = torch.rand(3, 10, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "smashed",
    [
        (torch.rand(4, 5, 3, 3),),
        (torch.rand(4, 5, 10, 12),),
        (torch.rand(4, 5, 1, 1),),
        (torch.rand(4, 7),),
        (torch.rand(4, 2, 6), torch.randint(2, (4, 3)), torch.rand(4)),
    ],
)
def test_it_begins_with_the_mean_image_whatever_crosses_the_cut(
    smashed: tuple[torch.Tensor, ...],
) -> None:
    decoder = Decoder([tensor.shape[1:] for tensor in smashed], MEAN)
    images = decoder(*smashed)
    assert torch.equal(images, MEAN.expand(4, 3, 10, 12))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 6, 6), (108,)])
def test_it_gets_back_what_is_only_hidden_by_scale_and_order(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = torch.rand(100, 3, 6, 6).round()
    smashed = 1e-3 * images.flip(1).reshape(100, *shape) + 7
    decoder = Decoder([smashed.shape[1:]], images.mean(dim=0))
    train_decoder(
        decoder, lambda rows: (smashed[rows],), images,
        steps=60, batch_size=20, learning_rate=1e-2,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    with torch.no_grad():
        error = float((decoder(smashed) - images).square().mean())
    assert error < 0.15 < 0.2 < float((images.mean(dim=0) - images).square().mean())
