"""Convert prompts and completions to token ids and labels."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..batching import batches_of
from ..data import DatasetError
from ..task import ClientIdentity
from .scores import IGNORED

log = logging.getLogger("flwr.fsl_sage")

# Number of prompts of a dataset whose length is checked before training.
LOOKED_AT = 1000
# Largest fraction of rows with too long a prompt in an accepted dataset.
MOST_LEFT_OUT = 0.5


class Row(NamedTuple):
    """One example: a prompt and the completion to learn."""

    prompt: str
    completion: str


Rows = Callable[[ClientIdentity], Sequence[Row]]
"""Maps a client to its examples."""


@dataclass(frozen=True)
class TokenRows:
    """Token rows, padded on the right to one length.

    Attributes
    ----------
    ids : Tensor
        ``(N, T)``, int64.
    labels : Tensor
        ``(N, T)``: the completion's ids, and :data:`~fsl_sage_flwr.language.IGNORED` at the prompt
        and the padding.
    """

    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def epoch(self, batch_size: int, seed: int) -> "TokenBatches":
        """Return the batches of one pass over all rows; ``seed`` draws the order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order.to(self.ids.device)
        numbers = [order[rows] for rows in batches_of(len(self), batch_size)]
        return TokenBatches([(self.ids[n], self.labels[n]) for n in numbers], numbers)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all rows in order, for evaluation."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self.ids[rows], self.labels[rows]


class TokenBatches(list[tuple[Tensor, Tensor]]):
    """Batches of tokens and labels, with their row numbers."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]], numbers: list[Tensor]) -> None:
        super().__init__(batches)
        self._numbers = numbers

    def sample_numbers(self, k: int) -> Tensor:
        """Return the row numbers of batch ``k``."""
        return self._numbers[k]


def tokenize(
    rows: Sequence[Row], tokenizer: Any, max_length: int, device: torch.device
) -> TokenRows:
    """Convert rows to tokens.

    A row is its prompt, its completion and the tokenizer's end of text. Rows longer than
    ``max_length`` are truncated; those without a completion token left are skipped. The numbers of
    truncated and skipped rows are logged.

    Parameters
    ----------
    rows : sequence of Row
        Prompts end with the separator from their completion, such as a blank.
    tokenizer : PreTrainedTokenizer
        Tokenizer of the model.
    max_length : int
        Tokens per row, ``T``.
    device : torch.device
        Device of the tokens.

    Raises
    ------
    ValueError
        The tokenizer has no end of text, or no row keeps a token of its completion.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no eos_token: set one, completions end with it")
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids = torch.full((len(rows), max_length), padding)
    labels = torch.full((len(rows), max_length), IGNORED)
    cut_off = 0
    for k, row in enumerate(rows):
        prompt = tokenizer(row.prompt, add_special_tokens=False).input_ids
        completion = [*tokenizer(row.completion, add_special_tokens=False).input_ids, end]
        cut_off += len(prompt) < max_length < len(prompt) + len(completion)
        tokens = torch.tensor([*prompt, *completion][:max_length])
        ids[k, : len(tokens)] = tokens
        labels[k, len(prompt) : len(tokens)] = tokens[len(prompt) :]
    learnt = (labels[:, 1:] != IGNORED).any(dim=1)
    if not learnt.any():
        raise ValueError(
            f"max_length = {max_length}: none of {len(rows)} rows has a token of its completion "
            "within it; give a greater one"
        )
    left_out = len(rows) - int(learnt.sum())
    if left_out or cut_off:
        log.warning(
            "language.max-length = %d: of %d rows %d are skipped, because their prompts are as "
            "long, and %d lose the end of their completions",
            max_length, len(rows), left_out, cut_off,
        )  # fmt: skip
    return TokenRows(ids[learnt].to(device), labels[learnt].to(device))


def refuse_long_prompts(rows: Sequence[Row], tokenizer: Any, max_length: int, what: str) -> None:
    """Refuse a dataset if most prompts leave no room for a completion.

    Up to 1,000 evenly spaced rows are checked.

    Parameters
    ----------
    rows : sequence of Row
        All training rows.
    tokenizer : PreTrainedTokenizer
        Tokenizer of the model.
    max_length : int
        Tokens per row.
    what : str
        Name of the rows in the error.

    Raises
    ------
    DatasetError
        More than half of the prompts have ``max_length`` tokens or more.
    """
    some = rows[:: -(-len(rows) // LOOKED_AT)] if rows else rows
    lengths = [len(tokenizer(row.prompt, add_special_tokens=False).input_ids) for row in some]
    long = sum(length >= max_length for length in lengths)
    if long > MOST_LEFT_OUT * len(some):
        raise DatasetError(
            f"language.max-length = {max_length}: {long} of {len(some)} checked prompts of {what} "
            f"are as long or longer and leave nothing to learn; the longest has {max(lengths)} "
            "tokens: give a greater language.max-length"
        )
