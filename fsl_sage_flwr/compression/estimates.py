"""Estimate the bytes of a round and the work of its codecs, by a run configuration."""

from dataclasses import replace

from ..byte_columns import FULL_MODEL, PAYLOADS
from ..splitting import Cut
from .codecs import Codec, codec_named
from .settings import Compression

FLOAT = 32  # bits of an uncoded value
CLIENT_HALF, AUXILIARY, SMASHED, _, GRADIENTS = PAYLOADS


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


def coding_operations(codecs: Compression) -> dict[str, dict[str, float]]:
    """Return a client's operations per byte of its codes, by direction and kind of payload.

    A client decodes what comes down and encodes what goes up. Kinds without a codec are left out.
    """
    halves = (CLIENT_HALF, FULL_MODEL)
    chosen_down = {**dict.fromkeys(halves, codecs.client_half_down), AUXILIARY: codecs.auxiliary}
    chosen_up = {**dict.fromkeys(halves, codecs.client_half_up), AUXILIARY: codecs.auxiliary}
    down, up = dict[str, float](), dict[str, float]()
    for kind, name in chosen_down.items():
        if (codec := codec_named(name)) is not None:
            down[kind] = _per_byte(codec.operations.decode, codec.bits.weights)
    for kind, name in chosen_up.items():
        if (codec := codec_named(name)) is not None:
            up[kind] = _per_byte(codec.operations.encode, codec.bits.weights)
    if (codec := codec_named(codecs.gradients)) is not None:
        down[GRADIENTS] = _per_byte(codec.operations.decode, codec.bits.gradients)
    if (codec := codec_named(codecs.smashed)) is not None:
        up[SMASHED] = _per_byte(codec.operations.encode, codec.bits.activations)
    return {direction: own for direction, own in (("down", down), ("up", up)) if own}


def _per_byte(operations: float, bits: float) -> float:
    return 8 * operations / bits


def _weights(total: int, vectors: int, codec: Codec | None) -> int:
    return vectors + _share(total - vectors, codec.bits.weights if codec else FLOAT)


def _share(size: int, bits: float) -> int:
    return round(size * bits / FLOAT)
