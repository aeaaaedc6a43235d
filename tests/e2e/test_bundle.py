"""The Flower App Bundle of the checkout, which travels to every node."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .commands import BIN, ROOT

pytestmark = pytest.mark.e2e

# Flower writes the list of all files; people who review the app read the other two.
BESIDE_THE_PACKAGE = {"pyproject.toml", ".info/CONTENT", "README.md", "LICENSE"}
OF_THE_COMMAND = ("analysis", "attacks", "cli", "simulations", "__main__.py")
APPS = """
import fsl_sage_flwr.client_app, fsl_sage_flwr.server_app, fsl_sage_flwr.public
from importlib.util import find_spec
print(fsl_sage_flwr.__file__, find_spec("fsl_sage_flwr.simulations"))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory into which the bundle is unpacked."""
    directory = tmp_path_factory.mktemp("bundle")
    build = [str(BIN / "flwr"), "build", "--app", str(ROOT)]
    subprocess.run(build, cwd=directory, check=True, capture_output=True)
    (fab,) = directory.glob("*.fab")
    assert fab.stat().st_size < 2_000_000  # each node downloads it: source alone, no data
    with zipfile.ZipFile(fab) as archive:
        archive.extractall(directory / "unpacked")
    return directory / "unpacked"


def test_it_holds_what_a_run_needs_and_nothing_else(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    package = {name for name in files if name.startswith("fsl_sage_flwr/")}
    assert files - package == BESIDE_THE_PACKAGE
    sources = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("fsl_sage_flwr/**/*.py")}
    of_the_command = {name for name in sources if name.split("/")[1] in OF_THE_COMMAND}
    assert package == (sources - of_the_command) | {"fsl_sage_flwr/data/digits.json"}


def test_the_apps_need_nothing_beside_it(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", APPS], cwd=bundle, env={"PATH": ""}, check=False,
        capture_output=True, text=True,
    encoding="utf-8")  # fmt: skip
    assert done.stdout.split() == [f"{bundle}/fsl_sage_flwr/__init__.py", "None"], done.stderr
