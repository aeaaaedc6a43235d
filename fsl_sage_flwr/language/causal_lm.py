"""Build a task from a causal language model with an adapter."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import nn

from ..schedules import Schedule, constant
from ..splitting import (
    SplitError,
    as_tensors,
    copy_sharing_frozen,
    load_trainable_state,
    split,
    trainable_state,
)
from ..task import CPU, Batch, ClientIdentity, OptimizerFactory, SplitTask
from .heads import blocks_head, lens_head
from .objective import next_token
from .options import CausalLmOptions
from .rows import Rows, TokenRows, tokenize
from .scores import TokenScores

EVALUATION_BATCH = 16
# Rows per batch of gradients: two heads keep a whole server half's activations for each row.
GRADIENT_BATCH = 4


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return AdamW with a learning rate of 2e-4, the default of all modules."""
    return torch.optim.AdamW(parameters, lr=2e-4)


def causal_lm_task(
    model: nn.Module,
    tokenizer: Any,
    *,
    cut: str,
    tail: str | None = None,
    rows: Rows,
    validation_rows: Rows | None = None,
    max_length: int = CausalLmOptions.max_length,
    batch_size: int = 8,
    head_blocks: int = CausalLmOptions.head_blocks,
    auxiliary: Callable[[], nn.Module] | None = None,
    auxiliary_from_server: bool = True,
    label_smoothing: float = CausalLmOptions.label_smoothing,
    client_optimizer: OptimizerFactory = adamw,
    server_optimizer: OptimizerFactory = adamw,
    auxiliary_optimizer: OptimizerFactory = adamw,
    client_schedule: Schedule = constant,
    server_schedule: Schedule = constant,
    auxiliary_schedule: Schedule = constant,
    local_epochs: int = 1,
    device: torch.device = CPU,
    precision: str = "fp32",
    seed: int = 0,
    prove: bool = True,
) -> SplitTask:
    """Build a task from a causal language model, split before one of its blocks.

    Only trainable tensors, such as an adapter's, are sent, averaged and saved: every side must
    already have the same frozen weights.

    Parameters
    ----------
    model : nn.Module
        Model of Transformers, usually a ``PeftModel``; parameters that require a gradient are
        trained.
    tokenizer : PreTrainedTokenizer
        Tokenizer of the model.
    cut : str
        First block of the server half, e.g. ``"layers.3"`` or ``"transformer.h.1"``.
    tail : str, optional
        First submodule of the part that clients hold behind the server half, so that completions
        stay with them; empty for the layer of the scores alone. By default completions are sent.
    rows, validation_rows : callable
        Map a client to its prompts and completions, for training and for federated evaluation.
    max_length : int
        Tokens per row with padding, ``T``.
    batch_size : int
        Rows per batch, ``B``.
    head_blocks : int
        Blocks of an auxiliary head; 0 builds a lens: one linear layer, and the model's own last
        norm and scores.
    auxiliary : callable, optional
        Builds a custom untrained head, from smashed data to scores ``(B, T, V)``.
    auxiliary_from_server : bool
        True starts new heads from the server half's current values, False from its initial values.
    label_smoothing : float
        See :func:`~fsl_sage_flwr.language.next_token`.
    client_optimizer, server_optimizer, auxiliary_optimizer, client_schedule, server_schedule
        As in :class:`~fsl_sage_flwr.task.SplitTask`.
    auxiliary_schedule, local_epochs, device, precision, seed
        As in :class:`~fsl_sage_flwr.task.SplitTask`.
    prove : bool
        Compare the halves with the whole model first, which takes several passes.

    Raises
    ------
    SplitError
        The model cannot be cut there, or a half has no trainable parameters.
    """
    config: Any = model.config
    example = torch.zeros(2, max_length, dtype=torch.int64)
    scoring = TokenScores(model)
    halves = split(scoring, cut, example, tail=_tail_of(scoring, model, tail), prove=prove)

    @cache
    def untrained() -> nn.Module:
        """Build one head before training starts: its copies share the frozen parameters."""
        if head_blocks:
            return blocks_head(halves, head_blocks)
        with torch.no_grad():
            smashed = as_tensors(halves.client.eval()(example.to(device)))
        halves.client.train()
        return lens_head(halves, smashed)

    known: dict[tuple[Rows, int, int], TokenRows] = {}

    def tokens(of: Rows, client: ClientIdentity) -> TokenRows:
        key = of, client.partition_id, client.num_partitions
        if key not in known:
            known[key] = tokenize(of(client), tokenizer, max_length, device)
        return known[key]

    def train_batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
        return tokens(rows, client).epoch(batch_size, seed)

    def validation_batches(client: ClientIdentity) -> Iterable[Batch]:
        return tokens(validation_rows, client).in_order(EVALUATION_BATCH) if validation_rows else ()

    return SplitTask(
        model=halves,
        example=example,
        num_classes=None,
        train_batches=train_batches,
        validation_batches=validation_batches if validation_rows else None,
        client_optimizer=client_optimizer,
        server_optimizer=server_optimizer,
        auxiliary_optimizer=auxiliary_optimizer,
        client_schedule=client_schedule,
        server_schedule=server_schedule,
        auxiliary_schedule=auxiliary_schedule,
        auxiliary=auxiliary or (lambda: copy_sharing_frozen(untrained())),
        auxiliary_from_server=auxiliary_from_server,
        objective=next_token(config.vocab_size, max_length, label_smoothing=label_smoothing),
        weights_of=trainable_state,
        load_weights=load_trainable_state,
        local_epochs=local_epochs,
        batch_size=batch_size,
        device=device,
        precision=precision,
        seed=seed,
        gradient_batch=GRADIENT_BATCH,
    )


def _tail_of(scoring: TokenScores, model: Any, tail: str | None) -> str:
    """Return a tail for ``split``: the layer of the scores if it has no name.

    Raises
    ------
    SplitError
        The model does not tell this layer.
    """
    if tail is None or tail:
        return tail or ""
    known = getattr(model, "get_output_embeddings", lambda: None)()
    names: list[str] = [name for name, module in scoring.named_modules() if module is known]
    if not names:
        raise SplitError(
            f"{type(model).__name__} has no get_output_embeddings(): name the tail, e.g. "
            "tail=lm_head"
        )
    return names[0]
