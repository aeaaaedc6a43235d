"""Objective of causal language modelling: predict the next token."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..objective import Objective, logits_of
from .scores import IGNORED, where_labels_count

LARGEST_EXPONENT = 700.0  # largest e**x of a float


def next_token(vocabulary: int, length: int, *, label_smoothing: float = 0.0) -> Objective:
    """Return the objective of predicting each token from those before it.

    Labels are ``(B, T)``, the inputs' own token ids, with :data:`IGNORED` at positions that are not
    learned; outputs are scores ``(B, T, V)`` of the following token, or ``(N, V)`` for the learned
    positions alone (see :func:`~fsl_sage_flwr.language.scores.where_labels_count`). Means and
    averages are over the learned tokens, not over samples.

    Parameters
    ----------
    vocabulary : int
        Number of scores per token, ``V``.
    length : int
        Tokens per sample with padding, ``T``.
    label_smoothing : float
        Fraction of the target spread over all tokens in training, 0 to below 1; evaluations report
        the loss without it.

    Returns
    -------
    Objective
        Reports ``token_accuracy``, the share of tokens with the highest score, and ``perplexity``,
        e to the power of the loss.
    """

    def counting(output: Any, labels: Tensor) -> tuple[Tensor, Tensor]:
        targets = labels[:, 1:]
        counts = targets != IGNORED
        scores = logits_of(output)
        return scores if scores.dim() == 2 else scores[:, :-1][counts], targets[counts]

    def mean_loss(output: Any, labels: Tensor, smoothing: float) -> Tensor:
        scores, targets = counting(output, labels)
        if not len(targets):
            return scores.sum()  # 0, differentiable
        return F.cross_entropy(scores, targets, label_smoothing=smoothing)

    def scores_of(output: Any, labels: Tensor) -> Mapping[str, tuple[float, float]]:
        scores, targets = counting(output, labels)
        return {"token_accuracy": (int((scores.argmax(dim=1) == targets).sum()), len(targets))}

    def problem_with(labels: Tensor) -> str | None:
        if labels.dtype != torch.int64 or tuple(labels.shape[1:]) != (length,):
            wanted = f"int64 ('N', {length})"
            return f"labels must be {wanted}, not {labels.dtype} {tuple(labels.shape)}"
        counting = labels[labels != IGNORED]
        if len(counting) and not 0 <= int(counting.min()) <= int(counting.max()) < vocabulary:
            return (
                f"labels run from {int(counting.min())} to {int(counting.max())}; valid are 0 to "
                f"{vocabulary - 1}, and {IGNORED}"
            )
        return None

    return Objective(
        loss=lambda output, labels: mean_loss(output, labels, label_smoothing),
        scores=scores_of,
        score_names=("token_accuracy",),
        problem_with=problem_with,
        example_labels=lambda count: torch.zeros(count, length, dtype=torch.int64),
        count=lambda labels: int((labels[:, 1:] != IGNORED).sum()),
        test_loss=lambda output, labels: mean_loss(output, labels, 0.0),
        derived={"perplexity": lambda loss, scores: math.exp(min(loss, LARGEST_EXPONENT))},
        where=where_labels_count,
    )
