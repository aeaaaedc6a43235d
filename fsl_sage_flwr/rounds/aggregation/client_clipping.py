"""Flower's differential privacy with clipping on the clients, around one of our strategies."""

from flwr.app import ConfigRecord

from ...compression import NONE

# Flower's wrappers for it put this key into a request's config.
KEY = "clipping_norm"


def refuse_clipping(
    config: ConfigRecord, strategy: str, codec: str, *, weights_alone: bool
) -> None:
    """Refuse what clients could not clip.

    Parameters
    ----------
    config : ConfigRecord
        Of the round's requests, as Flower's wrappers leave it.
    strategy : str
        The strategy's name, for the message.
    codec : str
        What codes the weights that clients send.
    weights_alone : bool
        Whether the messages carry nothing else.

    Raises
    ------
    TypeError
        Clients are to clip messages that hold more than weights, or what a codec changes after.
    """
    if KEY not in config:
        return
    if not weights_alone:
        raise TypeError(
            f"Flower's clipping on the clients wants messages with weights alone, and {strategy}'s "
            "carry more; use DifferentialPrivacyServerSideFixedClipping around it"
        )
    if codec != NONE:
        raise TypeError(
            f"client_half_up = {codec!r}: clients clip what they send, and a codec with error "
            "feedback would add to it afterwards what it lost before; set it to 'none'"
        )
