"""What others register is found: by entry points of their packages, and by --import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsl_sage_flwr.command_line.arguments.list import KINDS
from fsl_sage_flwr.extensions import GROUPS
from fsl_sage_flwr.simulations.known_names import NAMES

MODEL = """
from fsl_sage_flwr.models import ModelEntry, register_model
from fsl_sage_flwr.models.simple_conv import SimpleConv

def mine(shape, classes):
    return SimpleConv(shape, classes)

register_model("mine", ModelEntry(mine, cut="classifier"))
"""


def fsl_sage(*words: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [root, path or root]))}
    code = "import sys; from fsl_sage_flwr.command import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True,
        text=True, check=False, timeout=120,
    encoding="utf-8")  # fmt: skip


@pytest.mark.integration
def test_a_module_in_this_folder_registers_a_model(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODEL, encoding="utf-8")
    listed = fsl_sage("list", "models", "--import", "my_models", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith("mine "))
    assert "my_models" in line
    wrong = fsl_sage("list", "models", "--import", "my_models.py", cwd=tmp_path)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    assert "without .py" in wrong.stderr


@pytest.mark.integration
def test_a_model_of_ones_own_trains_on_ray(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODEL, encoding="utf-8")
    done = fsl_sage(
        "run", "--import", "my_models", "--clients", "2", "model=mine", "num-server-rounds=1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mine on digits" in done.stdout


@pytest.mark.integration
def test_an_installed_packages_entry_point_is_found(tmp_path: Path) -> None:
    site = tmp_path / "site"
    information = site / "their_package-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "their_models.py").write_text(MODEL, encoding="utf-8")
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-package\n", encoding="utf-8"
    )
    entry = information / "entry_points.txt"
    entry.write_text("[fsl_sage_flwr.models]\nmine = their_models\n", encoding="utf-8")
    listed = fsl_sage("list", "models", cwd=tmp_path, path=site)
    assert "their_models" in listed.stdout, listed.stderr
    entry.write_text("[fsl_sage_flwr.models]\nmine = no_such_module\n", encoding="utf-8")
    broken = fsl_sage("list", "models", cwd=tmp_path, path=site)
    assert broken.returncode == 2
    assert "entry point 'mine' of fsl_sage_flwr.models (no_such_module)" in broken.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_listed_with_where_it_comes_from(kind: str) -> None:
    assert "fsl-sage-flwr" in {known.source for known in NAMES[kind]()}


def test_every_kind_that_is_registered_has_a_group() -> None:
    kinds = {group.rpartition(".")[2] for group in GROUPS}
    assert kinds == set(KINDS) - {"presets"} == set(NAMES) - {"presets"}
