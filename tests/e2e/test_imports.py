"""What every message's process and every command would wait for if it were imported at the top."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

# Large, and not needed by every process.
LATE = ("torchvision", "torch._dynamo", "sklearn", "flwr_datasets", "matplotlib", "ray")
LATE += ("wandb", "mlflow", "aim")


@pytest.mark.parametrize("module", ["client_app", "server_app", "cli"])
def test_what_only_some_need_is_imported_late(module: str) -> None:
    command = f"import sys, fsl_sage_flwr.{module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    loaded = set(done.stdout.split())
    assert f"fsl_sage_flwr.{module}" in loaded
    assert loaded.isdisjoint(LATE)
