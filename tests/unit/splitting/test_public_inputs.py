"""Inputs cross only if their names are given; masks and lengths then are on both sides."""

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitError, as_tensors, list_cuts, split

from ...cutting import assert_same_as_uncut, crossing_of

WORDS, WIDTH, TOKENS = 13, 8, 6


class Reader(nn.Module):
    """PyTorch's encoder with a padding mask, which every layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.scores = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor, padding: Tensor | None = None) -> Tensor:
        hidden = self.encoder(self.words(ids), src_key_padding_mask=padding)
        return self.scores(hidden.mean(dim=1))


def texts(count: int, padded: bool = True) -> tuple[Tensor, Tensor]:
    lengths = torch.randint(2, TOKENS, (count,)) if padded else torch.full((count,), TOKENS)
    return torch.randint(WORDS, (count, TOKENS)), torch.arange(TOKENS) >= lengths[:, None]


def reader() -> Reader:
    torch.manual_seed(0)
    return Reader()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["encoder.layers.0", "encoder.layers.2", "encoder.layers.1.linear1"])
def test_a_public_mask_crosses_as_it_is(at: str) -> None:
    model = reader()
    halves = split(model, at, texts(3), public=("padding",))
    assert (crossing_of(halves, texts(5))[-1]) == ((5, TOKENS), torch.bool)
    assert_same_as_uncut(model, halves, texts(4), texts(2, padded=False))


@pytest.mark.slow
def test_a_public_mask_may_be_without_padding_in_the_example() -> None:
    model = reader()
    halves = split(model, "encoder.layers.1", texts(3, padded=False), public=("padding",))
    assert_same_as_uncut(model, halves, texts(4), texts(2, padded=False))


def test_a_mask_that_is_not_public_does_not_cross() -> None:
    with pytest.raises(SplitError, match=r"input 'padding' would cross .* public=\('padding',\)"):
        split(reader(), "encoder.layers.1", texts(3))


@pytest.mark.slow
def test_an_input_that_the_example_does_not_give_has_its_default() -> None:
    model = reader()
    halves = split(model, "encoder.layers.1", texts(3)[0])
    assert_same_as_uncut(model, halves, texts(4)[0])


@pytest.mark.slow
def test_an_example_may_be_a_mapping_in_any_order() -> None:
    model = reader()
    ids, padding = texts(3)
    halves = split(model, "encoder.layers.1", {"padding": padding, "ids": ids}, public=["padding"])
    assert [t.dtype for t in as_tensors({"padding": padding, "ids": ids})] == [
        torch.int64, torch.bool,
    ]  # fmt: skip
    ids, padding = texts(4)
    assert_same_as_uncut(model, halves, {"ids": ids, "padding": padding})
    with pytest.raises(SplitError, match=r"1 inputs; .* 2: ids, padding"):
        halves.client(ids)


@pytest.mark.parametrize("public", [("mask",), "padding"])
def test_a_wrong_name_is_answered_with_the_names(public: object) -> None:
    with pytest.raises(SplitError, match=r"give a tuple of input names; .* ids, padding"):
        split(reader(), "scores", texts(3), public=public)


class Passing(nn.Module):
    """Hands its input on in a way that the test gives."""

    def __init__(self, forward, traced: bool = True) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.function, self.traced = forward, traced

    def forward(self, x: Tensor) -> Tensor:
        if not self.traced and bool(x.isnan().any()):
            raise ValueError("not a number")
        return self.function(self, x)


RAW = {
    "as it is": lambda self, x: self.b(self.a(x)) + x,
    "a copy": lambda self, x: (lambda y: self.b(self.a(x)) + y)(x.clone()),
    "reshaped": lambda self, x: (lambda y: self.b(self.a(x)) + y.view(-1, 4))(x.view(-1, 2, 2)),
    "another type": lambda self, x: (lambda y: self.b(self.a(x)) + y)(x.double().float()),
}


@pytest.mark.slow
@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("way", RAW)
def test_a_raw_input_is_refused_unless_public(way: str, traced: bool) -> None:
    torch.manual_seed(0)
    model, x = Passing(RAW[way], traced), torch.randn(3, 4)
    with pytest.raises(SplitError, match=r"the raw input 'x' would cross the cut 'b'"):
        split(model, "b", x)
    halves = split(model, "b", x, public=("x",))
    assert_same_as_uncut(model, halves, torch.randn(5, 4))


class Pyramid(nn.Module):
    """Gives the decoder every level, the image first, as segmentation libraries do."""

    def __init__(self, *, uses_image: bool) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.decoder = Decoder(uses_image=uses_image)

    def forward(self, image: Tensor) -> Tensor:
        if bool(image.isnan().any()):
            raise ValueError("not a number")
        first = torch.relu(self.stem(image))
        return self.decoder([image, first, torch.relu(self.deep(first))])


class Decoder(nn.Module):
    def __init__(self, *, uses_image: bool) -> None:
        super().__init__()
        self.mix, self.uses_image = nn.Conv2d(8, 2, 1), uses_image

    def forward(self, levels: list[Tensor]) -> Tensor:
        mixed = self.mix(torch.cat(levels[1:], dim=1))
        return mixed + levels[0].mean(dim=1, keepdim=True) if self.uses_image else mixed


def test_an_image_that_is_given_but_not_used_does_not_cross() -> None:
    torch.manual_seed(0)
    model = Pyramid(uses_image=False)
    halves = split(model, "decoder", torch.randn(2, 3, 8, 8))
    assert crossing_of(halves, torch.randn(3, 3, 8, 8)) == [((3, 4, 8, 8), torch.float32)] * 2
    assert_same_as_uncut(model, halves, torch.randn(3, 3, 8, 8))


def test_an_image_that_is_used_is_refused_and_not_listed() -> None:
    model = Pyramid(uses_image=True)
    with pytest.raises(SplitError, match="the raw input 'image' would cross the cut 'decoder'"):
        split(model, "decoder", torch.randn(2, 3, 8, 8))
    assert "decoder" not in [cut.name for cut in list_cuts(model, torch.randn(2, 3, 8, 8))]


class Additive(nn.Module):
    """Makes an additive mask of its input, which two layers read."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.first, self.second, self.last = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.value = value

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        hidden = self.words(ids)
        if bool(hidden.isnan().any()):
            raise ValueError("not a number")
        outside = torch.arange(ids.shape[1]) >= lengths[:, None]
        mask = torch.zeros(ids.shape).masked_fill(outside, self.value)
        for layer in (self.first, self.second):
            weights = (hidden.mean(dim=-1) + mask).softmax(dim=1)
            hidden = layer(hidden * weights[..., None])
        return self.last(hidden.sum(dim=1))


@pytest.mark.slow
@pytest.mark.parametrize("value", [-torch.inf, -3e38])
def test_an_additive_mask_crosses_as_booleans(value: float) -> None:
    torch.manual_seed(0)
    model = Additive(value)
    example = (torch.randint(WORDS, (3, TOKENS)), torch.tensor([2, 6, 4]))
    halves = split(model, "first", example)
    assert [dtype for _, dtype in crossing_of(halves, example)] == [torch.float32, torch.bool]
    again = (torch.randint(WORDS, (2, TOKENS)), torch.tensor([1, 6]))
    assert_same_as_uncut(model, halves, again)
