"""Clip smashed data and add noise to them in a Flower mod, before they leave the client."""

import math

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod
from torch import Tensor

from ..messages import change_smashed, round_and_exchange
from ..seeding import derive_seed
from ..splitting import Normal, add_noise, clip_samples, seeded_normal, unpredictable_normal
from .identity import identify


def smashed_noise_mod(
    *, clip_norm: float, noise_multiplier: float = 0.0, seed: int | None = None
) -> Mod:
    """Make a mod that clips and noises all smashed data that a client sends.

    The mod changes every reply with smashed data, of any algorithm: uploads of training,
    FSL-SAGE's probe, SplitFed's exchanges and federated evaluation. It scales each sample down
    to an L2 norm of at most ``clip_norm``, over all its floating-point tensors together, and
    adds Gaussian noise of standard deviation ``noise_multiplier * clip_norm`` to every value.
    Masks and other integers, labels, weights and metrics stay unchanged. ``docs/privacy.md``
    names the attacks that this prevents.

    The mod runs on the reply and not while it is packed, so that the replies of any handler are
    noised; their tensors are not serialized yet, so that this costs no serialization.

    The client trains on its own smashed data without noise. The server computes on the noised
    ones: SplitFed's gradient is that of the noised ``z`` and is back-propagated as if it were
    the clean one's; FSL-SAGE aligns its heads to such gradients.

    Parameters
    ----------
    clip_norm : float
        Largest norm of a sample, above 0.
    noise_multiplier : float
        Standard deviation of the noise in units of ``clip_norm``; 0 only clips.
    seed : int, optional
        Only for experiments: draws the noise from the seed, message type, round, exchange and
        partition, so that runs repeat and anyone with the seed can subtract the noise. By
        default the noise comes from the operating system and differs in every run.

    Returns
    -------
    callable
        For ``build_client_app(task, mods=[…])``, not for ``train_mods``, because queries and
        evaluations have smashed data too.

    Raises
    ------
    ValueError
        A value is out of its range.

    Examples
    --------
    >>> app = build_client_app(make_task, mods=[smashed_noise_mod(clip_norm=1.0,
    ...                                                           noise_multiplier=0.5)])
    """
    if not 0 < clip_norm < math.inf:
        raise ValueError(f"clip_norm = {clip_norm}: it must be above 0 and finite")
    if not 0 <= noise_multiplier < math.inf:
        raise ValueError(f"noise_multiplier = {noise_multiplier}: it must be at least 0 and finite")

    def smashed_noise(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        round_, exchange = round_and_exchange(message.content)
        reply = call_next(message, context)
        normal: Normal = unpredictable_normal
        if seed is not None:
            purpose = ("smashed-noise", message.metadata.message_type, round_, exchange)
            partition = identify(context).partition_id
            normal = seeded_normal(derive_seed(seed, *purpose, partition))

        def protected(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            clipped = clip_samples(tensors, clip_norm)
            return add_noise(clipped, noise_multiplier * clip_norm, normal)

        if reply.has_content():
            change_smashed(reply.content, protected)
        return reply

    return smashed_noise
