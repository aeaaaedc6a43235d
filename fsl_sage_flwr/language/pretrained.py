"""Load a causal language model of Transformers, and add an adapter of PEFT."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..user_error import UserError


class LanguageModelError(ValueError, UserError):
    """The model cannot be used; one line gives the reason and a fix."""


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter, with PEFT's parameter names.

    Attributes
    ----------
    r : int
        Rank.
    alpha : int
        The adapter's output is scaled by ``alpha / r``.
    dropout : float
        Dropout before the adapter.
    target_modules : tuple of str
        Endings of the names of the adapted modules; empty selects PEFT's default for the
        architecture.
    """

    r: int = 4
    alpha: int = 32
    dropout: float = 0.1
    target_modules: tuple[str, ...] = ()


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a model, by its name on the hub or its directory.

    Raises
    ------
    LanguageModelError
        The extra is not installed, or the model does not exist.
    """
    with loading(name) as (transformers, _):
        return transformers.AutoTokenizer.from_pretrained(name)


def refuse_no_block(directory: str, cut: str) -> None:
    """Refuse a directory without a model, and a cut outside its blocks, without transformers.

    Raises
    ------
    LanguageModelError
        The model or the cut is invalid.
    """
    file = Path(directory) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LanguageModelError(
            f"model = {directory!r}: {file} cannot be read ({type(error).__name__}); give the "
            "directory of a model of Transformers, or a name on the hub"
        ) from error
    found = [config[name] for name in ("num_hidden_layers", "n_layer") if name in config]
    number = cut.rpartition(".")[2]
    if found and number.isdigit() and not 0 < int(number) < int(found[0]):
        raise LanguageModelError(
            f"cut = {cut!r}: the model has {found[0]} blocks, so 1 to {found[0] - 1} can be the "
            "first of the server half"
        )


def load_base(name: str, blocks: int | None = None) -> nn.Module:
    """Load a pretrained model in float32.

    Parameters
    ----------
    name : str
        Name on the hub, or a local directory.
    blocks : int, optional
        Number of blocks to load, from the first: those of the client half and of the head.

    Raises
    ------
    LanguageModelError
        As :func:`load_tokenizer`.
    """
    with loading(name) as (transformers, _):
        config = transformers.AutoConfig.from_pretrained(name)
        if blocks is not None and blocks < config.num_hidden_layers:
            config.num_hidden_layers = blocks
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:blocks]
        base: nn.Module = transformers.AutoModelForCausalLM.from_pretrained(
            name, config=config, dtype=torch.float32
        )
    return base


def load_model(name: str, lora: Lora, seed: int, blocks: int | None = None) -> nn.Module:
    """Load a model in float32 and add an adapter initialised from a seed.

    Parameters
    ----------
    name : str
        Name on the hub, or a local directory.
    lora : Lora
        The adapter; all other weights are frozen.
    seed : int
        Seed of the adapter's initial values.
    blocks : int, optional
        As in :func:`load_base`.

    Raises
    ------
    LanguageModelError
        The extra is not installed, or the model or its target modules do not exist.
    """
    base = load_base(name, blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return adapted(base, lora)


def adapted(base: nn.Module, lora: Lora) -> nn.Module:
    """Add an adapter to a model, initialised from torch's global generator; freeze the rest.

    Raises
    ------
    LanguageModelError
        The model has no such target modules.
    """
    import peft

    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules) or None,
        task_type="CAUSAL_LM",
    )
    try:
        model: nn.Module = peft.get_peft_model(base, config)
    except ValueError as error:
        raise LanguageModelError(
            f"adapter.target-modules = {','.join(lora.target_modules)!r}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    return model


@contextmanager
def loading(name: str) -> Iterator[tuple[Any, Any]]:
    """Yield transformers and peft, and explain in one line why a model cannot be loaded.

    Raises
    ------
    LanguageModelError
        The extra is not installed, or the code inside the context fails.
    """
    try:
        import peft
        import transformers
    except ImportError as error:
        raise LanguageModelError(
            f"task = 'causal_lm' needs {error.name}: pip install 'fsl-sage-flwr[llm]'"
        ) from error
    try:
        yield transformers, peft
    except (OSError, ValueError) as error:
        raise LanguageModelError(
            f"model = {name!r}: it cannot be loaded ({' '.join(str(error).split())[:200]}); give "
            "a name on the hub, or the absolute path of a directory with its config, weights and "
            "tokenizer"
        ) from error
