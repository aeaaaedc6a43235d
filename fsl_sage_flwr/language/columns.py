"""Find the columns of prompts and completions in a table, and read their text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data import DatasetError
from .rows import Row

if TYPE_CHECKING:
    import datasets

log = logging.getLogger("flwr.fsl_sage")

PROMPT_COLUMNS = ("meaning_representation", "mr", "prompt", "instruction", "input")
COMPLETION_COLUMNS = ("human_reference", "target", "ref", "completion", "response", "output")
# Optional inputs of an instruction, as in Alpaca and Dolly.
BESIDE_AN_INSTRUCTION = ("input", "context")
SEPARATOR = "\n"
# Largest fraction of unusable rows in an accepted dataset.
MOST_LEFT_OUT = 0.5
AS_TEXT = (
    "write prompts and completions as text, a chat with the model's own template: "
    "tokenizer.apply_chat_template(messages, tokenize=False)"
)


@dataclass(frozen=True)
class Columns:
    """Names of the columns of prompts and completions.

    Attributes
    ----------
    prompt : str
        One column, or several with commas between, whose texts are joined by line breaks; empty
        selects the only one of a usual name, or ``instruction`` with its optional inputs.
    completion : str
        One column; empty selects the only one of a usual name.
    """

    prompt: str = ""
    completion: str = ""

    def found_in(self, table: datasets.Dataset, name: str) -> Columns:
        """Return the selected columns of a table.

        Raises
        ------
        DatasetError
            A column is missing, or several fit.
        """
        prompts = _prompts(table, self.prompt, name)
        completion = _one(table, self.completion, COMPLETION_COLUMNS, "completion", name)
        if completion in prompts:
            raise DatasetError(
                f"dataset {name!r}: the column {completion!r} cannot be prompt and completion both;"
                " name others with data.prompt-column and data.completion-column"
            )
        return Columns(",".join(prompts), completion)

    def rows_of(self, table: datasets.Dataset, what: str) -> tuple[Row, ...]:
        """Return prompts and completions; rows without either are skipped and counted.

        Parameters
        ----------
        table : datasets.Dataset
            Table with these columns.
        what : str
            Name of the table in errors and in the log.

        Raises
        ------
        DatasetError
            A cell holds something other than text, or most rows lack a text.
        """
        prompts = _parts(table, self.prompt)
        cells = [table[column][:] for column in (*prompts, self.completion)]
        texts = [
            [_text(value, row, column, what) for row, value in enumerate(values)]
            for column, values in zip((*prompts, self.completion), cells, strict=True)
        ]
        found = [
            Row(SEPARATOR.join([first, *filter(None, more)]) + SEPARATOR, completion)
            for first, *more, completion in zip(*texts, strict=True)
            if first is not None and completion is not None
        ]
        missing = len(table) - len(found)
        if missing > MOST_LEFT_OUT * len(table):
            raise DatasetError(
                f"{missing} of {len(table)} rows of {what} have nothing in {prompts[0]!r} or "
                f"{self.completion!r}; name other columns with data.prompt-column and "
                "data.completion-column"
            )
        if missing:
            log.warning(
                "%d of %d rows of %s are skipped: they have nothing in %r or %r",
                missing, len(table), what, prompts[0], self.completion,
            )  # fmt: skip
        return tuple(found)


def _prompts(table: datasets.Dataset, given: str, name: str) -> list[str]:
    if given:
        parts = _parts(table, given)
        for part in parts:
            _one(table, part, (), "prompt", name)
        return parts
    beside = [column for column in BESIDE_AN_INSTRUCTION if column in table.column_names]
    if "instruction" in table.column_names and len(beside) == 1:
        others = [column for column in PROMPT_COLUMNS if column not in ("instruction", "input")]
        if not set(others) & set(table.column_names):
            return ["instruction", *beside]
    return [_one(table, "", PROMPT_COLUMNS, "prompt", name)]


def _parts(table: datasets.Dataset, given: str) -> list[str]:
    """Return the columns in a key's value; a column's name may contain a comma."""
    if given in table.column_names:
        return [given]
    return [part.strip() for part in given.split(",")]


def _one(table: datasets.Dataset, given: str, usual: Sequence[str], what: str, name: str) -> str:
    found = [column for column in ([given] if given else usual) if column in table.column_names]
    if not found:
        wanted = repr(given) if given else " or ".join(usual)
        lists = "" if given else _lists_in(table)
        raise DatasetError(
            f"dataset {name!r} has no column {wanted}; its columns are "
            f"{', '.join(table.column_names)}: name one with {what}-column{lists}"
        )
    if len(found) > 1:
        raise DatasetError(
            f"dataset {name!r} has several columns that fit as {what}: {', '.join(found)}; name "
            f"one with {what}-column"
        )
    return found[0]


def _lists_in(table: datasets.Dataset) -> str:
    """Return advice about columns of lists, which may be chats."""
    from datasets import Value

    lists = [column for column, kind in table.features.items() if not isinstance(kind, Value)]
    return f"; {lists[0]!r} holds no text: {AS_TEXT}" if lists else ""


def _text(value: object, row: int, column: str, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None if value != value else str(value)
    raise DatasetError(
        f"row {row} of {what} has a {type(value).__name__} in {column!r}, which is not text: "
        f"{AS_TEXT}"
    )
