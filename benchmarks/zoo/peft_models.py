"""Adapters of PEFT on a frozen base."""

from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from .entry import Entry
from .transformers_models import MASK, TEXT, text


def _adapted(kind: str, targets: list[str], dtype: torch.dtype = torch.float32) -> nn.Module:
    import transformers

    base: Any = getattr(transformers, kind)
    config = getattr(transformers, "LlamaConfig" if "Llama" in kind else "BertConfig")(**TEXT)
    lora = LoraConfig(r=2, lora_alpha=8, target_modules=targets)
    adapted: nn.Module = get_peft_model(base(config).to(dtype), lora)
    return adapted


def entries() -> Iterator[Entry]:
    """Yield the models."""
    llama, bert = "LlamaForCausalLM", "BertForSequenceClassification"
    for dtype in (torch.float32, torch.bfloat16):
        yield Entry(
            "peft",
            f"LoRA on {llama}, {str(dtype).removeprefix('torch.')}",
            lambda dtype=dtype: _adapted(llama, ["q_proj", "v_proj"], dtype),  # type: ignore[misc]
            text,
            ("layers.1", "layers.2", "layers.3"),
            MASK,
            class_axis=-1,
        )
    yield Entry(
        "peft",
        f"LoRA on {bert}",
        lambda: _adapted(bert, ["query", "value"]),
        text,
        ("encoder.layer.1", "encoder.layer.2", "encoder.layer.3"),
        MASK,
    )
