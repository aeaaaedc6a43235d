"""Causal language models of Transformers with a PEFT adapter: small, random, every architecture."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.language.scores import TokenScores
from fsl_sage_flwr.splitting import SplitError, SplitModel, split

from ...language import ARCHITECTURES, VOCABULARY, cut_of, language_model, small_model


def gradients(whole: nn.Module, run: nn.Module | SplitModel, ids: Tensor) -> dict[str, Tensor]:
    """Return the loss of the next tokens, and the gradient of every trained weight."""
    torch.manual_seed(7)
    loss = nn.functional.cross_entropy(run(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    whole.zero_grad()
    loss.backward()
    found = {n: p.grad.clone() for n, p in whole.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tied"), [*((name, True) for name in ARCHITECTURES), ("Llama", False), ("GPT2", False)]
)
def test_loss_and_adapter_gradients_are_the_uncut_models(name: str, tied: bool) -> None:
    model = language_model(name, tied=tied)
    ids = torch.randint(3, VOCABULARY, (2, 12))
    halves = split(model, cut_of(name), ids)
    other = torch.randint(3, VOCABULARY, (3, 12))
    for training in (True, False):
        for module in (model, halves.client, halves.server):
            module.train(training)
        uncut, cut = gradients(model, model, other), gradients(model, halves, other)
        assert uncut.keys() == cut.keys()
        for key, tensor in uncut.items():
            assert torch.equal(tensor, cut[key]), key
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == uncut.keys() - {"loss"}
    assert all("lora_" in key for key in trained)
    assert not halves.client.state_dict().keys() & halves.server.state_dict().keys()


def test_the_end_of_a_name_is_a_cut_if_it_is_of_one_module() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3))
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), inner))
    assert split(model, "1.2", torch.randn(2, 4)).cut == "1.1.2"
    both = nn.Sequential(nn.Sequential(nn.Linear(4, 4), copy.deepcopy(inner)), inner)
    inner[3] = nn.Linear(3, 4)
    with pytest.raises(
        SplitError, match=r"end of several names: 0\.0\.1\.2, 0\.1\.2; give a longer ending"
    ):
        split(nn.Sequential(both), "2", torch.randn(2, 4))


def test_trained_weights_are_not_tied_across_the_cut() -> None:
    model = TokenScores(small_model())
    model.model.embed.weight.requires_grad_()
    with pytest.raises(SplitError, match="weights are tied across the cut"):
        split(model, "blocks.1", torch.randint(3, VOCABULARY, (2, 12)))
