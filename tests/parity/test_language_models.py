"""A causal language model with an adapter: its messages, and its equality to an uncut model."""

from collections.abc import Iterable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.language import IGNORED, Row, next_token
from fsl_sage_flwr.splitting import (
    AlignmentRecipe,
    SplitError,
    copy_sharing_frozen,
    trainable_state,
)
from fsl_sage_flwr.strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    SplitFedV1,
    SplitFedV2,
)
from fsl_sage_flwr.task import ClientIdentity, SplitTask

from ..language import VOCABULARY, Letters, language_task, rows_of, small_model
from ..memory_grid import MemoryGrid
from ..runs import assert_same, train

STRATEGIES: dict[str, Any] = {
    "fed_avg": FullModelFedAvg,
    "sl_multi_server": SplitFedV1,
    "sl_single_server": SplitFedV2,
    "cse_fsl": partial(CseFsl, server_update_interval=2),
    "heron_sfl": partial(HeronSfl, server_update_interval=2),
    "fsl_sage": partial(
        FslSage, recipe=AlignmentRecipe(2, 4), align_interval=2, server_update_interval=2
    ),
}


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.5)


def task(**changes: Any) -> SplitTask:
    return language_task(
        small_model(), **{"client_optimizer": sgd, "server_optimizer": sgd, **changes}
    )


def nodes(clients: int, **changes: Any) -> MemoryGrid:
    return MemoryGrid(build_client_app(lambda context: task(**changes)), clients)


@pytest.mark.sample
@pytest.mark.parametrize("name", STRATEGIES)
def test_only_adapters_travel_and_are_kept(name: str) -> None:
    grid, strategy = nodes(2), STRATEGIES[name](task())
    frozen = {
        n: p.clone()
        for n, p in strategy.task.model.server.named_parameters()
        if not p.requires_grad
    }
    train(strategy, grid, 2)
    for content in (*grid.sent, *grid.received):
        for record, arrays in content.array_records.items():
            if record in ("arrays", "auxiliary"):
                assert all("lora_" in key for key in arrays), record
    assert any("arrays" in content.array_records for content in grid.received)
    assert not frozen.keys() & set(keys_in(strategy.state_dict()))
    for key, value in strategy.task.model.server.named_parameters():
        assert key not in frozen or torch.equal(frozen[key], value)


def keys_in(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        yield from value
    for one in value.values() if isinstance(value, Mapping) else []:
        yield from keys_in(one)


@pytest.mark.slow
def test_one_clients_split_fed_is_the_uncut_models_loop() -> None:
    """Without dropout, whose numbers each half draws for itself."""
    without = no_dropout(small_model())
    strategy = SplitFedV2(language_task(without, client_optimizer=sgd, server_optimizer=sgd))
    app = build_client_app(
        lambda context: language_task(
            no_dropout(small_model()), client_optimizer=sgd, server_optimizer=sgd
        )
    )
    arrays = train(strategy, MemoryGrid(app, 1), 2)
    client, server = strategy.model_state(arrays)
    trained = {n: t for n, t in {**client, **server}.items() if "lora_" in n}

    model = no_dropout(small_model())
    model.train()
    own, optimizer = task(), sgd(model.parameters())
    from fsl_sage_flwr.nodes.local_batches import epoch_batches

    for round_ in range(2):
        for ids, labels in epoch_batches(own, ClientIdentity(0, 1), round_, 0):
            scores = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
            loss = nn.functional.cross_entropy(
                scores, labels[:, 1:].flatten(), ignore_index=IGNORED
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    theirs = {f"model.{n}": p.detach() for n, p in model.named_parameters() if p.requires_grad}
    assert_same(trained, theirs)


def no_dropout(model: nn.Module) -> nn.Module:
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model


@pytest.mark.slow
def test_clients_weigh_by_the_tokens_that_count() -> None:
    strategy = FullModelFedAvg(task())
    train(strategy, nodes(2), 1)
    for row in strategy.client_rounds():
        completions = [row_.completion for row_ in rows_of(ClientIdentity(row.client, 2))]
        # The first token is the prompt's, and the end of a text is learnt too.
        room = [min(len(text) + 1, 10 - 2) for text in completions]
        assert row.examples == sum(room)


def size(module: nn.Module) -> int:
    return sum(tensor.numel() * 4 for tensor in trainable_state(module).values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "fsl_sage"])
def test_bytes_of_a_round_are_those_of_the_formula(name: str) -> None:
    """In the published way of counting: raw tensors, labels free."""
    grid, strategy = nodes(2), STRATEGIES[name](task())
    train(strategy, grid, 1)
    own, rows_, length, width = strategy.task, 10, 10, 16
    client, server, head = (size(m) for m in (own.model.client, own.model.server, own.head))
    row = length * width * 4
    every_second = 4 + 2  # of batches of 4, 4 and 2
    expected = {
        "fed_avg": 2 * (client + server),
        "sl_multi_server": 2 * client + 2 * rows_ * row,
        "sl_single_server": 2 * client + 2 * rows_ * row,
        "cse_fsl": 2 * (client + head) + every_second * row,
        "heron_sfl": 2 * (client + head) + every_second * row,
    }
    assert strategy.ledger.reference_total == 2 * expected[name]


@pytest.mark.slow
def test_bytes_of_fsl_sage_are_those_of_the_formula() -> None:
    """The probe's batch is not sent again; heads travel in the round of an alignment."""
    grid, strategy = nodes(2), STRATEGIES["fsl_sage"](task())
    totals = []
    strategy.start(
        grid, strategy.initial_arrays(), num_rounds=2,
        evaluate_fn=lambda *_: totals.append(strategy.ledger.reference_total),
    )  # fmt: skip
    own, row = strategy.task, 10 * 16 * 4
    client, head = size(own.model.client), size(own.head)
    assert totals[2] - totals[1] == 2 * (2 * client + 6 * row)
    assert totals[1] == 2 * (2 * client + head + 6 * row)


def test_a_copy_shares_what_is_frozen_and_owns_what_is_trained() -> None:
    half = task().model.server
    other = dict(copy_sharing_frozen(half).named_parameters())
    for name, parameter in half.named_parameters():
        assert (other[name] is parameter) is not parameter.requires_grad


def test_the_unit_of_a_gradient_is_the_token() -> None:
    objective, scores = next_token(VOCABULARY, 5), torch.randn(2, 5, VOCABULARY)
    labels = torch.tensor([[IGNORED, IGNORED, 4, 2, IGNORED], [IGNORED, 7, 8, 9, 2]])
    assert objective.count(labels) == 6
    kept = [(0, 1, 4), (0, 2, 2), (1, 0, 7), (1, 1, 8), (1, 2, 9), (1, 3, 2)]
    by_hand = -torch.stack([scores[b, t].log_softmax(0)[k] for b, t, k in kept])
    assert objective.loss(scores, labels).item() == pytest.approx(by_hand.mean().item(), rel=1e-5)
    total = objective.total_loss(scores, labels).item()
    assert total == pytest.approx(by_hand.sum().item(), rel=1e-5)
    nothing = torch.full((2, 5), IGNORED)
    assert objective.count(nothing) == objective.loss(scores, nothing).item() == 0


@pytest.mark.slow
@pytest.mark.parametrize("side", ["server half", "head"])
def test_scores_are_computed_only_where_a_token_is_learnt(side: str) -> None:
    """With them loss and gradients are those of all scores."""
    own = task()
    module = own.model.server if side == "server half" else own.new_head("check")
    ids, labels = next(iter(own.train_batches(ClientIdentity(0, 1), 0)))
    smashed = own.model.client(ids).detach().requires_grad_()
    sizes = []
    last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    handle = last.register_forward_hook(lambda part, inputs, scores: sizes.append(scores.shape))
    module.eval()
    every = module(smashed)
    short = own.objective.mean_loss(module, (smashed,), labels)
    handle.remove()
    assert sizes == [(len(ids), 10, VOCABULARY), (own.objective.count(labels), VOCABULARY)]
    whole = own.objective.loss(every, labels)
    torch.testing.assert_close(short, whole)
    ours, theirs = (torch.autograd.grad(loss, smashed) for loss in (short, whole))
    torch.testing.assert_close(ours, theirs)
    assert module(smashed).shape == every.shape  # and all of them again afterwards


def test_evaluations_report_the_loss_without_smoothing() -> None:
    plain, smooth = (next_token(VOCABULARY, 5, label_smoothing=s) for s in (0.0, 0.1))
    scores, labels = torch.randn(2, 5, VOCABULARY), torch.randint(3, VOCABULARY, (2, 5))
    assert smooth.loss(scores, labels) != plain.loss(scores, labels)
    assert smooth.reported_loss(scores, labels) == plain.loss(scores, labels).item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cut": "blocks.9"}, "cut 'blocks.9' is not a submodule"),
        ({"cut": "norm"}, "leaves the server half without a parameter to train"),
    ],
)
def test_a_cut_that_leaves_nothing_to_train_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        task(**changes)


def test_a_head_with_more_blocks_than_there_are_is_refused() -> None:
    own = task(head_blocks=7)
    with pytest.raises(SplitError, match=r"a head of 7 blocks: .* has 2; give 1 to 2"):
        own.new_head("check")


def test_a_traced_models_blocks_make_no_head_and_ones_own_may() -> None:
    class Traced(type(small_model())):  # type: ignore[misc]
        def forward(self, input_ids: torch.Tensor, *, use_cache: bool = True) -> Any:
            hidden = self.embed(input_ids)
            for block in self.blocks:
                hidden = block(hidden)
            return SimpleNamespace(logits=self.head(self.norm(hidden)))

    made = Traced()
    made.load_state_dict(small_model().state_dict())
    with pytest.raises(SplitError, match=r"is not a block of a list of blocks"):
        language_task(made).new_head("check")
    own = language_task(made, auxiliary=lambda: nn.Linear(16, VOCABULARY))
    assert own.head_parameters() == 17 * VOCABULARY


def test_a_row_that_has_nothing_to_learn_is_left_out() -> None:
    from fsl_sage_flwr.language import tokenize

    long, short = Row("a long prompt ", "x"), Row("a", "bc")
    found = tokenize([long, short, short], Letters(), 6, torch.device("cpu"))
    assert len(found) == 2
    with pytest.raises(ValueError, match="max_length = 2: none of 2 rows has a token"):
        tokenize([long, long], Letters(), 2, torch.device("cpu"))
