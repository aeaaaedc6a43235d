"""Somebody else's project: the wheel in an environment of its own, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from .commands import ROOT, started_by

pytestmark = pytest.mark.integration

EXAMPLE = ROOT / "examples" / "own-model"


def environment_with(wheel: Path, directory: Path) -> Path:
    """Make a virtual environment that holds the wheel and Flower; the rest is borrowed.

    The path file does not bring the checkout's own installation along, and scripts that
    Flower starts must be this environment's.
    """
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*install, str(wheel), f"flwr=={version('flwr')}"], check=True)
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory / "bin"


def test_example_is_a_hundred_lines() -> None:
    sources = [*EXAMPLE.glob("own_model/*.py"), EXAMPLE / "pyproject.toml"]
    assert len(sources) == 5
    assert sum(len(path.read_text().splitlines()) for path in sources) <= 100


def test_example_runs_with_the_wheel_alone(tmp_path: Path) -> None:
    wheels, app = tmp_path / "wheels", tmp_path / "own-model"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    programs = environment_with(wheel, tmp_path / "environment")
    shutil.copytree(EXAMPLE, app)
    home = tmp_path / "home"
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": "39518",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    where = "import fsl_sage_flwr; print(fsl_sage_flwr.__file__)"
    found = subprocess.run(
        [str(programs / "python"), "-c", where], cwd=app, env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.startswith(str(tmp_path))
    try:
        done = subprocess.run(
            [
                str(programs / "flwr"), "run", ".", "--stream",
                "--federation-config", "num-supernodes=4 client-resources-num-cpus=1",
                "--run-config", f"results='{tmp_path}'",
            ],
            cwd=app, env=environment, capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        assert (tmp_path / "net.pt").is_file(), done.stdout + done.stderr
    finally:
        for process in started_by(str(home)):
            process.kill()

    sys.path.insert(0, str(EXAMPLE))
    try:
        from own_model.task import Net, data
    finally:
        sys.path.remove(str(EXAMPLE))
    net = Net()
    net.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True), strict=True)
    inputs, labels = data(test=True)
    scores = net.eval()(inputs)
    assert (scores.argmax(1) == labels).float().mean() > 0.93
    assert F.cross_entropy(scores, labels) < 0.3
