"""Settings of clipping and noise."""

from dataclasses import dataclass

from .options import Options
from .setting import setting


@dataclass(frozen=True)
class PrivacyOptions(Options):
    """Clipping and noise on smashed data, on gradients of samples and on labels."""

    smashed_clip_norm: float = setting(
        0.0,
        "largest L2 norm of a sample's smashed data; 0 disables clipping",
        group="privacy",
        formerly=("smashed-clip-norm",),
        ge=0,
    )
    smashed_noise_multiplier: float = setting(
        0.0,
        "standard deviation of the Gaussian noise on smashed data, in clipping norms",
        group="privacy",
        formerly=("smashed-noise-multiplier",),
        ge=0,
    )
    smashed_noise_seed: int = setting(
        0,
        "seed of the noise on smashed data, for experiments; 0 draws it from the system's entropy",
        group="privacy",
        formerly=("smashed-noise-seed",),
        ge=0,
    )
    max_grad_norm: float = setting(
        0.0,
        "DP-SGD: largest L2 norm of a sample's gradient; 0 disables DP-SGD",
        group="privacy",
        formerly=("client-clip-norm",),
        ge=0,
    )
    noise_multiplier: float = setting(
        0.0,
        "DP-SGD: standard deviation of the noise on a batch's gradient sum, in `max-grad-norm`s",
        group="privacy",
        formerly=("client-noise-multiplier",),
        ge=0,
    )
    delta: float = setting(
        1e-5,
        "δ of the reported (ε, δ); 0 disables the account",
        group="privacy",
        formerly=("delta",),
        ge=0,
        le=0.5,
    )
    label_epsilon: float = setting(
        0.0,
        "ε of the randomised response by which clients draw their labels once; 0 disables it",
        group="privacy",
        formerly=("label-epsilon",),
        ge=0,
    )

    @property
    def has_account(self) -> bool:
        """Whether the noise on smashed data has an ε: it is drawn, and from a secret seed."""
        secret = self.smashed_noise_multiplier > 0 and self.smashed_noise_seed == 0
        return secret and self.delta > 0
