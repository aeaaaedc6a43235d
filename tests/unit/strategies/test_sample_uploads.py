"""How often a sample is said to be uploaded is how often it is, or more."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import Message
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.rounds.metrics.sample_uploads import SampleUploads
from fsl_sage_flwr.splitting import SplitModel
from fsl_sage_flwr.strategies import (
    Ampere,
    CseFsl,
    CycleSl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    MuSplitFed,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
    SplitStrategy,
    TrainingFailedError,
)
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ...memory_grid import MemoryGrid, Tamper, error_instead

SAMPLES, VALIDATION, EPOCHS, CLIENTS = 8, 3, 3, 2


class Named(nn.Module):
    """Sends each sample's number as it is, beside something that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        return torch.cat([numbers, self.layer(numbers)], dim=1)


def shuffled(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(seed))
    return [(rows[:, None].float(), rows % 2) for rows in order.split(2)]


def validation(client: ClientIdentity) -> Iterable[Batch]:
    rows = torch.arange(SAMPLES, SAMPLES + VALIDATION)
    return [(rows[:, None].float(), rows % 2)]


def named_task() -> SplitTask:
    torch.manual_seed(0)
    model = SplitModel(Named(), nn.Linear(2, 2), cut="server")
    return SplitTask(
        model, torch.zeros(2, 1), 2, shuffled, validation, local_epochs=EPOCHS,
        auxiliary=lambda: nn.Linear(2, 2),
    )  # fmt: skip


class Watch:
    """Counts how often each sample of each client is uploaded, before a reply is tampered with."""

    def __init__(self, tamper: Tamper = lambda client, reply: reply) -> None:
        self._counts: Counter[tuple[int, float]] = Counter()
        self._tamper = tamper
        app = build_client_app(lambda context: named_task())
        self.nodes = MemoryGrid(app, CLIENTS, tamper=self._count)

    def _count(self, client: int, reply: Message) -> Message | None:
        if reply.has_content() and "smashed" in reply.content:
            smashed = reply.content.array_records["smashed"].to_torch_state_dict()["0"]
            self._counts.update((client, number) for number in smashed[:, 0].tolist())
        return self._tamper(client, reply)

    def most(self, client: int) -> int:
        """Return the most times that one sample of a client was uploaded."""
        return max((count for (c, _), count in self._counts.items() if c == client), default=0)

    def train(self, strategy: SplitStrategy, rounds: int) -> None:
        strategy.start(self.nodes, strategy.initial_arrays(), num_rounds=rounds)


STRATEGIES: dict[str, Callable[..., Any]] = {
    "fed_avg": FullModelFedAvg,
    "sl_multi_server": SplitFedV1,
    "sl_single_server": partial(SplitFedV2, batches_per_exchange=2),
    "cse_fsl": partial(CseFsl, server_update_interval=1),
    "fsl_sage": partial(FslSage, server_update_interval=1, align_dataset_size=8),
    "warm start": partial(FslSage, server_update_interval=1, warm_start=True),
    "heron_sfl": partial(HeronSfl, server_update_interval=1),
    "cycle_sl": CycleSl,
}


@pytest.mark.sample
@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_what_is_counted_is_what_was_uploaded(make: Callable[..., Any]) -> None:
    strategy, watch = make(named_task()), Watch()
    watch.train(strategy, 2)
    per_round = 0 if make is FullModelFedAvg else EPOCHS
    assert strategy.sample_uploads.largest == watch.most(0) == 2 * per_round
    assert [row.sample_uploads for row in strategy.client_rounds()] == [per_round] * CLIENTS


@pytest.mark.slow
def test_the_smashed_data_of_three_points_are_three_uploads() -> None:
    strategy, watch = MuSplitFed(named_task()), Watch()
    watch.train(strategy, 2)
    assert strategy.sample_uploads.largest == 3 * watch.most(0) == 3 * 2 * EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [SplitFrozen, partial(Ampere, client_rounds=1)], ids=["split_frozen", "ampere"]
)
def test_what_the_server_keeps_is_uploaded_once_in_a_run(make: Callable[..., Any]) -> None:
    strategy, watch = make(named_task()), Watch()
    watch.train(strategy, 3)
    assert strategy.sample_uploads.largest == watch.most(0) == 1
    assert [row.sample_uploads for row in strategy.client_rounds()] == [0] * CLIENTS


@pytest.mark.slow
def test_a_larger_interval_uploads_less_and_is_not_counted_as_less() -> None:
    strategy, watch = CseFsl(named_task(), server_update_interval=2), Watch()
    watch.train(strategy, 4)
    assert watch.most(0) <= strategy.sample_uploads.largest == 4 * EPOCHS


@pytest.mark.slow
def test_a_client_that_begins_a_round_again_uploads_all_of_it_again() -> None:
    asked = 0

    def lose(client: int, reply: Message) -> Message:
        nonlocal asked
        asked += client == 1
        return error_instead(reply) if client == 1 and asked == 7 else reply

    strategy, watch = SplitFedV2(named_task()), Watch(lose)
    watch.train(strategy, 1)
    assert strategy.sample_uploads.of(0) == 2 * EPOCHS >= watch.most(0) > EPOCHS


@pytest.mark.slow
def test_rounds_that_are_given_up_count() -> None:
    strategy = FslSage(named_task(), server_update_interval=1, min_train_nodes=2)

    def lose(client: int, reply: Message) -> Message:
        trained = reply.metadata.message_type.startswith("train")
        return error_instead(reply) if client and trained else reply

    watch = Watch(lose)
    with pytest.raises(TrainingFailedError, match="no round was trained"):
        watch.train(strategy, 2)
    assert strategy.rounds_done == 2
    assert strategy.sample_uploads.of(0) == 2 * EPOCHS >= watch.most(0) > EPOCHS


@pytest.mark.slow
def test_evaluation_uploads_other_samples() -> None:
    strategy = CseFsl(named_task(), server_update_interval=1, fraction_evaluate=1.0)
    watch = Watch()
    watch.train(strategy, 2)
    assert strategy.sample_uploads.largest == watch.most(0) == 2 * EPOCHS
    counts = SampleUploads()
    for _ in range(5):
        counts.record_validation(1)
    counts.record_training(1, 2)
    assert (counts.of(1), counts.of(0), counts.largest) == (5, 0, 5)


def test_the_counts_go_on_from_a_checkpoint() -> None:
    first, second = CseFsl(named_task()), CseFsl(named_task())
    first.sample_uploads.record_training(1, 4)
    second.load_state_dict(first.state_dict())
    assert second.sample_uploads.largest == 4
    second.sample_uploads.record_training(1, 1)
    assert first.sample_uploads.largest == 4
