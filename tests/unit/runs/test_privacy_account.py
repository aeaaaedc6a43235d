"""The account of the noise: against the exact figure, and what it is an account of."""

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from torch import nn

from fsl_sage_flwr.analysis.load_results import load_results
from fsl_sage_flwr.app.assembly import build_account
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.client_app import app
from fsl_sage_flwr.runs import privacy_account
from fsl_sage_flwr.runs.directory import RunDirectory
from fsl_sage_flwr.runs.privacy_account import PrivacyAccount, PrivacyAccountError
from fsl_sage_flwr.server_app import main
from fsl_sage_flwr.splitting import mixes_samples

from ...memory_grid import MemoryGrid
from ...tasks import small_task

DELTA = 1e-5
needs_accountant = pytest.mark.skipif(
    importlib.util.find_spec("dp_accounting") is None, reason="the extra privacy is not installed"
)


def exact_epsilon(sensitivity: float) -> float:
    """Return ε of a Gaussian mechanism with noise 1 (Balle and Wang 2018, theorem 8)."""
    phi = NormalDist().cdf

    def delta(epsilon: float) -> float:
        a, b = sensitivity / 2, epsilon / sensitivity
        return phi(a - b) - math.exp(epsilon) * phi(-a - b)

    low, high = 0.0, 500.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta(middle) > DELTA else (low, middle)
    return high


@needs_accountant
@pytest.mark.parametrize(("multiplier", "uploads"), [(10.0, 1), (2.0, 1), (10.0, 40), (50.0, 40)])
def test_it_is_the_exact_figure_or_a_little_more(multiplier: float, uploads: int) -> None:
    exact = exact_epsilon(2 / multiplier * math.sqrt(uploads))
    assert exact <= PrivacyAccount(multiplier, DELTA).epsilon(uploads) < 1.12 * exact


@needs_accountant
def test_uploads_compose_and_a_batch_that_is_mixed_counts_as_all_of_it() -> None:
    one = PrivacyAccount(10.0, DELTA)
    assert one.epsilon(0) == 0.0
    assert one.epsilon(1) < one.epsilon(2) < one.epsilon(20)
    mixed = PrivacyAccount(10.0, DELTA, samples_moved=4)
    assert mixed.epsilon(1) == pytest.approx(PrivacyAccount(5.0, DELTA).epsilon(1))
    assert "uploaded at most 3 times; labels, client halves" in one.describe(3)
    assert "moving those of all 4 in its batch; labels" in mixed.describe(3)


@needs_accountant
def test_the_clients_steps_compose_with_their_uploads() -> None:
    both = PrivacyAccount(10.0, DELTA, client_noise_multiplier=10.0)
    # Two equal Gaussian mechanisms are one with the noise of 1/sqrt(2).
    assert both.epsilon(3) == pytest.approx(PrivacyAccount(10.0 / math.sqrt(2), DELTA).epsilon(3))
    assert PrivacyAccount(10.0, DELTA, client_noise_multiplier=1e6).epsilon(3) == pytest.approx(
        PrivacyAccount(10.0, DELTA).epsilon(3), rel=1e-3
    )
    assert "the client's steps of one sample" in both.describe(3)
    end = "3 times; labels are not covered (docs/explanation/privacy.md)"
    assert both.describe(3).endswith(end)


def test_a_missing_accountant_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy_account, "find_spec", lambda name: None)
    with pytest.raises(
        PrivacyAccountError, match=r"^privacy.delta = 1e-05: .*\[privacy\].* privacy.delta = 0"
    ):
        PrivacyAccount(1.0, DELTA)


@pytest.mark.parametrize(
    ("half", "mixed"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Dropout(0.3)), False),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), True),
        (nn.GroupNorm(1, 1), False),
    ],
)
def test_a_half_that_mixes_samples_is_seen(half: nn.Module, mixed: bool) -> None:
    before = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert mixes_samples(half, (torch.zeros(4, 1, 5, 5),)) == mixed
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in half.state_dict().items())


class Centred(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - inputs.mean(dim=0)


def test_a_module_of_ones_own_that_mixes_is_tried() -> None:
    assert mixes_samples(Centred(), (torch.zeros(3, 5),))


class Recurrent(nn.Module):
    """Without ``batch_first`` the first axis, of the samples, is taken for the time."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.LSTM(3, 2, batch_first=batch_first)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs)[0]


class Applied(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


def only_the_middle(x: torch.Tensor) -> torch.Tensor:
    return x + x[len(x) // 2]


IDS = torch.zeros(5, 4, dtype=torch.int64)
MASK = torch.ones(5, 4, dtype=torch.bool)
SOME = torch.tensor([[3, 7, 3], [7, 3, 3], [3, 3, 7]])


@pytest.mark.parametrize(
    ("half", "example", "mixed"),
    [
        (Recurrent(batch_first=False), (torch.zeros(5, 4, 3),), True),
        (Recurrent(batch_first=True), (torch.zeros(5, 4, 3),), False),
        (Applied(lambda x: x.cumsum(0)), (torch.zeros(5, 4),), True),
        (Applied(lambda x: x.flip(0).cumsum(0)), (torch.zeros(5, 4),), True),
        (Applied(lambda x: x.roll(1, 0) + x), (torch.zeros(5, 4),), True),
        (Applied(only_the_middle), (torch.zeros(5, 4),), True),
        (Applied(lambda x: x.cumsum(0)), (torch.zeros(2, 4),), True),
        (Applied(lambda x: x.sum(1)), (torch.zeros(5, 4),), False),
        (nn.Embedding(2, 3), (IDS,), False),
        (nn.Sequential(nn.Embedding(2, 3), Centred()), (IDS,), True),
        (nn.Sequential(nn.Embedding(9, 3), Centred()), (SOME,), True),
        (nn.Embedding(9, 3), (SOME,), False),
        (Applied(lambda x, m: x * m), (torch.zeros(5, 4), MASK), False),
        (Applied(lambda x, m: x * m.float().mean()), (torch.zeros(5, 4), MASK), True),
        (Applied(lambda x, m: m.all(1) & m[0, 0]), (torch.zeros(5, 4), MASK), True),
    ],
)
def test_mixing_is_seen_in_every_direction_and_of_every_input(
    half: nn.Module, example: tuple[torch.Tensor, ...], mixed: bool
) -> None:
    assert mixes_samples(half, example) == mixed
    assert torch.equal(IDS, torch.zeros(5, 4, dtype=torch.int64))


NOISE = {"privacy.smashed-clip-norm": 1.0, "privacy.smashed-noise-multiplier": 1.0}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"privacy.smashed-clip-norm": 1.0},
        {
            "privacy.smashed-clip-norm": 1.0,
            "privacy.smashed-noise-multiplier": 1.0,
            "privacy.smashed-noise-seed": 3,
        },
        {
            "privacy.smashed-clip-norm": 1.0,
            "privacy.smashed-noise-multiplier": 1.0,
            "privacy.delta": 0.0,
        },
    ],
)
def test_without_secret_noise_there_is_no_account(values: dict[str, Any]) -> None:
    config = RunConfig.from_run_config({"device": "cpu", **values})
    assert not config.privacy.has_account
    assert build_account(config, small_task()) is None


@pytest.mark.slow
@needs_accountant
def test_a_run_says_what_it_has_spent(
    tmp_path: Path, few_digits: str, caplog: pytest.LogCaptureFixture
) -> None:
    values: dict[str, Any] = {
        "algorithm": "cse_fsl", "dataset": few_digits, "num-server-rounds": 2, "batch-size": 25,
        "local-epochs": 2, **NOISE, "privacy.smashed-noise-multiplier": 4.0,
        "privacy.max-grad-norm": 1.0, "privacy.noise-multiplier": 8.0,
        "privacy.delta": DELTA, "results-dir": str(tmp_path), "run-name": "x", "device": "cpu",
    }  # fmt: skip
    caplog.set_level("INFO", logger="flwr.fsl_sage")
    main(MemoryGrid(app, 2, run_config=values), Context(1, 0, {}, RecordDict(), values))
    (run,) = {path.parent for path in tmp_path.rglob("history.csv")}
    account = PrivacyAccount(4.0, DELTA, client_noise_multiplier=8.0)
    spent = [round(account.epsilon(uploads), 4) for uploads in (2, 4)]
    assert list(load_results(tmp_path)["epsilon"]) == spent
    clients = RunDirectory.clients_of(run).read_text(encoding="utf-8").splitlines()
    assert clients[0].endswith("total_sample_uploads,failure,round_epsilon,epsilon")
    assert [line.split(",")[-2:] for line in clients[1:]] == [
        [f"{spent[0]}", f"{epsilon}"] for epsilon in spent for _ in range(2)
    ]
    summary = json.loads(RunDirectory.summary_of(run).read_text(encoding="utf-8"))
    assert (summary["epsilon"], summary["delta"]) == (spent[1], DELTA)
    assert "uploaded at most 4 times" in caplog.text
