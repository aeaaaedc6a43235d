"""Models that are not float32: every algorithm trains them, as a loop without a split does."""

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from flwr.app import Context
from torch import Tensor, nn

from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.compression import CODECS, Compression
from fsl_sage_flwr.language import causal_lm_task
from fsl_sage_flwr.objective import binary, multi_label, regression
from fsl_sage_flwr.rounds.aggregation.aggregation import Aggregation
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.splitting import cut_of, split
from fsl_sage_flwr.strategies import (
    CseFsl,
    FslSage,
    FullModelFedAvg,
    HeronSfl,
    SplitFedV1,
    SplitFedV2,
    SplitFrozen,
    SplitStrategy,
)
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ... import language
from ...memory_grid import MemoryGrid
from ...runs import assert_same

DTYPES = [torch.float64, torch.float16, torch.bfloat16]
ALGORITHMS: dict[str, Any] = {
    "fed_avg": FullModelFedAvg,
    "split_fed_v1": SplitFedV1,
    "split_fed_v2": SplitFedV2,
    "cse_fsl": partial(CseFsl, server_update_interval=1),
    "heron_sfl": partial(HeronSfl, server_update_interval=1),
    "fsl_sage": partial(FslSage, server_update_interval=1, align_interval=1),
}


class Net(nn.Module):
    """Has running statistics and whole numbers among its buffers."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.front, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.back, self.last = nn.Linear(6, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.back(self.norm(torch.relu(self.front(x)))))


class Autocast(Net):
    """Computes in 16 bits from float32 weights."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


def batches_in(dtype: torch.dtype, client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed + client.partition_id)
    for _ in range(3):
        x = torch.randn(6, 4, generator=generator)
        yield x.to(dtype), x[:, :3].argmax(dim=1)


def net_task(
    dtype: torch.dtype,
    context: Context | None = None,
    *,
    outputs: int = 3,
    net: type[Net] = Net,
    **changes: Any,
) -> SplitTask:
    torch.manual_seed(0)
    example = torch.randn(4, 4).to(dtype)
    sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    settings: dict[str, Any] = {
        "num_classes": 3,
        "train_batches": partial(batches_in, dtype),
        "validation_batches": partial(batches_in, dtype, seed=5),
        "client_optimizer": sgd,
        "server_optimizer": sgd,
        "auxiliary_optimizer": sgd,
    }
    model = split(net(outputs).to(dtype), "back", example)
    return SplitTask(model, example, **{**settings, **changes})


def trained(make: Any, task: Any, clients: int = 2, **more: Any) -> tuple[SplitStrategy, Any]:
    strategy = make(task(), **more)

    def on_client(context: Context) -> SplitTask:
        made: SplitTask = task()
        return made

    nodes = MemoryGrid(build_client_app(on_client), clients)
    result = strategy.start(nodes, strategy.initial_arrays(), num_rounds=2)
    assert strategy.last_round.failures == {}
    assert strategy.rounds_trained == 2
    assert result.arrays is not None
    return strategy, strategy.model_state(result.arrays)


@pytest.mark.sample
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_trains_it(name: str, dtype: torch.dtype) -> None:
    task = partial(net_task, dtype)
    strategy, halves = trained(ALGORITHMS[name], task, fraction_evaluate=1.0)
    assert strategy.last_round.validation is not None
    before = task().model
    for half, fresh in zip(halves, (before.client, before.server), strict=True):
        for key, tensor in half.items():
            assert tensor.dtype == fresh.state_dict()[key].dtype, key
            assert bool(torch.isfinite(tensor).all())
        for key, parameter in fresh.named_parameters():
            assert not torch.equal(half[key], parameter), key


@pytest.mark.sample
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2, FullModelFedAvg])
def test_one_client_equals_the_uncut_loop(make: Any, dtype: torch.dtype) -> None:
    assert_same(*of_one_client(make, dtype, Net))


@pytest.mark.parametrize("make", [SplitFedV1, SplitFedV2, FullModelFedAvg])
def test_a_forward_under_autocast_is_trained_as_uncut(make: Any) -> None:
    assert_same(*of_one_client(make, torch.float32, Autocast))


@pytest.mark.parametrize("name", ["cse_fsl", "heron_sfl", "fsl_sage"])
def test_heads_take_smashed_data_computed_under_autocast(name: str) -> None:
    trained(ALGORITHMS[name], partial(net_task, torch.float32, net=Autocast))


def of_one_client(make: Any, dtype: torch.dtype, net: type[Net]) -> tuple[Any, Any]:
    """Return what an algorithm and a loop without a split make of one client's batches."""
    _, halves = trained(make, partial(net_task, dtype, net=net), clients=1)
    torch.manual_seed(0)
    torch.randn(4, 4)
    model = net().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for round_ in range(2):
        seed = derive_seed(0, "batches", round_, 0, 0)
        for x, labels in batches_in(dtype, ClientIdentity(0, 1), seed):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
    return {**halves[0], **halves[1]}, dict(model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_smashed_data_that_are_uploaded_once_train_the_server_half(dtype: torch.dtype) -> None:
    _, (_, server) = trained(SplitFrozen, partial(net_task, dtype))
    for key, parameter in net_task(dtype).model.server.named_parameters():
        assert not torch.equal(server[key], parameter), key


@pytest.mark.slow
@pytest.mark.parametrize("make", [SplitFedV1, FslSage])
def test_an_optimizers_state_of_16_bits_is_kept(make: Any) -> None:
    adam = partial(torch.optim.Adam, lr=0.01)
    changes = {"client_optimizer": adam, "server_optimizer": adam, "auxiliary_optimizer": adam}
    trained(make, partial(net_task, torch.bfloat16, **changes), keep_optimizer_state=True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("objective", "outputs", "labels_of"),
    [
        (regression(), 1, lambda labels: labels.float()),
        (multi_label(3), 3, lambda labels: nn.functional.one_hot(labels, 3)),
        (binary(), 1, lambda labels: labels > 0),
    ],
    ids=["regression", "multi_label", "binary"],
)
def test_objectives_take_scores_of_any_dtype(
    objective: Any, outputs: int, labels_of: Any, dtype: torch.dtype
) -> None:
    def batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        return [(x, labels_of(labels)) for x, labels in batches_in(dtype, client, seed)]

    task = partial(
        net_task, dtype, outputs=outputs, num_classes=None, objective=objective,
        train_batches=batches, validation_batches=None,
    )  # fmt: skip
    trained(SplitFedV2, task)
    trained(CseFsl, task)


@pytest.mark.slow
@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"sign"}))  # which is for gradients
def test_codecs_take_16_bits(codec: str) -> None:
    compression = Compression(
        client_half_up=codec, client_half_down=codec, smashed=codec, auxiliary=codec
    )
    trained(CseFsl, partial(net_task, torch.bfloat16), compression=compression)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", [SplitFedV1, CseFsl])
def test_robust_rules_take_any_dtype(make: Any, dtype: torch.dtype) -> None:
    rule = Aggregation("median")
    trained(make, partial(net_task, dtype), clients=3, aggregation=rule, max_update_ratio=9.0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_run_resumes_with_the_same_bits(dtype: torch.dtype) -> None:
    adam = partial(torch.optim.Adam, lr=0.01, eps=1e-3)
    task = partial(net_task, dtype, client_optimizer=adam, server_optimizer=adam)
    whole, _ = trained(FslSage, task)
    first = FslSage(task())

    def on_client(context: Context) -> SplitTask:
        made: SplitTask = task()
        return made

    nodes = MemoryGrid(build_client_app(on_client), 2)
    arrays = first.start(nodes, first.initial_arrays(), num_rounds=1).arrays
    assert arrays is not None
    second = FslSage(task())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.start(nodes, arrays, num_rounds=1)
    for name, tensor in whole.task.model.server.state_dict().items():
        assert torch.equal(tensor, second.task.model.server.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_sizes_of_a_cut_are_those_of_what_is_sent(dtype: torch.dtype) -> None:
    strategy, _ = trained(SplitFedV2, partial(net_task, dtype), clients=1)
    task = strategy.task
    with torch.no_grad():
        computed = task.model.client(torch.randn(3, 4).to(dtype))
    cut = cut_of(task.model, task.new_head(0), (computed,))
    (smashed,) = task.smashed_example()
    assert cut.smashed_bytes == cut.gradient_bytes == smashed[0].numel() * smashed.itemsize
    sent = strategy.initial_arrays().to_torch_state_dict().values()
    assert cut.client_bytes == sum(tensor.numel() * tensor.itemsize for tensor in sent)


def lora_task(name: str, context: Context | None = None) -> SplitTask:
    """A LoRA adapter, which PEFT keeps in float32, on a bfloat16 base."""
    model: Any = language.language_model(name, tied=False).model
    model.get_output_embeddings()._forward_pre_hooks.clear()  # the task adds it again
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    return causal_lm_task(
        model,
        language.Letters(),
        cut=language.cut_of(name),
        rows=language.rows_of,
        max_length=12,
        batch_size=4,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    # Each kind of client step: by a server's gradients, without gradients, by a head's estimate.
    [
        ("Llama", "split_fed_v2"),
        ("Llama", "heron_sfl"),
        ("Llama", "fsl_sage"),
        ("GPT2", "fsl_sage"),
    ],
)
def test_lora_on_a_bfloat16_base(name: str, make: str) -> None:
    strategy, halves = trained(ALGORITHMS[make], partial(lora_task, name))
    before = lora_task(name).model
    for half, fresh in zip(halves, (before.client, before.server), strict=True):
        for key, parameter in fresh.named_parameters():
            assert torch.equal(half[key], parameter) != parameter.requires_grad, key
    sent = strategy.trained.current()
    assert sent
    assert all("lora" in key for key in sent)


HALF = partial(torch.nn.Linear, 4, 4, dtype=torch.float16)


@pytest.mark.parametrize("name", ["client_optimizer", "server_optimizer"])
@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_an_eps_that_is_0_in_float16_is_refused(name: str, make: Any) -> None:
    """The first step of the uncut model leaves NaN too."""
    torch.manual_seed(0)
    model = nn.Sequential(HALF(), HALF())
    x = torch.randn(3, 4, dtype=torch.float16)

    def task(**changes: Any) -> SplitTask:
        halves = split(copy.deepcopy(model), "1", x)
        sgd = partial(torch.optim.SGD, lr=0.1)
        changes = {"client_optimizer": sgd, "server_optimizer": sgd, **changes}
        return SplitTask(halves, x, 4, lambda client, seed: [], **changes)

    uncut = copy.deepcopy(model)
    optimizer = make(uncut.parameters(), lr=1e-3)
    (uncut(1e-3 * x).square().mean()).backward()
    optimizer.step()
    assert not all(bool(p.isfinite().all()) for p in uncut.parameters())
    said = rf"^{name} is {make.__name__} with eps = 1e-08, which is 0 in float16.*eps=1e-4"
    with pytest.raises(ValueError, match=said):
        task(**{name: partial(make, lr=1e-3)})
    task(**{name: partial(make, lr=1e-3, eps=1e-4)})
