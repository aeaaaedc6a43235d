"""Heads are measured on samples that are never fitted, of the newest uploads."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fsl_sage_flwr.nodes.held_out import SHARE, held_out, is_held_out
from fsl_sage_flwr.rounds.server import aligning
from fsl_sage_flwr.rounds.server.alignment_set import AlignmentSet
from fsl_sage_flwr.splitting import AlignmentQuality, compare_gradients

from ...runs import fsl_sage, grid, train
from ...tasks import CLIENTS, client_of, few_batches, numbered_batches, small_task


def mask(seed: int, client: int, count: int = 330) -> list[bool]:
    return [is_held_out(seed, client, number) for number in range(count)]


def test_one_sample_of_eleven_is_held_out_the_same_in_all_rounds() -> None:
    ours = mask(3, 0)
    assert all(sum(ours[k : k + SHARE]) == 1 for k in range(0, len(ours), SHARE))
    assert mask(3, 0) == ours
    assert mask(3, 1) != ours
    assert mask(4, 0) != ours
    places = {ours[k : k + SHARE].index(True) for k in range(0, len(ours), SHARE)}
    assert len(places) > 5  # data that are in an order do not decide who it is


def test_a_tasks_numbers_decide_and_not_what_it_makes_of_the_samples() -> None:
    task, client = small_task(), client_of(0)
    for seed in (1, 2):
        batches = numbered_batches(client, seed)
        found = [held_out(task, client, batches, k) for k in range(5)]
        assert torch.cat([m for m in found if m is not None]).tolist() == mask(3, 0, 27)
    assert held_out(task, client, few_batches(client, 1), 0) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"auxiliary_groups": 1}, {"warm_start": True, "align_interval": 1}], ids=str
)
def test_no_sample_that_is_held_out_is_ever_fitted(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its label is 2, and no other's is."""
    fitted, measured = list[Tensor](), list[Tensor]()
    align, compare = aligning.align, aligning.estimated_gradients

    def note_fit(*given: Any) -> None:
        fitted.append(given[3])
        align(*given)

    def note_measure(*given: Any) -> Any:
        measured.append(given[2])
        return compare(*given)

    monkeypatch.setattr(aligning, "align", note_fit)
    monkeypatch.setattr(aligning, "estimated_gradients", note_measure)
    strategy = fsl_sage(**{"server_update_interval": 1, "align_interval": 2, **changes})
    nodes = grid(batches=numbered_batches)
    train(strategy, nodes, 5)
    assert fitted
    assert measured
    assert not any(bool((labels == 2).any()) for labels in fitted)
    assert any(bool((labels == 2).any()) for labels in measured)
    assert strategy.last_round.alignment_cosine is not None
    sent = [c["labels"] for c in nodes.received if "labels" in c]
    for record in sent:
        found = record.to_torch_state_dict()  # type: ignore[union-attr]
        assert torch.equal(found["held-out"], found["labels"] == 2)


@pytest.mark.slow
def test_a_task_without_numbers_has_no_figure_and_fits_all() -> None:
    strategy, nodes = fsl_sage(align_dataset_size=100), grid()
    train(strategy, nodes, 1)
    assert strategy.last_round.alignment_cosine is None
    assert strategy.last_round.alignment_seconds > 0
    assert all("held-out" not in c["labels"] for c in nodes.received if "labels" in c)
    kept = strategy.state_dict()["heads"]["samples"].values()
    assert not any(bool(file["held-out"].any()) for file in kept)


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [True, False])
def test_a_client_that_marks_all_or_nothing_ends_no_run(held_out: bool) -> None:
    def marking(client: int, reply: Any) -> Any:
        if client == 0 and "labels" in reply.content:
            found = reply.content["labels"].to_torch_state_dict()
            found["held-out"] = torch.full(found["held-out"].shape, held_out)
            reply.content["labels"] = type(reply.content["labels"])(found)
        return reply

    strategy = fsl_sage(align_interval=1)
    train(strategy, grid(batches=numbered_batches, tamper=marking), 2)
    assert strategy.last_round.clients == CLIENTS
    assert strategy.last_round.alignment_cosine is not None


def made(rounds: list[int], held_out: list[bool]) -> AlignmentSet:
    places = torch.arange(len(rounds))
    return AlignmentSet(
        (places[:, None].float(),), places, torch.tensor(held_out), torch.tensor(rounds)
    )


def test_a_set_keeps_the_newest_of_either_kind() -> None:
    found = made([0] * 30, [k % 3 == 0 for k in range(30)]).newest(10)
    assert found.labels[~found.held_out].tolist() == [16, 17, 19, 20, 22, 23, 25, 26, 28, 29][-10:]
    assert found.labels[found.held_out].tolist() == [27]
    more = found.appended(made([4, 4], [False, True]), 10)
    assert more.labels[more.of_last_round()].tolist() == [0, 1]
    assert more.labels[more.held_out].tolist() == [1]
    assert len(more.to_fit()) == 10


def test_a_share_is_drawn_of_either_kind() -> None:
    found = made([0] * 40, [k % 2 == 0 for k in range(40)]).share(20, 3, seed=1)
    assert (len(found), int(found.held_out.sum())) == (7 + 1, 1)
    assert found.labels.tolist() == sorted(found.labels.tolist())


def test_several_heads_are_measured_as_one() -> None:
    generator = torch.Generator().manual_seed(1)
    ours, theirs = ([torch.randn(n, 3, generator=generator) for n in (2, 5)] for _ in range(2))
    both = AlignmentQuality.pooled(
        [compare_gradients((a,), (b,)) for a, b in zip(ours, theirs, strict=True)]
    )
    whole = compare_gradients((torch.cat(ours),), (torch.cat(theirs),))
    assert both.cosine == pytest.approx(whole.cosine, abs=1e-12)
    assert both.relative_error == pytest.approx(whole.relative_error, abs=1e-12)


def test_nothing_is_perfect_of_gradients_that_are_zero() -> None:
    zero, one = (torch.zeros(2, 3),), (torch.ones(2, 3),)
    assert compare_gradients(zero, one).cosine == compare_gradients(one, zero).cosine == 0
    assert compare_gradients(zero, one).relative_error == 1
    assert compare_gradients(one, zero).relative_error == float("inf")


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "advised"), [(0, 1), (1, 0)])
def test_heads_of_a_poor_estimate_are_advised_to_be_shared_once(
    groups: int,
    advised: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poor = AlignmentQuality(0.15, 1.0, 1.0, 1.0)
    monkeypatch.setattr(AlignmentQuality, "pooled", lambda found: poor)
    strategy = fsl_sage({"train_batches": numbered_batches}, align_interval=1,
                        auxiliary_groups=groups)  # fmt: skip
    train(strategy, grid(batches=numbered_batches), 4)
    assert caplog.text.count("cosine 0.15 on held-out samples") == advised
