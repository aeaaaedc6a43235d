"""A user's project: the wheel in a separate environment, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from .commands import PATIENCE, ROOT, started_by


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
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return directory / "bin"


def run_example(name: str, directory: Path, port: int, run_configs: Iterable[str]) -> str:
    """Run an example with the wheel alone, once for each configuration; return what Flower said."""
    programs, app, environment = _installed(name, directory)
    environment["FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"] = str(port)
    said = ""
    try:
        for run_config in run_configs:
            done = subprocess.run(
                [
                    str(programs / "flwr"), "run", ".", "--stream",
                    "--federation-config", "num-supernodes=4 client-resources-num-cpus=1",
                    "--run-config", run_config,
                ],
                cwd=app, env=environment, capture_output=True, text=True, timeout=PATIENCE,
                check=True,
            encoding="utf-8")  # fmt: skip
            said += done.stdout + done.stderr
    finally:
        for process in started_by(environment["FLWR_HOME"]):
            process.kill()
    return said


def run_inline_example(name: str, package: str, directory: Path, config: dict[str, object]) -> None:
    """Run an example with the wheel alone, in one process."""
    programs, app, environment = _installed(name, directory)
    source = (
        f"from fsl_sage_flwr import run_inline\nfrom {package} import client_app, server_app\n"
        f"run_inline(server_app.app, client_app.app, clients=4, run_config={config!r})"
    )
    subprocess.run(
        [str(programs / "python"), "-c", source], cwd=app, env=environment, timeout=PATIENCE,
        check=True,
    )  # fmt: skip


def _installed(name: str, directory: Path) -> tuple[Path, Path, dict[str, str]]:
    """Return the programs, the folder and the environment of an example with the wheel alone."""
    wheels, app = directory / "wheels", directory / name
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    programs = environment_with(wheel, directory / "environment")
    shutil.copytree(ROOT / "examples" / name, app)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(directory / "home"),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    where = "import fsl_sage_flwr; print(fsl_sage_flwr.__file__)"
    found = subprocess.run(
        [str(programs / "python"), "-c", where], cwd=app, env=environment, check=True,
        capture_output=True, text=True,
    encoding="utf-8")  # fmt: skip
    assert found.stdout.startswith(str(directory))
    return programs, app, environment
