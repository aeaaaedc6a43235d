"""Save a trained adapter in PEFT's format, and load it again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .pretrained import LanguageModelError, Lora, adapted, load_base, load_tokenizer, loading

FOLDER = "adapter"
PREFIX = "model."  # of TokenScores


def save_adapter(name: str, lora: Lora, weights: Mapping[str, Tensor], directory: Path) -> Path:
    """Write an adapter for ``PeftModel.from_pretrained(base, DIRECTORY)``.

    Pretrained weights are neither loaded nor written.

    Parameters
    ----------
    name : str
        Name of the base model.
    lora : Lora
        The adapter.
    weights : Mapping
        Weights of both halves, by the names of ``TokenScores``; frozen ones are ignored.
    directory : Path
        Directory of the run; the adapter's folder is created in it.
    """
    with loading(name) as (transformers, _), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(name)
        model: Any = adapted(transformers.AutoModelForCausalLM.from_config(config), lora)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    own = {n.removeprefix(PREFIX): t.detach().cpu() for n, t in weights.items()}
    model.load_state_dict({n: own[n] for n in trained}, strict=False, assign=True)
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(str(directory / FOLDER))
    return directory / FOLDER


def load_adapted(name: str, directory: Path) -> tuple[nn.Module, Any]:
    """Load a base model with a run's adapter, in eval mode, and its tokenizer.

    Raises
    ------
    LanguageModelError
        The extra or the base model is missing, or the run left no adapter.
    """
    if not (directory / FOLDER).is_dir():
        raise LanguageModelError(
            f"{directory} has no folder {FOLDER!r}: give the directory of a completed run of "
            "task = 'causal_lm'"
        )
    base = load_base(name)
    with loading(name) as (_, peft):
        model: nn.Module = peft.PeftModel.from_pretrained(base, str(directory / FOLDER))
    return model.eval(), load_tokenizer(name)
