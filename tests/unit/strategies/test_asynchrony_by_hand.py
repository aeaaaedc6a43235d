"""A run with late replies is the loop written by hand, from its clients' replies alone."""

from collections.abc import Iterable, Mapping

import pytest
import torch
from flwr.app import ArrayRecord
from torch import Tensor

from fsl_sage_flwr.messages import ReplySchema, TrainReply
from fsl_sage_flwr.rounds.aggregation.averaging import average
from fsl_sage_flwr.splitting import server_step
from fsl_sage_flwr.strategies import AsyncOptions, SplitStrategy

from ...runs import assert_same, cse_fsl, train
from ...tasks import CLIENTS, small_task
from .buffered_rounds import Answer, Nodes, after, copied


def completed_by_hand(
    seen: Iterable[tuple[Tensor, int, int]], batch: tuple[tuple[Tensor, ...], Tensor], least: int
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return a batch and draws from the moments of all samples so far: value, label, weight."""
    ((tensor,), labels), more, more_labels = batch, list[Tensor](), list[Tensor]()
    for label in range(3):
        rows = torch.stack([value.double() for value, of, _ in seen if of == label])
        weights = torch.tensor([float(n) for _, of, n in seen if of == label]).double()
        share = (weights / weights.sum()).reshape(-1, *[1] * (rows.dim() - 1))
        mean = (share * rows).sum(0)
        variance = (share * (rows - mean).square()).sum(0)
        missing = least - int((labels == label).sum())
        if missing > 0:
            noise = torch.randn(missing, *mean.shape, dtype=torch.float64)
            more.append((mean + variance.sqrt() * noise).to(tensor.dtype))
            more_labels.append(torch.full((missing,), label))
    return (torch.cat([tensor, *more]),), torch.cat([labels, *more_labels])


def by_hand(
    strategy: SplitStrategy, nodes: Nodes, options: AsyncOptions, rounds: int, initial: ArrayRecord
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[int]]:
    """Return client half, head and staleness of a run, from its clients' replies alone.

    The server half of a new task is stepped as the run's was.
    """
    task = small_task()
    optimizer = task.optimizer_of_server(task.model.server)
    now = {"arrays": initial.to_torch_state_dict()}
    now["auxiliary"] = dict(strategy_head(strategy))
    trained = {
        "arrays": set(strategy.trained.parameters()),
        "auxiliary": set(strategy.head.parameters),  # type: ignore[attr-defined]
    }
    waiting: list[tuple[Answer, dict[str, dict[str, Tensor]], int, int]] = []
    left, taus, seen = list(nodes.trained), list[int](), list[tuple[Tensor, int, int]]()
    for number in range(rounds):
        busy = {answer.client for answer, *_ in waiting}
        for client in sorted(set(range(CLIENTS)) - busy):
            answer = next(each for each in left if each.client == client)
            left.remove(answer)
            for record, weights in now.items():
                assert_same(answer.asked.array_records[record], weights)
            waiting.append((answer, dict(now), number, number))
        waiting.sort(key=lambda each: each[0].arrives_at)
        taken = sorted(waiting[: options.buffer], key=lambda each: each[0].client)
        waiting = waiting[options.buffer :]
        weights = list[int]()
        merged: dict[str, list[dict[str, Tensor]]] = {record: [] for record in now}
        for answer, start, version, _ in taken:
            tau = number - version
            taus.append(tau)
            schema = ReplySchema(weights=None, smashed=strategy.smashed)
            reply = TrainReply.open(copied(answer.reply), schema)
            weights.append(reply.num_examples)
            share = options.mixing * options.weight(tau)
            for record, got in (("arrays", reply.client_half), ("auxiliary", reply.auxiliary)):
                assert got is not None
                counts_as = {}
                for name, value in got.items():
                    base = start if options.merge == "update" and name in trained[record] else now
                    x, z = now[record][name], base[record][name]
                    step = x.double() + share * (value.double() - z.double())
                    counts_as[name] = (step if x.is_floating_point() else step.round()).to(x.dtype)
                    if share == 1 and (tau == 0 or options.merge == "model"):
                        counts_as[name] = value
                merged[record].append(counts_as)
            if tau and options.late == "dropped":
                continue
            task.reseed("server", number, answer.client)
            rate = options.weight(tau) if options.late == "weighted" else 1.0
            base_rate = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] *= rate
            assert reply.smashed is not None
            for (tensor,), labels in reply.smashed:
                seen += [(x, int(y), version + 1) for x, y in zip(tensor, labels, strict=True)]
            for tensors, labels in reply.smashed:
                if options.generate:
                    batch = tensors, labels
                    tensors, labels = completed_by_hand(seen, batch, options.generate)
                server_step(
                    task.model.server, optimizer, tensors, labels, task.objective, task.autocast
                )
            for group, before in zip(optimizer.param_groups, base_rate, strict=True):
                group["lr"] = before
        now = {record: average(copies, weights) for record, copies in merged.items()}
    return now["arrays"], {**now["auxiliary"], **task.model.server.state_dict()}, taus


def strategy_head(strategy: SplitStrategy) -> Mapping[str, Tensor]:
    found: Mapping[str, Tensor] = strategy.head.weights  # type: ignore[attr-defined]
    return found


@pytest.mark.sample
@pytest.mark.parametrize(
    "options",
    [
        after(),
        after(late="weighted"),
        after(late="dropped", staleness="hinge", decay=10.0, grace=1),
        after(1, merge="model", mixing=0.6),
        after(1, staleness="constant"),
        after(generate=3),
        after(1, generate=9, late="weighted"),
    ],
    ids=["fedbuff", "weighted", "dropped, hinge", "fedasync", "constant", "gas", "gas, weighted"],
)
def test_a_run_is_the_loop_written_by_hand(options: AsyncOptions) -> None:
    strategy, fresh, nodes = cse_fsl(asynchrony=options), cse_fsl(), Nodes(3.5)
    initial = strategy.initial_arrays()
    rounds = 4 * CLIENTS // options.buffer
    arrays = train(strategy, nodes, rounds)
    client_half, rest, taus = by_hand(fresh, nodes, options, rounds, initial)
    assert max(taus) >= 2
    assert_same(arrays, client_half)
    found = {**strategy_head(strategy), **strategy.task.model.server.state_dict()}
    assert_same(found, rest)
