"""Every algorithm whose clients can take DP-SGD's steps takes them."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message
from torch import Tensor, nn

from fsl_sage_flwr.algorithm_registry import ALGORITHMS
from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.client_apps import build_client_app
from fsl_sage_flwr.client_apps.split_fed import live_forwards
from fsl_sage_flwr.splitting import ClientPrivacy, SplitError, SplitModel
from fsl_sage_flwr.strategies import SplitStrategy
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

from ... import readers
from ...memory_grid import MemoryGrid
from ...readers import WIDTH, WORDS
from ...rows import rows
from ...runs import (
    ampere,
    assert_same,
    cse_fsl,
    cycle_sl,
    fed_avg,
    fsl_sage,
    heron_sfl,
    mu_splitfed,
    split_fed_v1,
    split_fed_v2,
    split_frozen,
    train,
)
from ...tasks import CLASSES, CLIENTS, small_app, small_task

ABLE = {
    "sl_multi_server": split_fed_v1,
    "sl_single_server": split_fed_v2,
    "cse_fsl": cse_fsl,
    "fsl_sage": fsl_sage,
    "cycle_sl": cycle_sl,
    "ampere": ampere,
}
OTHERS = {
    "fed_avg": fed_avg,
    "heron_sfl": heron_sfl,
    "mu_splitfed": mu_splitfed,
    "split_frozen": split_frozen,
}
EXCHANGES = pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2])
SGD = partial(torch.optim.SGD, lr=0.1)

pytestmark = pytest.mark.skipif(
    find_spec("opacus") is None, reason="the extra privacy is not installed"
)


def full_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        labels = torch.randint(CLASSES, (6,), generator=generator)
        noise = torch.randn(6, 1, 6, 6, generator=generator)
        yield noise + labels.view(-1, 1, 1, 1), labels


def changes(privacy: ClientPrivacy | None, **more: Any) -> dict[str, Any]:
    """Return the changes that give each sample of the small task a gradient."""
    torch.manual_seed(5)
    client = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Dropout(0.2))
    server = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    return {
        "model": SplitModel(client, server, cut="server"), "client_privacy": privacy,
        "train_batches": full_batches, "client_optimizer": SGD, "auxiliary_optimizer": SGD, **more,
    }  # fmt: skip


def trained(
    make: Callable[..., SplitStrategy], privacy: ClientPrivacy | None, **of_grid: Any
) -> SplitStrategy:
    strategy = make(changes(privacy))
    nodes = MemoryGrid(small_app(**changes(privacy)), CLIENTS, **of_grid)
    strategy.client_half = dict(train(strategy, nodes, 2).to_torch_state_dict())
    assert strategy.last_round.failures == {}
    return strategy


def test_an_algorithm_and_its_strategy_say_the_same() -> None:
    said = {name: algorithm.private_steps for name, algorithm in ALGORITHMS.items()}
    assert said == {
        **{name: make().private_steps for name, make in {**ABLE, **OTHERS}.items()},
    }
    assert {name for name, able in said.items() if able} == set(ABLE)


@pytest.mark.slow
@pytest.mark.parametrize("make", ABLE.values(), ids=ABLE)
def test_a_huge_norm_without_noise_is_the_plain_step(make: Callable[..., SplitStrategy]) -> None:
    plain = trained(make, None).client_half
    private = trained(make, ClientPrivacy(1e6, 0.0, 6)).client_half
    clipped = trained(make, ClientPrivacy(1e-3, 0.0, 6)).client_half
    start = {k: v.clone() for k, v in changes(None)["model"].client.state_dict().items()}
    for name, tensor in plain.items():
        torch.testing.assert_close(private[name], tensor, rtol=1e-3, atol=1e-5)
        assert (tensor - start[name]).norm() > 20 * (clipped[name] - start[name]).norm() > 0


@pytest.mark.slow
@rows("make", ABLE.values(), lambda make: make is ABLE["fsl_sage"], ids=ABLE)
def test_noise_is_never_the_same_and_without_it_a_run_repeats(
    make: Callable[..., SplitStrategy],
) -> None:
    noisy, again = (trained(make, ClientPrivacy(0.1, 1.0, 6)).client_half for _ in range(2))
    quiet, repeated = (trained(make, ClientPrivacy(0.1, 0.0, 6)).client_half for _ in range(2))
    assert_same(quiet, repeated)
    for name in quiet:
        assert not torch.equal(noisy[name], again[name])


def test_a_client_of_the_package_takes_the_configurations_steps() -> None:
    values = {"privacy.max-grad-norm": 0.5, "privacy.noise-multiplier": 2.0, "privacy.delta": 0.0}
    config = RunConfig.from_run_config({**values, "batch-size": 7, "device": "cpu"})
    assert build_task(config, on_client=True).client_privacy == ClientPrivacy(0.5, 2.0, 7)


@pytest.mark.slow
def test_after_a_warm_start_nothing_is_recorded_in_a_head_that_is_not_trained() -> None:
    tasks = [small_task(**changes(ClientPrivacy(1.0, 0.0, 6)))]
    nodes = MemoryGrid(build_client_app(lambda context: tasks[0]), CLIENTS)
    strategy = fsl_sage(changes(ClientPrivacy(1.0, 0.0, 6)), warm_start=True)
    train(strategy, nodes, 3)
    assert strategy.last_round.failures == {}
    assert not any(hasattr(p, "grad_sample") for p in tasks[0].head.parameters())


@pytest.mark.slow
@EXCHANGES
def test_replay_equals_the_live_graph(make: Callable[..., SplitStrategy]) -> None:
    def change_process(partition: int, reply: Message) -> Message:
        live_forwards.clear()
        return reply

    privacy = ClientPrivacy(0.1, 0.0, 6)
    live, replayed = trained(make, privacy), trained(make, privacy, tamper=change_process)
    assert_same(live.client_half, replayed.client_half)


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_algorithms_refuse_it(make: Callable[..., SplitStrategy]) -> None:
    with pytest.raises(ValueError, match=r"^client_privacy: clients of \w+ take no steps"):
        make(changes(ClientPrivacy(1.0, 0.0, 6)))


class Attentive(nn.Module):
    """A block of attention, of layers that DP-SGD takes."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, hidden: Tensor, src_key_padding_mask: Tensor) -> Tensor:
        scores = self.q(hidden) @ self.k(hidden).transpose(1, 2)
        scores = scores.masked_fill(src_key_padding_mask[:, None], -1e9)
        return self.norm(hidden + self.out(scores.softmax(dim=-1) @ self.v(hidden)))


class PrivateReader(nn.Module):
    """Reads texts of any length; with a branch on data its forward is replayed."""

    def __init__(self, *, traced: bool) -> None:
        super().__init__()
        self.words, self.traced = nn.Embedding(WORDS, WIDTH), traced
        self.layers = nn.ModuleList([Attentive() for _ in range(3)])
        self.scores = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        if not self.traced and bool((input_ids < 0).any()):
            raise ValueError("no word")
        hidden = self.words(input_ids)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask == 0)
        kept = attention_mask[..., None].float()
        return {"logits": self.scores((hidden * kept).sum(dim=1) / kept.sum(dim=1))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "traced"),
    # Which way a model was cut is the same to every algorithm.
    [*((make, True) for make in ABLE.values()), (ABLE["fsl_sage"], False)],
    ids=[*ABLE, "fsl_sage, replayed"],
)
def test_batches_of_several_lengths(
    make: Callable[..., SplitStrategy], traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "Reader", partial(PrivateReader, traced=traced))
    monkeypatch.setattr(readers, "CUT", "layers.1")

    def client_half(privacy: ClientPrivacy | None) -> dict[str, Tensor]:
        def task() -> SplitTask:
            return readers.own_length_task(
                client_privacy=privacy, client_optimizer=SGD, auxiliary_optimizer=SGD
            )

        strategy = type(make())(task())
        nodes = MemoryGrid(build_client_app(lambda context: task()), CLIENTS)
        weights = dict(train(strategy, nodes, 2).to_torch_state_dict())
        assert strategy.last_round.failures == {}
        return weights

    plain, private = client_half(None), client_half(ClientPrivacy(1e6, 0.0, 4))
    clipped = client_half(ClientPrivacy(1e-3, 0.0, 4))
    assert any(not torch.equal(clipped[name], tensor) for name, tensor in plain.items())
    for name, tensor in plain.items():
        torch.testing.assert_close(private[name], tensor, rtol=1e-3, atol=1e-5)


@EXCHANGES
def test_several_batches_an_exchange_are_refused(make: Callable[..., SplitStrategy]) -> None:
    with pytest.raises(ValueError, match="batches_per_exchange = 2: with client_privacy"):
        make(changes(ClientPrivacy(1.0, 0.0, 6)), batches_per_exchange=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("half", "make", "said"),
    [("client", split_fed_v1, "client half mixes"), ("server", fsl_sage, "auxiliary head mixes")],
)
def test_a_strategy_refuses_what_mixes_samples(half: str, make: Any, said: str) -> None:
    task = changes(ClientPrivacy(1.0, 0.0, 6))
    mixed = {"client": task["model"].client, "server": task["model"].server}
    mixed[half] = nn.Sequential(nn.BatchNorm2d(1 if half == "client" else 4), *mixed[half])
    task["model"] = SplitModel(mixed["client"], mixed["server"], cut="server")
    with pytest.raises(SplitError, match=said):
        make(task)


@pytest.mark.slow
def test_a_model_that_mixes_samples_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["privacy.max-grad-norm=1", "model=resnet18", f"results-dir={tmp_path / 'results'}"]
    assert main(["run", *words]) == 2
    said = capsys.readouterr().err
    assert re.match(
        r"fsl-sage: DP-SGD of the client's steps: the client half mixes the samples .*\n$", said
    )
