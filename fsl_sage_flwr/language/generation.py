"""Generate greedy completions and score them against references."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .pretrained import LanguageModelError
from .rows import Row

AT_ONCE = 16


def complete(
    model: nn.Module, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int
) -> list[str]:
    """Return the greedy completion of each prompt.

    Parameters
    ----------
    model : nn.Module
        Model of Transformers, with or without an adapter, in eval mode.
    tokenizer : PreTrainedTokenizer
        Tokenizer of the model.
    prompts : sequence of str
        Prompts as in a :class:`~fsl_sage_flwr.language.Row`; a prompt longer than the model's
        positions loses its beginning.
    max_new_tokens : int
        Largest number of tokens per completion.
    """
    end = tokenizer.eos_token_id
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    device = next(model.parameters()).device
    positions = getattr(model.config, "max_position_embeddings", None)
    room = -max(1, positions - max_new_tokens) if positions else None
    generate: Any = model.generate
    found = []
    for start in range(0, len(prompts), AT_ONCE):
        given = [
            tokenizer(prompt, add_special_tokens=False).input_ids[room:]
            for prompt in prompts[start : start + AT_ONCE]
        ]
        longest = max(map(len, given))
        ids = torch.full((len(given), longest), padding)
        mask = torch.zeros_like(ids)
        for k, tokens in enumerate(given):  # left-padded, so that all completions start together
            ids[k, longest - len(tokens) :] = torch.tensor(tokens)
            mask[k, longest - len(tokens) :] = 1
        output = generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), do_sample=False,
            max_new_tokens=max_new_tokens, eos_token_id=end, pad_token_id=padding,
        )  # fmt: skip
        found += tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
    return [text.strip() for text in found]


def scorer() -> Any:
    """Return sacrebleu's corpus BLEU.

    Raises
    ------
    LanguageModelError
        sacrebleu is not installed.
    """
    try:
        import sacrebleu
    except ImportError as error:
        raise LanguageModelError(
            "language.bleu = true needs sacrebleu: pip install 'fsl-sage-flwr[llm]'"
        ) from error
    return sacrebleu.corpus_bleu


def bleu_of(model: nn.Module, tokenizer: Any, rows: Sequence[Row], *, max_new_tokens: int) -> float:
    """Return the BLEU of greedy completions against all references of their prompts, 0 to 100.

    Parameters
    ----------
    rows : sequence of Row
        Rows with the same prompt are references of the same completion.

    Raises
    ------
    LanguageModelError
        sacrebleu is not installed.
    """
    corpus_bleu = scorer()
    references: dict[str, list[str]] = {}
    for row in rows:
        references.setdefault(row.prompt, []).append(row.completion)
    texts = complete(model, tokenizer, list(references), max_new_tokens=max_new_tokens)
    most = max(map(len, references.values()))
    # sacrebleu expects None where a prompt has fewer references than others.
    streams: Any = [
        [of[k] if k < len(of) else None for of in references.values()] for k in range(most)
    ]
    return float(corpus_bleu(texts, streams).score)
