"""``fsl-sage leakage`` on the digits."""

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest
import torch

from fsl_sage_flwr.app.assembly import build_task
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.attacks import Leakage, measure
from fsl_sage_flwr.attacks.measurement import Effort, psnr
from fsl_sage_flwr.cli import main
from fsl_sage_flwr.config.privacy import PrivacyOptions

QUICK = Effort(steps=60, images=500, samples=120)
WORDS = ["--steps", "4", "--images", "50", "--samples", "20"]
CONFIG = RunConfig(device="cpu")


def figures(found: Leakage) -> tuple[float, float, float]:
    return found.distance_correlation, found.decoder_error, found.mean_image_error


@pytest.fixture(scope="module")
def open_cut() -> Leakage:
    return measure(CONFIG, None, QUICK)


@pytest.mark.slow
def test_smashed_data_give_the_images_away(open_cut: Leakage) -> None:
    assert (open_cut.cut, open_cut.smashed_shapes, open_cut.samples) == (
        "classifier",
        ((256,),),
        120,
    )
    assert open_cut.decoder_error < 0.35 * open_cut.mean_image_error
    assert open_cut.distance_correlation > 0.7
    errors = (open_cut.reconstructions - open_cut.originals).square().mean()
    assert float(errors) < 0.5 * open_cut.mean_image_error
    assert open_cut.originals.shape == open_cut.reconstructions.shape == (10, 1, 8, 8)


@pytest.mark.slow
def test_noise_takes_it_back(open_cut: Leakage) -> None:
    noise = {"privacy": PrivacyOptions(smashed_clip_norm=1.0, smashed_noise_multiplier=2.0)}
    hidden = measure(replace(CONFIG, **noise), None, QUICK)
    assert hidden.decoder_error > 0.8 * open_cut.mean_image_error
    assert hidden.distance_correlation < 0.5 < open_cut.distance_correlation
    assert hidden.mean_image_error == open_cut.mean_image_error


@pytest.mark.slow
def test_the_same_configuration_has_the_same_figures() -> None:
    noisy = replace(CONFIG, privacy=PrivacyOptions(1.0, 0.1))
    few = Effort(steps=2, images=32, samples=20)
    torch.manual_seed(0)
    first = figures(measure(noisy, None, few))
    torch.manual_seed(1)
    assert first == figures(measure(noisy, None, few))
    assert first != figures(measure(replace(noisy, seed=201), None, few))


def test_psnr_is_in_decibels() -> None:
    assert psnr(0.01) == pytest.approx(20.0)
    assert psnr(0.0) == float("inf")


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """Write what a completed run leaves: another client half than the seed's."""
    run = tmp_path / "my-run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(CONFIG.to_run_config()), encoding="utf-8")
    model = build_task(replace(CONFIG, seed=9)).model
    torch.save(model.client.state_dict(), run / "client_half.pt")
    (run / "history.csv").touch()  # an earlier version's run, which has no marker
    torch.save(model.server.state_dict(), run / "server_half.pt")
    return run


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["leakage", *WORDS, *words]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_runs_own_client_half_is_measured_and_drawn(
    run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "picture.png"
    fresh = printed(["device=cpu", "--out", str(path)], capsys)
    trained = printed([str(run_directory), "--out", str(path)], capsys)
    assert "halves as initialised" in fresh
    assert "halves of my-run" in trained
    assert "256 values for 64 of the input" in trained
    lines = [line for line in trained.splitlines() if line.startswith(("decoder", "distance"))]
    assert all(line not in fresh for line in lines)
    assert len(lines) == 2
    height, width, _ = matplotlib.image.imread(path).shape
    assert width > 3 * height > 300


@pytest.mark.slow
def test_keys_after_a_directory_win(
    run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = ["privacy.smashed-clip-norm=2", "privacy.smashed-noise-multiplier=0.5"]
    out = printed([str(run_directory), *noise, "--out", str(tmp_path / "p.png")], capsys)
    assert "clipped to 2, noise of 1" in out


@pytest.mark.sample
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "'nowhere' is not the directory of a completed run: it has no config.json"),
        (["{run}", "nowhere"], "give one run directory or one preset"),
        (["{run}", "--preset", "paper"], "and --preset paper: give one run directory"),
        (["{run}", "cut=features.3"], "the weights are not those of simple_conv cut before"),
        (["cut=layer9"], "cut 'layer9' is not a submodule of SimpleConv"),
        (["model=resnet19"], "model = 'resnet19': valid are"),
        (["--out", "/nowhere/x.png"], "--out '/nowhere/x.png': there is no directory '/nowhere'"),
        (
            ["privacy.smashed-noise-multiplier=1"],
            "privacy.smashed-noise-multiplier = 1: the noise is measured",
        ),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], line: str, run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leakage", *WORDS, *(w.format(run=run_directory) for w in words)]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_a_run_that_has_not_ended_is_refused(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_directory / "client_half.pt").unlink()
    assert main(["leakage", str(run_directory)]) == 2
    assert "it has no client_half.pt" in capsys.readouterr().err
