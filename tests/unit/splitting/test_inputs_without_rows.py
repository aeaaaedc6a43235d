"""Inputs that are not one row per sample: views, edge lists, lists of images, other axes."""

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitError, split

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
