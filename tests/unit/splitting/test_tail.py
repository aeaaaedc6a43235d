"""A model cut in three: front, server half and tail."""

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import FrontAndTail, SplitError, as_tensors, split

from ...language import ARCHITECTURES, cut_of, language_model
from ...rows import rows
from ...tasks import SmallNet


class Skipping(nn.Module):
    """The last layer uses what the first has made."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).relu()
        return self.third(self.second(hidden)) * hidden


def test_the_parts_compute_the_models_output_and_share_its_tensors() -> None:
    net = SmallNet()
    model = split(net, "norm", torch.randn(4, 1, 6, 6), tail="block")
    assert isinstance(model.client, FrontAndTail)
    inputs = torch.randn(3, 1, 6, 6)
    for training in (False, True):
        net.train(training)
        model.client.train(training)
        model.server.train(training)
        torch.manual_seed(0)
        ours = model(inputs)
        torch.manual_seed(0)
        assert torch.equal(ours, net(inputs)) or training  # BatchNorm has moved in between
    whole = net.state_dict()
    for name, tensor in model.merged_state_dict().items():
        assert tensor.data_ptr() == whole[name].data_ptr()
    names = [set(part.state_dict()) for part in (model.client.front, model.server, model.tail)]
    assert sum(len(each) for each in names) == len(set().union(*names)) == len(whole)


@pytest.mark.parametrize(
    ("at", "tail", "problem"),
    [
        ("block", "stem", "tail 'stem' is not in the server half, which begins at 'block'"),
        ("block", "tail", "cut 'tail' is not a submodule"),
        ("norm", "norm", "cannot be cut again at the tail 'norm'"),
    ],
)
def test_a_tail_that_is_none_is_refused(at: str, tail: str, problem: str) -> None:
    with pytest.raises(SplitError, match=problem):
        split(SmallNet(), at, torch.randn(4, 1, 6, 6), tail=tail)


def test_a_skip_over_the_server_half_is_refused() -> None:
    said = r"crosses the cut 'second' .* is used behind the tail 'third' too; .* choose a tail"
    with pytest.raises(SplitError, match=said) as caught:
        split(Skipping(), "second", torch.randn(4, 4), tail="third")
    assert "public=" not in str(caught.value)  # the names are not the caller's


def test_smaller_batches_are_refused() -> None:
    with pytest.raises(SplitError, match="smaller"):
        split(
            SmallNet(), "norm", torch.randn(4, 1, 6, 6), tail="block",
            smaller=torch.randn(4, 1, 6, 5),
        )  # fmt: skip


TAILS = {"GPT2": "transformer.ln_f", "Llama": "model.norm", "OPT": "decoder.final_layer_norm"}


@pytest.mark.slow
@rows(
    ("name", "tail"),
    [(name, TAILS.get(name, "lm_head")) for name in ARCHITECTURES if name != "GPTNeoX"],
    lambda row: row[0] in ("GPT2", "Llama"),
)
def test_language_models(name: str, tail: str) -> None:
    """The norm and the scores are the clients'; a replayed server half ends before them."""
    model = language_model(name, tied=True)
    example = torch.zeros(2, 12, dtype=torch.int64)
    parts = split(model, cut_of(name), example, tail=tail)
    assert parts.tail is not None
    assert any("lm_head" in each for each in parts.tail.state_dict())
    assert not any("lm_head" in each for each in parts.server.state_dict())
    ids = torch.randint(3, 50, (3, 12))
    for part in (model, *parts.parts):
        part.train()
    torch.manual_seed(1)
    smashed = as_tensors(parts.client(ids))
    hidden = parts.server(*smashed)
    output = parts.tail(*as_tensors(hidden))
    torch.manual_seed(1)
    wanted = model(ids)
    assert torch.equal(output, wanted)
