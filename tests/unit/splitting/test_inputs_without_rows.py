"""Inputs that are not one row per sample: views, edge lists, lists of images, other axes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from fsl_sage_flwr.splitting import SplitError, list_cuts, split

from ...cutting import assert_same_as_uncut, crossing_of


class Encoder(nn.Module):
    """Two layers and a projection, called once per view or once for all views."""

    def __init__(self, *, flattened: bool) -> None:
        super().__init__()
        self.first, self.second, self.scores = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.flattened = flattened

    def project(self, x: Tensor) -> Tensor:
        return self.scores(torch.relu(self.second(torch.relu(self.first(x)))))

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        if other is not None:
            return torch.stack([self.project(x), self.project(other)], dim=1)
        return self.project(x.flatten(0, 1)).unflatten(0, (-1, 2))


def test_two_views_of_a_sample_in_one_input_cross_as_one_row() -> None:
    torch.manual_seed(0)
    model = Encoder(flattened=True)
    halves = split(model, "second", torch.randn(3, 2, 4))
    assert crossing_of(halves, (torch.randn(5, 2, 4),)) == [((5, 2, 6), torch.float32)]
    assert_same_as_uncut(model, halves, torch.randn(4, 2, 4))


def test_two_views_as_two_inputs_are_refused_with_what_to_do() -> None:
    model = Encoder(flattened=False)
    with pytest.raises(SplitError, match=r"once per view .* one input \(B, views, …\)"):
        split(model, "second", (torch.randn(3, 4), torch.randn(3, 4)))


class Detector(nn.Module):
    """Takes a list of images, as torchvision's detection models do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: list[Tensor]) -> Tensor:
        if not isinstance(images, list):
            raise TypeError("expected a list of images")
        return self.last(torch.stack([self.first(x[None]).mean((0, 2, 3)) for x in images]))


def test_a_list_of_images_is_refused_with_what_to_do() -> None:
    images = [torch.randn(3, 8, 8), torch.randn(3, 9, 7)]
    with pytest.raises(SplitError, match=r"list of images .* one padded tensor") as refused:
        split(Detector(), "last", images)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_labels_in_the_example_are_named_and_one_input_gets_no_advice_about_several() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(SplitError, match=r"Labels do not belong in the example\.") as refused:
        split(model, "1", (torch.randn(3, 4), torch.zeros(3)))
    assert "padded" not in str(refused.value)
    with pytest.raises(SplitError, match=r"for each input \(input\)\.") as refused:
        split(model, "1", torch.randn(3, 5))
    assert "padded" not in str(refused.value)


class Graph(nn.Module):
    """Passes messages along edges; a node is a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.scores = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        hidden = torch.relu(self._sum(self.first(nodes), edges))
        return self._sum(self.scores(hidden), edges)

    def _sum(self, rows: Tensor, edges: Tensor) -> Tensor:
        return rows.index_add(0, edges[1], rows[edges[0]])


def test_an_edge_list_is_a_public_input() -> None:
    torch.manual_seed(0)
    model, nodes = Graph(), torch.randn(5, 4)
    edges = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 4]])
    halves = split(model, "scores", (nodes, edges), public=("edges",))
    assert_same_as_uncut(model, halves, (torch.randn(5, 4), edges.flip(1)))
    with pytest.raises(SplitError, match=r"raw input 'edges' would cross"):
        split(model, "scores", (nodes, edges))


class Spoken(nn.Module):
    """A recurrent network on (T, B, D), with a branch on data."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTM(4, 6, dropout=0.1, num_layers=2), nn.GRU(6, 6)
        self.scores = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        return self.scores(self.second(self.first(x)[0])[0][-1])


@pytest.mark.parametrize("at", ["second", "scores"])
@pytest.mark.sample
def test_samples_on_the_second_axis(at: str) -> None:
    torch.manual_seed(0)
    model = Spoken()
    halves = split(model, at, torch.randn(5, 3, 4), batch_axis=1)
    assert all(shape[0] == 2 for shape, _ in crossing_of(halves, torch.randn(5, 2, 4)))
    assert_same_as_uncut(model, halves, torch.randn(5, 3, 4), torch.randn(5, 7, 4))


def test_samples_on_the_second_axis_of_a_model_that_can_be_traced() -> None:
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 16) for _ in range(3)]
    model = nn.Sequential(*layers, nn.Linear(8, 3))
    halves = split(model, "2", torch.randn(5, 3, 8), batch_axis=1, smaller=torch.randn(4, 3, 8))
    assert crossing_of(halves, torch.randn(6, 2, 8))[0] == ((2, 6, 8), torch.float32)
    assert_same_as_uncut(model, halves, torch.randn(5, 3, 8), torch.randn(7, 4, 8))
    names = [cut.name for cut in list_cuts(model, torch.randn(5, 3, 8), batch_axis=1, depth=1)]
    assert names == ["1", "2", "3"]


class Translator(nn.Module):
    """``nn.Transformer`` by default: texts on the second axis, their masks on the first."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.scores = nn.Embedding(9, 8), nn.Linear(8, 9)
        self.both = nn.Transformer(8, 2, 2, 2, 16)

    def forward(self, source: Tensor, target: Tensor, padded: Tensor) -> Tensor:
        hidden = self.both(
            self.words(source), self.words(target), src_key_padding_mask=padded,
            memory_key_padding_mask=padded,
        )  # fmt: skip
        return self.scores(hidden).transpose(0, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_a_batch_axis_by_name() -> None:
    torch.manual_seed(0)
    model = Translator()

    def batch(size: int) -> tuple[Tensor, ...]:
        padded = torch.arange(5) >= torch.randint(1, 6, (size, 1))
        return torch.randint(9, (5, size)), torch.randint(9, (4, size)), padded

    axes = {"source": 1, "target": 1}
    with pytest.raises(
        SplitError, match=r"batch_axis = \{'src': 1\}: .* by name, of source \(5, 3"
    ):
        split(model, "both.encoder.layers.1", batch(3), batch_axis={"src": 1})
    halves = split(
        model, "both.encoder.layers.1", batch(3), batch_axis=axes, public=("target", "padded")
    )
    assert_same_as_uncut(model, halves, batch(3), batch(6))


class Lengths(nn.Module):
    """Packs its texts by their lengths, and pads them again or not between two layers."""

    def __init__(self, *, padded: bool) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(4, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
        self.scores, self.padded = nn.Linear(6, 3), padded

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = self.first(packed)
        if self.padded:
            rows, _ = pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
            return self.scores(self.second(rows)[1][0])
        return self.scores(self.second(hidden)[1][0])


@pytest.mark.slow
def test_packed_sequences_inside_a_model() -> None:
    torch.manual_seed(0)
    batch = torch.randn(3, 5, 4), torch.tensor([5, 2, 4])
    other = torch.randn(2, 5, 4), torch.tensor([1, 3])
    for padded, at in ((True, "second"), (True, "scores"), (False, "scores")):
        model = Lengths(padded=padded)
        assert_same_as_uncut(model, split(model, at, batch, public=("lengths",)), batch, other)
        if at == "scores":  # the server half packs without the lengths, which do not cross
            assert_same_as_uncut(model, split(model, at, batch), batch, other)
    with pytest.raises(SplitError, match=r"no row per sample. Cut .* pad_packed_seq") as refused:
        split(Lengths(padded=False), "second", batch, public=("lengths",))
    assert "\n" not in str(refused.value)


def test_a_packed_sequence_as_input_is_refused_with_what_to_do() -> None:
    packed = pack_sequence([torch.randn(5, 4), torch.randn(3, 4)])
    with pytest.raises(SplitError, match="the padded tensor and the lengths"):
        list_cuts(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), packed)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1])
def test_an_example_of_one_sample_is_refused(count: int) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    for cut in (split, list_cuts):
        arguments = ("1",) if cut is split else ()
        with pytest.raises(SplitError, match=rf"^example has {count} sample on axis 0; give at le"):
            cut(model, *arguments, example=torch.randn(count, 4))  # type: ignore[operator]
