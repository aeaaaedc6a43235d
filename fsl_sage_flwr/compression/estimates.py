"""Estimate the bytes of a round, with the codecs of a run configuration."""

from dataclasses import replace

from ..splitting import Cut
from .codecs import Codec, codec_named
from .settings import Compression

FLOAT = 32  # bits of an uncoded value


def coded_cut(cut: Cut, codecs: Compression) -> Cut:
    """Return a cut with the estimated bytes of its coded tensors.

    Client halves and heads count as differences, as in all rounds but the first; where the two
    directions have different codecs, as the mean of both. A coded value takes ``Codec.bits``
    bits; vectors are not coded.

    Parameters
    ----------
    cut : Cut
        Cut with the bytes of uncoded tensors.
    codecs : Compression
        Codecs of the payloads.
    """
    down, up = codec_named(codecs.client_half_down), codec_named(codecs.client_half_up)
    auxiliary, smashed = codec_named(codecs.auxiliary), codec_named(codecs.smashed)
    gradients = codec_named(codecs.gradients)

    def both_ways(total: int, vectors: int) -> int:
        return (_weights(total, vectors, down) + _weights(total, vectors, up)) // 2

    of_smashed = smashed.bits.activations if smashed else FLOAT
    of_gradients = gradients.bits.gradients if gradients else FLOAT
    return replace(
        cut,
        client_bytes=both_ways(cut.client_bytes, cut.client_vector_bytes),
        server_bytes=both_ways(cut.server_bytes, cut.server_vector_bytes),
        head_bytes=_weights(cut.head_bytes, cut.head_vector_bytes, auxiliary),
        smashed_bytes=_share(cut.smashed_bytes, of_smashed),
        gradient_bytes=_share(cut.gradient_bytes, of_gradients),
        hidden_bytes=_share(cut.hidden_bytes, of_smashed),
        hidden_gradient_bytes=_share(cut.hidden_gradient_bytes, of_gradients),
    )


def _weights(total: int, vectors: int, codec: Codec | None) -> int:
    return vectors + _share(total - vectors, codec.bits.weights if codec else FLOAT)


def _share(size: int, bits: float) -> int:
    return round(size * bits / FLOAT)
