"""Tensors in files: the same bits back, and a file as long as it is used."""

import copy
import gc
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsl_sage_flwr.tensor_store import TensorFile, TensorStore, files_in, map_files, with_prefix

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 4), max_size=3)


def names(folder: TensorStore) -> set[str]:
    return {path.name for path in folder.path.glob("*")}


@given(st.dictionaries(NAMES, st.tuples(SHAPES, st.sampled_from(DTYPES)), max_size=6))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_names_their_order_and_values_come_back(wanted: dict) -> None:
    tensors = {
        name: torch.randint(0, 2, shape).to(dtype) for name, (shape, dtype) in wanted.items()
    }
    file = TensorStore().write(tensors)
    for found in (file.load(), dict(file)):
        assert list(found) == list(tensors)
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
    assert len(file) == len(tensors)
    with pytest.raises(KeyError):
        file["__metadata__"]


def test_a_change_of_what_was_read_is_not_in_the_file() -> None:
    file = TensorStore().write({"a": torch.zeros(3), "view": torch.arange(8.0)[2:4]})
    file.load()["a"].add_(1)
    assert torch.equal(file["a"], torch.zeros(3))
    assert torch.equal(file["view"], torch.tensor([2.0, 3.0]))
    assert copy.deepcopy(file) is file


def test_tensors_that_share_memory_are_written_under_each_name() -> None:
    weight = torch.arange(8.0)
    file = TensorStore().write({"a": weight, "also": weight, "part": weight[2:4]})
    found = file.load()
    assert list(found) == ["a", "also", "part"]
    assert torch.equal(found["a"], weight)
    assert torch.equal(found["also"], weight)
    assert torch.equal(found["part"], weight[2:4])


@pytest.mark.slow
def test_a_file_goes_when_nobody_holds_it_any_more() -> None:
    folder = TensorStore()
    first, second = folder.write({"a": torch.ones(1)}), folder.write({"a": torch.ones(2)})
    saved = {"of a round": [first]}
    del first
    gc.collect()
    assert names(folder) == {saved["of a round"][0].path.name, second.path.name}
    saved.clear()
    gc.collect()
    assert names(folder) == {second.path.name}


@pytest.mark.slow
def test_a_checkpoint_keeps_its_files_and_two_share_them(tmp_path: Path) -> None:
    folder = TensorStore(tmp_path)
    files = [folder.write({"a": torch.full((1,), float(i))}) for i in range(3)]
    a, b, c = (file.path.name for file in files)
    folder.pin("latest", {a, b})
    folder.pin("best", {b, c})
    files.clear()
    gc.collect()
    assert names(folder) == {a, b, c}
    folder.pin("latest", {b})
    assert names(folder) == {b, c}
    folder.pin("best", ())
    assert names(folder) == {b}


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    killed = TensorStore(tmp_path)
    left, needed = killed.write({"a": torch.ones(1)}), killed.write({"b": torch.ones(1)})
    folder = TensorStore(tmp_path)
    own = folder.write({"c": torch.ones(1)})
    folder.pin("latest", {needed.path.name})
    others = {"somebody's", "somebody's.safetensors"}
    for other in others:
        (tmp_path / other).touch()
    folder.remove_leftovers()
    assert names(folder) == {needed.path.name, own.path.name, *others}
    assert left.problem() is not None


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_keeps_every_file_until_it_is_replaced(
    tmp_path: Path,
) -> None:
    before = TensorStore(tmp_path)
    files = [before.write({"a": torch.ones(1)}) for _ in range(2)]
    folder = TensorStore(tmp_path)
    folder.pin("latest", None)
    folder.remove_leftovers()
    taken = folder.adopt(files[0])
    del taken
    gc.collect()
    assert names(folder) == {file.path.name for file in files}
    folder.pin("latest", {files[1].path.name})
    assert names(folder) == {files[1].path.name}


@pytest.mark.slow
def test_a_file_of_another_folder_is_taken_and_the_others_is_left(tmp_path: Path) -> None:
    other, folder = TensorStore(tmp_path / "other"), TensorStore(tmp_path / "own")
    file = other.write({"a": torch.ones(2)})
    taken = folder.adopt(file)
    assert folder.adopt(taken).path == taken.path
    path = file.path
    del file
    gc.collect()
    assert not path.exists()
    assert torch.equal(taken["a"], torch.ones(2))


@pytest.mark.parametrize("damage", ["cut off", "missing", "made up"])
def test_damage_is_found_without_reading_it_all(tmp_path: Path, damage: str) -> None:
    file = TensorStore(tmp_path).write({"a": torch.ones(1000)})
    assert file.problem() is None
    content = file.path.read_bytes()
    if damage == "cut off":
        file.path.write_bytes(content[:-10])
    elif damage == "missing":
        file.path.unlink()
    else:
        file.path.write_bytes(b"\xff" * 100)
    assert str(file.path) in (file.problem() or "")


def test_files_are_found_in_nested_values() -> None:
    file = TensorStore().write({"x.a": torch.ones(1), "y.a": torch.zeros(1)})
    nested = {1: [file, {"deep": file}], "other": 3}
    assert files_in(nested) == [file, file]
    assert map_files(nested, lambda each: "file") == {1: ["file", {"deep": "file"}], "other": 3}
    assert list(with_prefix(file, "x.")) == ["a"]
    assert isinstance(file, TensorFile)
