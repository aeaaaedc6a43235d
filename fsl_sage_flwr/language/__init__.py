"""Causal language models of Transformers, with or without an adapter of PEFT."""

from .adapter_files import load_adapted, save_adapter
from .causal_lm import causal_lm_task
from .generation import bleu_of, complete
from .heads import BlocksHead, blocks_head
from .kind import KIND
from .objective import next_token
from .options import CausalLmOptions
from .pretrained import LanguageModelError
from .rows import Row, TokenRows, tokenize
from .scores import IGNORED

__all__ = [
    "IGNORED",
    "KIND",
    "BlocksHead",
    "CausalLmOptions",
    "LanguageModelError",
    "Row",
    "TokenRows",
    "bleu_of",
    "blocks_head",
    "causal_lm_task",
    "complete",
    "load_adapted",
    "next_token",
    "save_adapter",
    "tokenize",
]
