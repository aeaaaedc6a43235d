"""Causal language models of Transformers, with an adapter of PEFT or without."""

from .causal_lm import causal_lm_task
from .heads import BlocksHead, blocks_head
from .kind import KIND, CausalLmOptions
from .objective import IGNORED, next_token
from .rows import Row, TokenRows, tokenize

__all__ = [
    "IGNORED",
    "KIND",
    "BlocksHead",
    "CausalLmOptions",
    "Row",
    "TokenRows",
    "blocks_head",
    "causal_lm_task",
    "next_token",
    "tokenize",
]
