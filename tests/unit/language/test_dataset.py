"""Prompts and completions from files, divided among clients."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from fsl_sage_flwr.data import DatasetError, Distribution
from fsl_sage_flwr.language import Row
from fsl_sage_flwr.language.columns import Columns
from fsl_sage_flwr.language.dataset import (
    load_texts,
    own_rows,
    partition_rows,
    split_of,
    train_holdout_split,
)
from fsl_sage_flwr.language.rows import refuse_long_prompts, tokenize
from fsl_sage_flwr.task import ClientIdentity

from ...language import Letters, save_rows

pytestmark = pytest.mark.usefixtures("own_datasets")

ROWS = [Row(f"p{k % 9}\n", f"{k}" + "x" * (k % 100)) for k in range(900)]


def parts(name: str, clients: int = 3, **changes: Any) -> list[list[Row]]:
    train, _ = partition_rows(ROWS, Distribution(name, **changes), 0.0)
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


@pytest.mark.sample
@pytest.mark.parametrize("name", ["iid", "natural", "length", "shards"])
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
    train, validation = partition_rows(ROWS, Distribution("iid"), 0.2)
    for k in range(3):
        ours, theirs = train(ClientIdentity(k, 3)), validation(ClientIdentity(k, 3))
        assert (len(ours), len(theirs)) == (240, 60)
        assert not set(ours) & set(theirs)


def test_rows_are_kept_out_by_the_seed_and_both_parts_have_some() -> None:
    ours, theirs = train_holdout_split(ROWS[:20], 0.1, 3)
    assert (len(ours), len(theirs)) == (18, 2)
    assert theirs != ROWS[:2]
    assert train_holdout_split(ROWS[:2], 0.9, 3)[0]
    assert train_holdout_split(ROWS[:2], 0.1, 3)[1]
    assert train_holdout_split(ROWS[:1], 0.0, 3) == (ROWS[:1], [])
    with pytest.raises(DatasetError, match=r"1 example\(s\): a client that evaluates needs"):
        train_holdout_split(ROWS[:1], 0.5, 3)


def table_of(folder: Path, **columns: list[Any]) -> str:
    folder.mkdir()
    names = list(columns)
    for split in ("train", "test"):
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.slow
def test_an_instruction_keeps_its_input(tmp_path: Path) -> None:
    """As Alpaca has them: the input is empty where there is none."""
    name = table_of(
        tmp_path / "alpaca", instruction=["Add", "Rhyme", "Sing"], input=["1 2", "", None],
        output=["3", "x", "y"],
    )  # fmt: skip
    rows = split_of(name, Columns(), "train")
    assert rows == (Row("Add\n1 2\n", "3"), Row("Rhyme\n", "x"), Row("Sing\n", "y"))
    assert load_texts(name, Columns()).columns == Columns("instruction,input", "output")
    assert split_of(name, Columns("instruction"), "train")[0] == Row("Add\n", "3")
    assert split_of(name, Columns("input, instruction"), "train")[0] == Row("1 2\nAdd\n", "3")
    with pytest.raises(DatasetError, match="has no column 'x'"):
        split_of(name, Columns("instruction,x"), "train")
    with pytest.raises(DatasetError, match="'output' cannot be prompt and completion both"):
        split_of(name, Columns("output"), "train")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"prompt": ["a"], "instruction": ["b"], "output": ["c"]}, "as prompt: prompt, instruct"),
        ({"prompt": ["a"], "response": ["b"], "output": ["c"]}, "completion: response, output;"),
        ({"instruction": ["a"], "input": ["b"], "context": ["c"], "output": ["d"]}, "as prompt: "),
        ({"messages": [[{"role": "user", "content": "a"}]]}, "'messages' holds no text: .*chat"),
        ({"prompt": [["a", "b"]], "output": ["c"]}, "row 0 of split 'train' .* a list in 'prompt'"),
        (
            {"prompt": [[{"role": "user", "content": "a"}]], "completion": ["b"]},
            "not text: write prompts .* tokenizer.apply_chat_template",
        ),
        ({"prompt": ["a", None, None], "output": ["b", "c", "d"]}, "2 of 3 rows .* have nothing"),
    ],
)
def test_refuses_to_guess_and_what_is_no_text(
    tmp_path: Path, columns: dict[str, list[Any]], said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        split_of(table_of(tmp_path / "d", **columns), Columns(), "train")
    assert "\n" not in str(caught.value)


def test_rows_without_a_text_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = table_of(tmp_path / "d", mr=["a", None, "c", "d"], ref=["1", "2", None, "4"])
    with caplog.at_level("WARNING", "flwr.fsl_sage"):
        assert split_of(name, Columns(), "test") == (Row("a\n", "1"), Row("d\n", "4"))
    assert "2 of 4 rows of split 'test' of dataset" in caplog.text


def test_prompts_that_are_too_long_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [Row("p" * k, "abc") for k in range(10)]
    with caplog.at_level("WARNING", "flwr.fsl_sage"):
        assert len(tokenize(rows, Letters(), 7, torch.device("cpu"))) == 7
    assert "language.max-length = 7: of 10 rows 3 are skipped" in caplog.text
    assert "and 3 lose the end of their completions" in caplog.text
    refuse_long_prompts(rows, Letters(), 7, "d")
    with pytest.raises(
        DatasetError, match=r"6 of 10 checked prompts of d .* the longest has 9 tokens: gi"
    ):
        refuse_long_prompts(rows, Letters(), 4, "d")
