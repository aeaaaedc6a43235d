"""Text is read and written in UTF-8, whatever the locale is: ruff's PLW1514 has the source."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
def test_a_command_works_in_an_ascii_locale(tmp_path: Path) -> None:
    """What the terminal cannot show is shown as an escape."""
    folder = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-m", "fsl_sage_flwr", "run", "--dry-run",
         f"results-dir={folder}", "preset=ĝ"],
        cwd=tmp_path, env={**os.environ, **ASCII}, capture_output=True, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in said
    ours = [line for line in said.splitlines() if "EncodingWarning" in line and "fsl_sage" in line]
    assert not ours
