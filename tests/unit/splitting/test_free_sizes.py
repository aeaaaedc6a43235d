"""Batches with other sizes than the example's: padded texts, images of several scales."""

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import SplitError, as_tensors, split
from fsl_sage_flwr.splitting.joining import concatenated

from ...cutting import assert_same_as_uncut, crossing_of
from ...readers import LONGEST, WORDS, Reader
from .test_skips import UNet


def texts(count: int, longest: int) -> dict[str, Tensor]:
    mask = (torch.arange(longest) < torch.randint(1, longest + 1, (count, 1))).long()
    return {"input_ids": torch.randint(WORDS, (count, longest)), "attention_mask": mask}


@pytest.mark.slow
def test_texts_of_any_length() -> None:
    torch.manual_seed(0)
    model = Reader()
    halves = split(
        model, "encoder.layers.1", texts(3, LONGEST),
        public=("attention_mask",), smaller=texts(3, LONGEST - 2),
    )  # fmt: skip
    longer = texts(3, 3 * LONGEST)
    assert_same_as_uncut(model, halves, texts(4, LONGEST), texts(2, 3), texts(5, 1), longer)
    # Each batch crosses with its own sizes, and these cross with it.
    for length in (3, 2 * LONGEST):
        assert crossing_of(halves, texts(4, length)) == [
            ((4, length, 8), torch.float32), ((4, length), torch.int64), ((4, 1), torch.int64),
        ]  # fmt: skip
    assert halves.free == (((1, 0),), ((1, 0),), ())


@pytest.mark.slow
def test_samples_of_batches_of_several_sizes_may_be_mixed() -> None:
    """An alignment does this: the samples are those of one batch, padded to the longest."""
    torch.manual_seed(0)
    model = Reader()
    halves = split(
        model, "encoder.layers.1", texts(3, LONGEST),
        public=("attention_mask",), smaller=texts(3, LONGEST - 2),
    )  # fmt: skip
    halves.client.eval()
    halves.server.eval()
    short, long = (as_tensors(halves.client(*as_tensors(texts(2, k)))) for k in (3, 5))
    mixed = halves.server(*(concatenated(pair) for pair in zip(short, long, strict=True)))["logits"]
    alone = [halves.server(*one)["logits"] for one in (short, long)]
    assert torch.allclose(mixed, torch.cat(alone), atol=1e-6)


@pytest.mark.slow
def test_without_a_smaller_batch_other_sizes_are_refused_by_the_client() -> None:
    torch.manual_seed(0)
    halves = split(Reader(), "encoder.layers.1", texts(3, 6), public=("attention_mask",))
    with pytest.raises(SplitError, match=r"'attention_mask' has shape \(2, 4\); when the model"):
        halves.client(*as_tensors(texts(2, 4)))


class Plain(nn.Module):
    """Can be traced; pools its maps."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.scores = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        small = F.interpolate(F.max_pool2d(h, 2), size=h.shape[-2:])
        return self.scores(self.b(torch.cat([h, small], dim=1)).mean(dim=(2, 3)))


def test_images_of_several_scales_in_traced_halves() -> None:
    torch.manual_seed(0)
    model = Plain()
    halves = split(model, "b", torch.randn(2, 1, 16, 12), smaller=torch.randn(2, 1, 8, 6))
    assert isinstance(halves.client, fx.GraphModule)
    others = (torch.randn(3, 1, 16, 12), torch.randn(1, 1, 10, 6), torch.randn(2, 1, 20, 30))
    assert_same_as_uncut(model, halves, *others)
    assert [crossing_of(halves, x)[0][0][1:] for x in others] == [
        (8, 16, 12), (8, 10, 6), (8, 20, 30),
    ]  # fmt: skip


@pytest.mark.slow
def test_images_of_several_scales_in_replayed_halves() -> None:
    torch.manual_seed(0)
    model = UNet()
    halves = split(model, "up.1", torch.randn(2, 1, 16, 8), smaller=torch.randn(2, 1, 8, 4))
    sizes = ((12, 8), (8, 8), (24, 16))
    assert_same_as_uncut(model, halves, *(torch.randn(2, 1, *size) for size in sizes))


def test_a_smaller_batch_of_other_inputs_is_refused() -> None:
    with pytest.raises(SplitError, match="the example's inputs and number of samples"):
        split(Plain(), "b", torch.randn(2, 1, 8, 8), smaller=torch.randn(3, 1, 4, 4))
