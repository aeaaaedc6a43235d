"""Settings of a run on a causal language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import Options, setting
from .columns import Columns
from .pretrained import Lora


@dataclass(frozen=True)
class CausalLmOptions(Options):
    """Options of a run on a causal language model."""

    prompt_column: str = setting(
        "",
        "column of the prompts, or several separated by commas; empty uses the usual names",
        group="data",
        formerly=("prompt-column",),
    )
    completion_column: str = setting(
        "",
        "column of the completions; empty uses the usual names",
        group="data",
        formerly=("completion-column",),
    )
    max_length: int = setting(
        128,
        "length of a row with its padding",
        group="language",
        formerly=("max-length",),
        ge=8,
        unit="tokens",
    )
    max_test_rows: int = setting(
        0,
        "rows of the test split to use; 0 uses all",
        group="language",
        formerly=("max-test-rows",),
        ge=0,
        unit="rows",
    )
    label_smoothing: float = setting(
        0.0,
        "label smoothing in training",
        group="language",
        formerly=("label-smoothing",),
        ge=0,
        le=0.9,
    )
    bleu: bool = setting(
        False,
        "report the BLEU of greedy completions of the test split at the end",
        group="language",
        formerly=("bleu",),
    )
    max_new_tokens: int = setting(
        64,
        "longest completion",
        group="language",
        formerly=("max-new-tokens",),
        ge=1,
        unit="tokens",
    )
    lora_r: int = setting(
        Lora.r, "rank of the adapter", key="adapter.rank", formerly=("lora-r",), ge=1
    )
    lora_alpha: int = setting(
        Lora.alpha,
        "scale of the adapter's output, times its rank",
        key="adapter.alpha",
        formerly=("lora-alpha",),
        ge=1,
    )
    lora_dropout: float = setting(
        Lora.dropout,
        "dropout before the adapter",
        key="adapter.dropout",
        formerly=("lora-dropout",),
        ge=0,
        le=0.9,
    )
    lora_target_modules: str = setting(
        "",
        "modules with an adapter: ends of names, separated by commas; empty uses PEFT's choice",
        key="adapter.target-modules",
        formerly=("lora-target-modules",),
    )
    head_blocks: int = setting(
        1,
        "blocks of an auxiliary head; 0 uses a linear layer before the model's norm and scores",
        key="auxiliary.blocks",
        formerly=("head-blocks",),
        ge=0,
        unit="blocks",
    )

    def columns(self) -> Columns:
        """Return the names of the columns."""
        return Columns(self.prompt_column, self.completion_column)

    def unused(self) -> Mapping[str, str]:
        """Return the length of completions, unless the BLEU is reported."""
        return {} if self.bleu else {"language.max-new-tokens": "language.bleu"}

    def unused_without_heads(self) -> Sequence[str]:
        """Return the key of the auxiliary head."""
        return ("auxiliary.blocks",)

    def lora(self) -> Lora:
        """Return the adapter."""
        names = tuple(name.strip() for name in self.lora_target_modules.split(",") if name.strip())
        return Lora(self.lora_r, self.lora_alpha, self.lora_dropout, names)
