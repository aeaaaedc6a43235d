"""Transformers' models with the inputs that their tokenizers give: small, with random weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitError, list_cuts, split

from ...cutting import assert_same_as_uncut, crossing_of

transformers = pytest.importorskip("transformers")
WORDS = 61
USUAL = {
    "vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip
ENCODERS: dict[str, tuple[dict[str, Any], str]] = {
    "Bert": (USUAL, "encoder.layer"),
    "Roberta": (USUAL, "encoder.layer"),
    "Electra": ({**USUAL, "embedding_size": 8}, "encoder.layer"),
    "DistilBert": (
        {
            "vocab_size": WORDS, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32,
            "max_position_embeddings": 32,
        },
        "transformer.layer",
    ),
}  # fmt: skip
SEQ2SEQ = {
    "vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "decoder_start_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip


def small(name: str, kind: str, settings: dict[str, Any], **more: Any) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings, **more)
    model: nn.Module = getattr(transformers, f"{name}{kind}")(config)
    return model


def tokenized(count: int, padded: bool = True) -> dict[str, Tensor]:
    """Return token ids and their mask, as a tokenizer gives them."""
    lengths = torch.randint(2, 7, (count,)) if padded else torch.full((count,), 7)
    mask = (torch.arange(7) < lengths[:, None]).long()
    return {"input_ids": torch.randint(3, WORDS, (count, 7)) * mask, "attention_mask": mask}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("layer", [0, 2])
def test_encoders_are_cut_at_any_layer_with_a_public_mask(name: str, layer: int) -> None:
    settings, layers = ENCODERS[name]
    model = small(name, "ForSequenceClassification", settings)
    example = transformers.BatchEncoding(tokenized(3))
    halves = split(model, f"{layers}.{layer}", example, public=("attention_mask",))
    assert crossing_of(halves, tokenized(4)) == [
        ((4, 7, 16), torch.float32), ((4, 7), torch.int64),
    ]  # fmt: skip
    assert_same_as_uncut(model, halves, tokenized(4), tokenized(2, padded=False))


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_private_mask_crosses_as_the_layers_read_it(attention: str) -> None:
    model = small("Bert", "ForSequenceClassification", USUAL, attn_implementation=attention)
    halves = split(model, "encoder.layer.1", tokenized(3))
    assert crossing_of(halves, tokenized(4)) == [
        ((4, 7, 16), torch.float32), ((4, 1, 7, 7), torch.bool),
    ]  # fmt: skip
    assert_same_as_uncut(model, halves, tokenized(4))


@pytest.mark.slow
def test_a_batch_without_padding_needs_a_public_mask_and_says_so() -> None:
    model = small("Bert", "ForSequenceClassification", USUAL)
    halves = split(model, "encoder.layer.1", tokenized(3))
    with pytest.raises(SplitError, match=r"a batch without padding; name masks in split\(…, pub"):
        halves.client(*(tokenized(2, padded=False)[name] for name in sorted(tokenized(2))))


@pytest.mark.slow
def test_encoder_and_decoder() -> None:
    def texts(count: int) -> dict[str, Tensor]:
        return {**tokenized(count), "decoder_input_ids": torch.randint(3, WORDS, (count, 4))}

    model = small("T5", "ForConditionalGeneration", SEQ2SEQ)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    for at, public in [
        ("decoder.block.1", ("attention_mask",)),
        ("lm_head", ()),
    ]:
        halves = split(model, at, texts(3), public=public)
        assert_same_as_uncut(model, halves, texts(2))
    with pytest.raises(SplitError, match="tied across the cut"):  # both read the embeddings
        split(model, "encoder.block.1", texts(3), public=("attention_mask", "decoder_input_ids"))
    model.shared.requires_grad_(False)
    halves = split(
        model, "encoder.block.1", texts(3), public=("attention_mask", "decoder_input_ids")
    )
    assert_same_as_uncut(model, halves, texts(2))


@pytest.mark.slow
def test_the_layers_of_an_encoder_are_listed_without_a_depth() -> None:
    model = small("Bert", "ForSequenceClassification", USUAL)
    cuts = {cut.name: cut for cut in list_cuts(model, tokenized(3), public=("attention_mask",))}
    assert [f"bert.encoder.layer.{k}" in cuts for k in range(3)] == [True] * 3
    cut = cuts["bert.encoder.layer.1"]
    assert cut.smashed_shapes == ((7, 16), (7,))
    assert cut.smashed_dtypes == ("float32", "int64")
