"""Versions and hashes by which machines are compared."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import fsl_sage_flwr
from fsl_sage_flwr.running_code import app_code, package_code, package_version


def test_the_package_tells_its_version_and_its_source() -> None:
    assert fsl_sage_flwr.__version__ == package_version()
    assert re.fullmatch(rf"{re.escape(package_version())} [0-9a-f]{{12}}", package_code())


def test_an_app_is_told_by_its_version_and_the_files_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for k, version in enumerate(("1.0", "1.0", "1.1")):
        folder = tmp_path / f"{k}" / "mine_for_a_test"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
        (folder / "app.py").write_bytes(b"x = 1\n" if k else b"x = 1\r\n")
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder.parent)
            importlib.import_module("mine_for_a_test.app")
            found.append(app_code.__wrapped__("mine_for_a_test.app"))
            for name in ("mine_for_a_test.app", "mine_for_a_test"):
                del sys.modules[name]
    assert found[0] == found[1] != found[2]
    assert [str(each).split()[:2] for each in found[1:]] == [
        ["mine_for_a_test", "1.0"], ["mine_for_a_test", "1.1"],
    ]  # fmt: skip


def test_this_packages_own_app_and_what_has_no_file_are_not_told_twice() -> None:
    assert app_code("fsl_sage_flwr.client_app") is None
    assert app_code("no.such.module") is None
