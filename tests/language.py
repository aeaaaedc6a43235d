"""Make small random causal language models with adapters, and a task of one."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.language import Row, causal_lm_task
from fsl_sage_flwr.language.scores import TokenScores
from fsl_sage_flwr.task import ClientIdentity, SplitTask

VOCABULARY = 61
USUAL: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {**USUAL, "num_key_value_heads": 1}
# Each architecture: its configuration, and which of its modules have an adapter.
ARCHITECTURES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "GPT2": (
        {
            "vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32,
            "bos_token_id": 1, "eos_token_id": 2,
        },
        ["c_attn"],
    ),
    "Llama": (GROUPED, ["q_proj", "v_proj"]),
    "Qwen2": (GROUPED, ["q_proj", "v_proj"]),
    "Qwen3": ({**GROUPED, "head_dim": 8}, ["q_proj", "v_proj"]),
    "Mistral": (GROUPED, ["q_proj", "v_proj"]),
    "Gemma2": ({**GROUPED, "head_dim": 8}, ["q_proj", "v_proj"]),
    "GPTNeoX": (USUAL, ["query_key_value"]),
    "OPT": (
        {
            "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 3, "ffn_dim": 32,
            "num_attention_heads": 2, "max_position_embeddings": 32, "word_embed_proj_dim": 16,
            "pad_token_id": 0,
        },
        ["q_proj", "v_proj"],
    ),
    "Phi3": (GROUPED, ["qkv_proj"]),
    "Granite": (GROUPED, ["q_proj", "v_proj"]),
    "Olmo2": (GROUPED, ["q_proj", "v_proj"]),
    "SmolLM3": (GROUPED, ["q_proj", "v_proj"]),
}  # fmt: skip


def language_model(name: str, *, tied: bool) -> TokenScores:
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    torch.manual_seed(0)
    settings, targets = ARCHITECTURES[name]
    config = getattr(transformers, f"{name}Config")(**settings, tie_word_embeddings=tied)
    model = transformers.AutoModelForCausalLM.from_config(config)
    # Not as PEFT begins, with B = 0: outputs would not show whether dropout is the same.
    adapter = peft.LoraConfig(
        r=2, lora_alpha=4, lora_dropout=0.1, target_modules=targets, init_lora_weights=False
    )
    return TokenScores(peft.get_peft_model(model, adapter))


def cut_of(name: str) -> str:
    return "transformer.h.1" if name == "GPT2" else "layers.1"


class Letters:
    """A tokenizer whose tokens are letters."""

    eos_token_id, pad_token_id = 2, 0

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[3 + ord(letter) % 50 for letter in text])


def rows_of(client: ClientIdentity) -> Sequence[Row]:
    """Every client has separate rows, of several lengths: the lengths are their weights."""
    return [Row(f"{k} ", "abcdefgh"[: 2 + client.partition_id + k % 3]) for k in range(10)]


class Adapted(nn.Linear):
    """A frozen linear layer with an adapter as LoRA's, and dropout before it."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.requires_grad_(False)
        self.drop = nn.Dropout(0.1)
        self.lora_A = nn.Parameter(0.3 * torch.randn(2, width))
        self.lora_B = nn.Parameter(0.3 * torch.randn(width, 2))

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden) + self.drop(hidden) @ self.lora_A.T @ self.lora_B.T


class Block(nn.Module):
    """Mixes each token with the mean of those up to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = Adapted(width)

    def forward(self, hidden: Tensor) -> Tensor:
        length = torch.arange(1, hidden.shape[1] + 1)[:, None]
        return hidden + torch.tanh(self.mix(hidden.cumsum(dim=1) / length))


class SmallLanguageModel(nn.Module):
    """As those of Transformers are called, without importing them; embeddings are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=VOCABULARY)
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.blocks = nn.ModuleList([Block(16) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight
        for part in (self.embed, self.norm):
            part.requires_grad_(False)

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, *, use_cache: bool = True) -> SimpleNamespace:
        hidden = self.embed(input_ids)
        if hidden.shape[1] > 1000:  # cannot be traced, as theirs cannot
            raise ValueError("too long")
        for block in self.blocks:
            hidden = block(hidden)
        return SimpleNamespace(logits=self.head(self.norm(hidden)))


def small_model() -> SmallLanguageModel:
    """Return a model; every call gives the same values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallLanguageModel()


def language_task(model: nn.Module, **changes: Any) -> SplitTask:
    """Make a task of a model."""
    settings: dict[str, Any] = {
        "cut": "blocks.1", "rows": rows_of, "validation_rows": rows_of, "max_length": 10,
        "batch_size": 4, "prove": False,
    }  # fmt: skip
    return causal_lm_task(model, Letters(), **{**settings, **changes})


WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{k}" for k in range(VOCABULARY - 4))]


def save_small_model(directory: Path) -> str:
    """Write a small random GPT-2 and its tokenizer, of words, as a directory of Transformers."""
    transformers, tokenizers = (
        pytest.importorskip(name) for name in ("transformers", "tokenizers")
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.GPT2Config(**USUAL)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    words = tokenizers.models.WordLevel({word: k for k, word in enumerate(WORDS)}, "<unk>")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(directory)
    return str(directory)


def save_rows(directory: Path, train: int = 24, test: int = 6) -> str:
    """Write prompts and completions as the E2E challenge names its columns."""
    directory.mkdir(exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        lines = ["mr,ref"]
        for k in range(count):
            lines.append(f"w{k % 5} w{k % 3},w{k % 7} {'w1 ' * (k % 4)}w2")
        (directory / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(directory)


def small_run(directory: Path, **changes: Any) -> dict[str, Any]:
    """Return the run configuration of two rounds of it."""
    found = {
        "task": "causal_lm", "model": save_small_model(directory / "model"),
        "dataset": save_rows(directory / "rows"), "cut": "transformer.h.1",
        "language.max-length": 12, "batch-size": 4, "num-server-rounds": 2,
    }  # fmt: skip
    if changes.get("algorithm", "fsl_sage") == "fsl_sage":  # a key without effect is refused
        found |= {"align.dataset-size": 8, "align.batch-size": 4, "align.epochs": 1}
    return {**found, **changes}
