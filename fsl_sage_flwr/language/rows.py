"""Prompts and completions as token ids and labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..batching import batches_of
from ..task import ClientIdentity
from .scores import IGNORED


class Row(NamedTuple):
    """One example: what is given, and what is to be learnt."""

    prompt: str
    completion: str


Rows = Callable[[ClientIdentity], Sequence[Row]]
"""From a client to its examples."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of tokens, padded on the right to one length.

    Attributes
    ----------
    ids : Tensor
        ``(N, T)``, int64.
    labels : Tensor
        ``(N, T)``: the completion's ids; :data:`~fsl_sage_flwr.language.IGNORED` for the prompt
        and the padding.
    """

    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def epoch(self, batch_size: int, seed: int) -> "TokenBatches":
        """Return the batches of one pass over all rows; the seed draws the order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order.to(self.ids.device)
        numbers = [order[rows] for rows in batches_of(len(self), batch_size)]
        return TokenBatches([(self.ids[n], self.labels[n]) for n in numbers], numbers)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all rows as they are, for evaluation."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self.ids[rows], self.labels[rows]


class TokenBatches(list[tuple[Tensor, Tensor]]):
    """Batches of tokens and labels, and the numbers of their rows."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]], numbers: list[Tensor]) -> None:
        super().__init__(batches)
        self._numbers = numbers

    def sample_numbers(self, k: int) -> Tensor:
        """Return the numbers of the rows in batch ``k``."""
        return self._numbers[k]


def tokenize(
    rows: Sequence[Row], tokenizer: Any, max_length: int, device: torch.device
) -> TokenRows:
    """Turn rows into tokens.

    A row is its prompt, its completion and the tokenizer's end of a text. What is longer than
    ``max_length`` loses its end; a row of which nothing is left to learn is left out.

    Parameters
    ----------
    rows : sequence of Row
        Prompts end in what separates them from completions, a blank for example.
    tokenizer : PreTrainedTokenizer
        Of Transformers.
    max_length : int
        Tokens of a row, ``T``.
    device : torch.device
        Where the tokens are kept.

    Raises
    ------
    ValueError
        The tokenizer has no end of a text, or no row has anything to learn.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no eos_token: set one, completions end with it")
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids = torch.full((len(rows), max_length), padding)
    labels = torch.full((len(rows), max_length), IGNORED)
    for k, row in enumerate(rows):
        prompt = tokenizer(row.prompt, add_special_tokens=False).input_ids
        completion = [*tokenizer(row.completion, add_special_tokens=False).input_ids, end]
        tokens = torch.tensor([*prompt, *completion][:max_length])
        ids[k, : len(tokens)] = tokens
        labels[k, len(prompt) : len(tokens)] = tokens[len(prompt) :]
    learnt = (labels[:, 1:] != IGNORED).any(dim=1)
    if not learnt.any():
        raise ValueError(
            f"max_length = {max_length}: none of {len(rows)} rows has a token of its completion "
            "within it; give a greater one"
        )
    return TokenRows(ids[learnt].to(device), labels[learnt].to(device))
