"""A user's project: the wheel in a separate environment, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .commands import PATIENCE, ROOT, kill_started_by


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and Flower; the rest is borrowed.

    The path file does not bring the checkout's own installation along, and scripts that
    Flower starts must be this environment's.
    """

    programs: Path

    @classmethod
    def make(cls, directory: Path) -> "Installed":
        wheels, place = directory / "wheels", directory / "environment"
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT)]
        subprocess.run(build, check=True, capture_output=True)
        (wheel,) = wheels.glob("*.whl")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        (site,) = place.glob("lib/python*/site-packages")
        programs = place / "bin"
        install = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install"]
        install += ["-q", "--no-deps", "--no-compile"]
        subprocess.run([*install, str(wheel), f"flwr=={version('flwr')}"], check=True)
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        installed = cls(programs)
        where = "import fsl_sage_flwr; print(fsl_sage_flwr.__file__)"
        assert installed.python("-c", where, cwd=directory).startswith(str(directory))
        return installed

    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        }

    def python(self, *words: str, cwd: Path) -> str:
        """Run this environment's Python; return its output."""
        done = subprocess.run(
            [str(self.programs / "python"), *words], cwd=cwd, env=self.environment(),
            timeout=PATIENCE, check=False, capture_output=True, text=True,
        encoding="utf-8")  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_example(self, name: str, directory: Path, port: int, run_config: str) -> str:
        """Run an example with ``flwr run``; return its output."""
        home = directory / "home"
        environment = {
            **self.environment(),
            "FLWR_HOME": str(home),
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        }
        try:
            done = subprocess.run(
                [
                    str(self.programs / "flwr"), "run", ".", "--stream",
                    "--federation-config", "num-supernodes=4 client-resources-num-cpus=1",
                    "--run-config", run_config,
                ],
                cwd=_copied(name, directory), env=environment, capture_output=True, text=True,
                timeout=PATIENCE, check=True,
            encoding="utf-8")  # fmt: skip
        finally:
            kill_started_by(str(home))
        return done.stdout + done.stderr

    def run_inline_example(
        self, name: str, package: str, directory: Path, config: dict[str, object]
    ) -> None:
        """Run an example in one process."""
        self.python(
            "-c",
            f"from fsl_sage_flwr import run_inline\nfrom {package} import client_app, server_app\n"
            f"run_inline(server_app.app, client_app.app, clients=4, run_config={config!r})",
            cwd=_copied(name, directory),
        )


def _copied(name: str, directory: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / name, directory / name, dirs_exist_ok=True))
