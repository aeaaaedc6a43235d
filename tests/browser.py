"""Start a headless Chromium: this machine's, playwright's or npm's."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "FSL_SAGE_CHROMIUM"
ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NPM_PACKAGE = "@sparticuz/chromium"
HOW = (
    f"no Chromium: install one (apt install chromium), name one in {VARIABLE}, run `playwright "
    f"install chromium`, or have npm, which brings {NPM_PACKAGE}"
)


@contextmanager
def chromium(scratch: Path) -> Iterator[Any]:
    """Yield a started browser of playwright's; skip the test where there is none.

    Looked for in this order: the program that the environment names, one on the PATH,
    playwright's own, one from npm's registry, which is unpacked into ``scratch``.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        program, environment = found(own) or from_npm(scratch)
        browser = playwright.chromium.launch(
            executable_path=program,
            # Root, as in a container, has no sandbox; the page is our own.
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, **environment},
        )
        yield browser
        browser.close()


def found(own: Path) -> tuple[str, dict[str, str]] | None:
    """Return a browser that is on this machine."""
    named = os.environ.get(VARIABLE)
    here = next(filter(None, map(shutil.which, ON_PATH)), None)
    program = named or here or (str(own) if own.is_file() else None)
    return (program, {}) if program else None


def from_npm(scratch: Path) -> tuple[str, dict[str, str]]:
    """Return a Chromium made for machines with next to nothing on them, with its libraries."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(HOW)
    install = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(scratch), NPM_PACKAGE]
    installed = subprocess.run(
        install,
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        encoding="utf-8",
    )
    if installed.returncode != 0:
        pytest.skip(f"{HOW}; npm says {installed.stderr.strip()[-200:]}")
    script = f"""
        const {{default: chromium}} = await import({json.dumps(NPM_PACKAGE)});
        console.log(await chromium.executablePath());
    """
    # It unpacks into TMPDIR; libraries come along where it takes the machine for Amazon's.
    unpack = {"TMPDIR": str(scratch), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}
    done = subprocess.run(
        [node, "--input-type=module", "-e", script], cwd=scratch,
        env={**os.environ, **unpack}, capture_output=True, text=True, timeout=120, check=True,
    encoding="utf-8")  # fmt: skip
    libraries = [str(path.parent) for path in scratch.glob("al*/**/libnss3.so")]
    return done.stdout.strip(), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}
