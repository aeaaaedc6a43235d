"""What a node keeps between messages, and where."""

from pathlib import Path

import pytest
import torch
from flwr.app import Context, RecordDict

from fsl_sage_flwr.nodes import client_state
from fsl_sage_flwr.nodes.client_folder import CACHE_VARIABLE
from fsl_sage_flwr.nodes.client_state import ClientState

TENSORS = {"a": torch.arange(3.0), "b": torch.tensor(2)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def context(node: int = 5, run: int = 3) -> Context:
    return Context(run_id=run, node_id=node, node_config={}, state=RecordDict(), run_config={})


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def same(found: dict[str, torch.Tensor] | None) -> bool:
    assert found is not None
    return found.keys() == TENSORS.keys() and all(
        torch.equal(tensor, TENSORS[key]) for key, tensor in found.items()
    )


def test_small_groups_stay_in_the_context_and_make_no_file(root: Path) -> None:
    here = context()
    ClientState(here).save("x", TENSORS, version=4)
    assert same(ClientState(here).load("x", version=4))
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("save", ["save", "save_file"])
def test_large_groups_and_files_on_demand_are_in_a_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, save: str
) -> None:
    if save == "save":
        monkeypatch.setattr(client_state, "LARGEST_BESIDE_FILES", 10)
    here = context()
    getattr(ClientState(here), save)("x", TENSORS, version=4)
    assert same(ClientState(here).load("x", version=4))
    assert [path.name for path in files(root)] == ["x.safetensors"]
    assert here.state.array_records == {}


def test_another_version_or_a_file_that_has_gone_is_noticed(root: Path) -> None:
    here = context()
    ClientState(here).save_file("x", TENSORS, version=4)
    assert ClientState(here).load("x", version=5) is None
    files(root)[0].unlink()
    assert ClientState(here).load("x", version=4) is None
    assert ClientState(here).load("never") is None


def test_what_is_dropped_is_gone(root: Path) -> None:
    here = context()
    for name, save in (("x", "save"), ("y", "save_file")):
        getattr(ClientState(here), save)(name, TENSORS)
        ClientState(here).drop(name)
        assert ClientState(here).load(name) is None
    assert files(root) == []
    assert len(here.state) == 0


def test_where_no_folder_is_named_50_megabytes_stay_in_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    large = {"a": torch.zeros(2**20)}  # 4 MiB
    here, there = context(), context(6)
    ClientState(here).save("x", large)
    assert list(here.state.array_records) == ["x"]
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "named"))
    ClientState(there).save("x", large)
    assert list(there.state.array_records) == []
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["x.safetensors"]
