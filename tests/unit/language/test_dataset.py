"""Prompts and completions from files, divided among clients."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fsl_sage_flwr.data import DatasetError, Distribution
from fsl_sage_flwr.language import Row
from fsl_sage_flwr.language.dataset import (
    Columns,
    divided,
    own_rows,
    split_of,
    with_some_kept_out,
)
from fsl_sage_flwr.task import ClientIdentity

from ...language import save_rows

pytestmark = pytest.mark.usefixtures("own_datasets")

ROWS = [Row(f"p{k % 9}\n", f"{k}" + "x" * (k % 100)) for k in range(900)]


def parts(name: str, clients: int = 3, **changes: Any) -> list[list[Row]]:
    train, _ = divided(ROWS, Distribution(name, **changes), 0.0)
    return [list(train(ClientIdentity(k, clients))) for k in range(clients)]


def test_columns_are_found_by_their_usual_names_or_named(tmp_path: Path) -> None:
    name = save_rows(tmp_path / "rows")
    rows = split_of(name, Columns(), "train")
    assert len(rows) == 24
    assert rows[1] == Row("w1 w1\n", "w1 w1 w2")
    assert split_of(name, Columns("ref", "mr"), "test")[0].completion == "w0 w0"
    with pytest.raises(DatasetError, match=r"has no column 'x'; its columns are mr, ref: name one"):
        split_of(name, Columns("x"), "train")
    with pytest.raises(DatasetError, match=r"has no split 'valid'; its splits are train, test"):
        split_of(name, Columns(), "valid")
    with pytest.raises(DatasetError, match="cannot be loaded"):
        split_of(str(tmp_path / "nothing"), Columns(), "train")


def test_a_nodes_own_rows_are_its_train_split(tmp_path: Path) -> None:
    assert len(own_rows(save_rows(tmp_path / "rows"), Columns())) == 24
    with pytest.raises(DatasetError, match=r"data-path = 'rows' is no directory"):
        own_rows("rows", Columns())


@pytest.mark.parametrize("name", ["iid", "natural", "length", "noniid"])
def test_every_row_goes_to_one_client(name: str) -> None:
    found = Counter(row for part in parts(name) for row in part)
    assert set(found) <= set(ROWS)
    assert max(found.values()) == 1
    assert parts(name) == parts(name)


def test_natural_keeps_a_prompts_rows_together() -> None:
    prompts = [{row.prompt for row in part} for part in parts("natural")]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 9


def test_length_gives_clients_rows_of_unlike_lengths() -> None:
    def means(name: str, alpha: float = 1.0) -> list[float]:
        found = parts(name, alpha=alpha)
        return [sum(len(row.completion) for row in part) / len(part) for part in found]

    even, uneven = means("iid"), means("length", 0.05)
    assert max(uneven) - min(uneven) > 2 * (max(even) - min(even))


def test_validation_rows_are_kept_out_of_training() -> None:
    train, validation = divided(ROWS, Distribution("iid"), 0.2)
    for k in range(3):
        ours, theirs = train(ClientIdentity(k, 3)), validation(ClientIdentity(k, 3))
        assert (len(ours), len(theirs)) == (240, 60)
        assert not set(ours) & set(theirs)


def test_rows_are_kept_out_by_the_seed_and_both_parts_have_some() -> None:
    ours, theirs = with_some_kept_out(ROWS[:20], 0.1, 3)
    assert (len(ours), len(theirs)) == (18, 2)
    assert theirs != ROWS[:2]
    assert with_some_kept_out(ROWS[:2], 0.9, 3)[0]
    assert with_some_kept_out(ROWS[:2], 0.1, 3)[1]
    assert with_some_kept_out(ROWS[:1], 0.0, 3) == (ROWS[:1], [])
    with pytest.raises(DatasetError, match=r"1 example\(s\): a client that evaluates needs"):
        with_some_kept_out(ROWS[:1], 0.5, 3)
