"""A simulation is known from the start: Flower loads Ray while the ServerApp runs already."""

import subprocess
import sys

import pytest

from fsl_sage_flwr.messages import in_actor, in_simulation


@pytest.mark.parametrize(
    ("loaded", "simulation", "actor"),
    [
        (["flwr.simulation"], True, False),
        (["flwr.simulation", "ray"], True, True),
        (["ray"], False, False),
        ([], False, False),
    ],
)
def test_where_this_process_is(
    monkeypatch: pytest.MonkeyPatch, loaded: list[str], simulation: bool, actor: bool
) -> None:
    for name in ("flwr.simulation", "ray"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in loaded:
        monkeypatch.setitem(sys.modules, name, sys)
    assert (in_simulation(), in_actor()) == (simulation, actor)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("program", "simulates"),
    [("flwr.simulation.app", True), ("flwr.superlink.cli", False), ("flwr.supernode.cli", False)],
)
def test_what_flowers_programs_load_at_the_start(program: str, simulates: bool) -> None:
    code = f"import sys, {program}; print('flwr.simulation' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        encoding="utf-8",
    )
    assert done.stdout.strip() == str(simulates)
