"""``fsl-sage keys``."""

import subprocess
import sys

import pytest

from fsl_sage_flwr.cli import main
from fsl_sage_flwr.config.key_table import own_keys


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["keys", *words]) == 0
    return capsys.readouterr().out


def test_without_a_word_it_explains_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in printed(capsys).splitlines() if not line.startswith(" ")]
    assert [line.partition("=")[0] for line in lines] == list(own_keys())


def test_a_key_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "align.interval") == (
        "align.interval=2\n"
        "    alignment interval l: rounds from one alignment to the next\n"
        "    default: 2 rounds; valid: a whole number, at least 1\n"
        "    used by: fsl_sage\n"
        "    formerly: align-interval\n"
    )


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("noise", "privacy.noise-multiplier"),
        ("malicious-clients", "robust.assumed-malicious"),
        ("heron", "heron.perturbations"),
        ("Krum", "robust.assumed-malicious"),
    ],
)
def test_a_word_finds_keys(capsys: pytest.CaptureFixture[str], word: str, key: str) -> None:
    assert f"{key}=" in printed(capsys, word)


def test_a_word_without_a_key_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "learning-rte"]) == 2
    assert capsys.readouterr().err == (
        "fsl-sage: no key contains 'learning-rte'; did you mean 'learning-rate'?\n"
    )


@pytest.mark.slow
def test_it_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['fsl-sage', 'keys', 'privacy']; "
        "from fsl_sage_flwr.cli import main; main(); "
        "sys.exit(' '.join({'torch', 'flwr', 'pydantic'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "privacy.delta=1e-05" in ended.stdout
