"""Models of Transformers, with the inputs that their tokenizers and processors give."""

from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from .entry import Entry

WORDS = 61
WIDTHS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT: dict[str, Any] = {
    **WIDTHS,
    "vocab_size": WORDS,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
IMAGE: dict[str, Any] = {**WIDTHS, "image_size": 32, "patch_size": 8}
T5: dict[str, Any] = {
    "vocab_size": WORDS,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 3,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
PAIR: dict[str, Any] = {
    "vocab_size": WORDS,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WHISPER: dict[str, Any] = {
    **PAIR,
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "max_target_positions": 16,
    "decoder_start_token_id": 1,
}
MASK, IDS = ("attention_mask",), ("attention_mask", "input_ids")


def words(length: int = 8) -> Tensor:
    return torch.randint(3, WORDS, (3, length))


def text() -> dict[str, Tensor]:
    """Return a tokenized batch with padding."""
    mask = torch.ones(3, 8, dtype=torch.int64)
    mask[0, 5:] = mask[1, 7:] = 0
    return {"input_ids": words() * mask, "attention_mask": mask}


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32)


def _classified() -> dict[str, Tensor]:
    return text() | {"token_type_ids": torch.zeros(3, 8, dtype=torch.int64)}


def _translated() -> dict[str, Tensor]:
    return text() | {"decoder_input_ids": words(5)}


def _ended() -> dict[str, Tensor]:
    ids = torch.cat([words(7), torch.full((3, 1), 2)], dim=1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _heard() -> dict[str, Tensor]:
    return {"input_features": torch.randn(3, 8, 32), "decoder_input_ids": words(5)}


def _described() -> dict[str, Tensor]:
    return text() | {"pixel_values": images()}


def _build(kind: str, config: str, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = getattr(transformers, kind)(getattr(transformers, config)(**settings))
    return model


def _clip() -> nn.Module:
    text_config = {k: v for k, v in TEXT.items() if k != "bos_token_id"}
    config = transformers.CLIPConfig(text_config=text_config, vision_config=IMAGE, projection_dim=8)
    model: nn.Module = transformers.CLIPModel(config)
    return model


def _frozen_t5() -> nn.Module:
    model = _build("T5ForConditionalGeneration", "T5Config", T5)
    model.get_parameter("shared.weight").requires_grad_(False)
    return model


def entries() -> Iterator[Entry]:
    """Yield the models."""

    def case(
        name: str,
        kind: str,
        settings: dict[str, Any],
        cuts: str,
        public: tuple[str, ...] = MASK,
        *,
        example: Any = text,
        axis: int = 1,
        title: str = "",
    ) -> Entry:
        def make() -> nn.Module:
            return _build(f"{name}{kind}", f"{name}Config", settings)

        shown = title or f"{name}{kind}"
        at = tuple(cuts.split())
        return Entry("transformers", shown, make, example, at, public, class_axis=axis)

    sequences = "ForSequenceClassification"
    layers = "encoder.layer.0 encoder.layer.2 classifier"
    yield case("Bert", sequences, TEXT, f"{layers} pooler", example=_classified)
    private = f"Bert{sequences}, mask not public"
    yield case("Bert", sequences, TEXT, layers, (), title=private)
    yield case("Bert", "ForTokenClassification", TEXT, layers, axis=-1)
    yield case("Bert", "ForMaskedLM", TEXT, "encoder.layer.0 encoder.layer.2 cls", axis=-1)
    yield case("Roberta", sequences, TEXT, layers)
    distil = {"vocab_size": WORDS, "dim": 16, "n_layers": 4, "n_heads": 2, "hidden_dim": 32}
    cuts = "transformer.layer.0 transformer.layer.2 pre_classifier"
    yield case("DistilBert", sequences, distil | {"max_position_embeddings": 32}, cuts)
    albert = "encoder.embedding_hidden_mapping_in albert_layer_groups.0 pooler classifier"
    yield case("Albert", sequences, TEXT | {"embedding_size": 8}, albert)
    yield case("Electra", sequences, TEXT | {"embedding_size": 8}, layers)
    relative = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
    yield case("DebertaV2", sequences, TEXT | relative, "encoder.layer.0 encoder.layer.2 pooler")
    yield case("MPNet", sequences, TEXT, "encoder.layer.0 encoder.layer.2 classifier")
    xlnet = {"vocab_size": WORDS, "d_model": 16, "n_layer": 4, "n_head": 2, "d_inner": 32}
    yield case("XLNet", sequences, xlnet, "transformer.layer.0 transformer.layer.2")
    modern = {"reference_compile": False, "cls_token_id": 1, "sep_token_id": 2}
    yield case("ModernBert", sequences, TEXT | modern, "layers.0 layers.2 classifier")
    gpt2 = {"vocab_size": WORDS, "n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 32}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    blocks = "transformer.h.0 transformer.h.2"
    yield case("GPT2", sequences, gpt2 | ends, blocks, IDS)
    untied = gpt2 | ends | {"tie_word_embeddings": False}
    yield case("GPT2", "LMHeadModel", untied, f"{blocks} lm_head", axis=-1)
    tied = "GPT2LMHeadModel, tied embeddings"
    yield case("GPT2", "LMHeadModel", gpt2 | ends, blocks, axis=-1, title=tied)
    yield case("Llama", "ForCausalLM", TEXT, "layers.0 layers.2 lm_head", axis=-1)
    opt = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 3, "ffn_dim": 32}
    opt |= {"num_attention_heads": 2, "max_position_embeddings": 32, "word_embed_proj_dim": 16}
    yield case("OPT", sequences, opt | ends, "layers.0 layers.2", IDS)
    experts = TEXT | {"num_key_value_heads": 1, "num_local_experts": 2}
    yield case("Mixtral", "ForCausalLM", experts, "layers.0 layers.2", axis=-1)
    router = experts | {"output_router_logits": True}
    title = "MixtralForCausalLM, router logits"
    yield case("Mixtral", "ForCausalLM", router, "layers.2", axis=-1, title=title)
    yield case("T5", "EncoderModel", T5, "encoder.block.1 encoder.block.2", axis=-1)
    decoded = ("attention_mask", "decoder_input_ids")
    cuts = "encoder.block.1 decoder.block.1 lm_head"
    both = "T5ForConditionalGeneration"
    yield case(
        "T5", "ForConditionalGeneration", T5, cuts, decoded,
        example=_translated, axis=-1, title=f"{both}, tied embeddings",
    )  # fmt: skip
    yield Entry(
        "transformers", f"{both}, frozen embeddings", _frozen_t5, _translated,
        tuple(cuts.split()), decoded, scores=lambda output: output.logits, class_axis=-1,
    )  # fmt: skip
    bart = PAIR | {"max_position_embeddings": 32}
    yield case("Bart", sequences, bart, "decoder.layers.0 decoder.layers.1", IDS, example=_ended)
    yield case(
        "Whisper", "ForConditionalGeneration", WHISPER,
        "encoder.layers.1 decoder.layers.0 decoder.layers.1", ("decoder_input_ids",),
        example=_heard, axis=-1,
    )  # fmt: skip
    yield case(
        "Whisper", "ForAudioClassification", WHISPER, "encoder.layers.1 projector", (),
        example=lambda: torch.randn(3, 8, 32),
    )  # fmt: skip
    wave = {key: TEXT[key] for key in [*WIDTHS, "vocab_size"]}
    wave |= {"conv_dim": (8, 8), "conv_stride": (4, 4), "conv_kernel": (8, 4)}
    wave |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    wave |= {"classifier_proj_size": 8, "mask_time_prob": 0.0, "layerdrop": 0.0}
    yield case(
        "Wav2Vec2", sequences, wave, "encoder.layers.0 encoder.layers.2 projector", (),
        example=lambda: torch.randn(3, 256),
    )  # fmt: skip
    pictures = "ForImageClassification"
    yield case("ViT", pictures, IMAGE, "layers.0 layers.2 classifier", (), example=images)
    yield case("DeiT", pictures, IMAGE, "layers.0 layers.2", (), example=images)
    yield case("Beit", pictures, IMAGE, "layers.0 layers.2", (), example=images)
    yield case("Dinov2", pictures, IMAGE, "layer.0 layer.2 classifier", (), example=images)
    swin = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1, 2]}
    swin |= {"num_heads": [2, 2, 2], "window_size": 4}
    cuts = "encoder.layers.1 encoder.layers.2 classifier"
    yield case("Swin", pictures, swin, cuts, (), example=images)
    convnext = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}
    yield case(
        "ConvNext", pictures, convnext, "encoder.stages.1 encoder.stages.3 classifier", (),
        example=images,
    )  # fmt: skip
    segformer = {"num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1]}
    segformer |= {"hidden_sizes": [8, 16], "patch_sizes": [3, 3], "strides": [2, 2]}
    segformer |= {"num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 16}
    yield case(
        "Segformer", "ForSemanticSegmentation", segformer,
        "stages.0.blocks.0 stages.1 decode_head", (), example=images,
    )  # fmt: skip
    yield Entry(
        "transformers", "CLIPModel", _clip, _described,
        ("vision_model.encoder.layers.1", "text_model.encoder.layers.2", "visual_projection"),
        IDS, scores=lambda output: output.image_embeds,
    )  # fmt: skip
