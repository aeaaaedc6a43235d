"""Measure how much of the inputs the smashed data at a cut reveal."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...app.assembly import build_task
from ...app.config import ConfigError, RunConfig
from ...batching import batches_of
from ...data import load_images, normalize
from ...data.image_dataset import ImageDataset
from ...seeding import derive_seed
from ...splitting import add_noise, as_tensors, client_forward, clip_samples, seeded_normal
from ...task import SplitTask
from .decoder import Decoder, train_decoder
from .distance_correlation import distance_correlation

BATCH = 64
LEARNING_RATE = 2e-3
SHOWN = 10


@dataclass(frozen=True)
class Effort:
    """The size of a measurement.

    Attributes
    ----------
    steps : int
        Training steps of the decoder, in batches of 64.
    images : int
        Largest number of training images for the decoder.
    samples : int
        Largest number of test images for the distance correlation and the decoder's error; at
        least four.
    """

    steps: int = 1000
    images: int = 5000
    samples: int = 500


@dataclass(frozen=True)
class Leakage:
    """The results at a cut. Errors are for pixel values from 0 to 1.

    Attributes
    ----------
    cut : str
        First submodule of the server half.
    smashed_shapes : tuple of tuple of int
        Shape of one sample of each tensor that crosses the cut.
    samples : int
        Number of test images that were measured.
    distance_correlation : float
        Between these images and their smashed data, bias-corrected, 0 to 1.
    decoder_error, mean_image_error : float
        Mean squared error of the decoder's reconstructions, and of the mean training image
        used as reconstruction.
    originals, reconstructions : Tensor
        ``(10, C, H, W)``, from 0 to 1, from the test split; fewer if the split is smaller.
    """

    cut: str
    smashed_shapes: tuple[tuple[int, ...], ...]
    samples: int
    distance_correlation: float
    decoder_error: float
    mean_image_error: float
    originals: Tensor
    reconstructions: Tensor


def psnr(error: float) -> float:
    """Return the peak signal-to-noise ratio in decibels of a mean squared error."""
    return 10 * math.log10(1 / error) if error else math.inf


def measure(
    config: RunConfig, weights: Mapping[str, Tensor] | None, effort: Effort = Effort()
) -> Leakage:
    """Measure how much of the inputs the smashed data reveal, as training uploads them.

    The client half runs in training mode, in batches of ``batch-size``, without augmentation.
    Smashed data are clipped and noised as ``smashed-clip-norm`` and
    ``smashed-noise-multiplier`` say. The decoder stands for an attacker who has the client half
    and images like those of the clients: it is trained on images of the training split and
    their smashed data, with new noise in every step, and tested on the test split. The same
    configuration gives the same figures, because here the seed draws the noise.

    Parameters
    ----------
    config : RunConfig
        Names the model, the cut and the dataset, and the treatment of the smashed data.
    weights : Mapping or None
        The client half's state_dict; None for the initial weights of a run.
    effort : Effort
        The size of the measurement.

    Raises
    ------
    ConfigError
        The weights do not belong to this model and cut.
    """
    task = build_task(config)
    half = task.model.client
    if weights is not None:
        own = {name: tensor.shape for name, tensor in half.state_dict().items()}
        shape = tuple(as_tensors(task.example)[0].shape[1:])
        if own != {name: tensor.shape for name, tensor in weights.items()}:
            raise ConfigError(
                f"the weights are not those of {config.model} cut before {task.model.cut} for "
                f"images {shape}; do not change the run's model, cut and dataset"
            )
        half.load_state_dict(weights)
    train, test = load_images(config.dataset)
    inputs, clean = _pairs(task, config, train, effort.images, "train")
    unseen, held_out = _pairs(task, config, test, effort.samples, "test")
    normal = seeded_normal(derive_seed(config.seed, "leakage", "noise"))
    sigma = config.smashed_noise_multiplier * config.smashed_clip_norm

    def sent(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        clip = config.smashed_clip_norm
        return add_noise(clip_samples(tensors, clip) if clip else tensors, sigma, normal)

    mean_image = inputs.mean(dim=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "leakage", "decoder"))
        decoder = Decoder([tensor.shape[1:] for tensor in clean], mean_image).to(task.device)
    train_decoder(
        decoder,
        lambda rows: sent(tuple(tensor[rows] for tensor in clean)),
        inputs,
        steps=effort.steps,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        generator=torch.Generator().manual_seed(derive_seed(config.seed, "leakage", "rows")),
    )
    received = sent(held_out)
    with torch.no_grad():
        guesses = torch.cat(
            [decoder(*(t[r] for t in received)) for r in batches_of(len(unseen), BATCH)]
        ).clamp(0, 1)
    return Leakage(
        cut=task.model.cut,
        smashed_shapes=tuple(tuple(tensor.shape[1:]) for tensor in clean),
        samples=len(unseen),
        distance_correlation=distance_correlation(
            unseen, torch.cat([t[:, None].flatten(1).float() for t in received], dim=1)
        ),
        decoder_error=float((guesses - unseen).square().mean()),
        mean_image_error=float((mean_image - unseen).square().mean()),
        originals=unseen[:SHOWN].cpu(),
        reconstructions=guesses[:SHOWN].cpu(),
    )


def _pairs(
    task: SplitTask, config: RunConfig, split: ImageDataset, most: int, purpose: str
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return images of a split, from 0 to 1, and their smashed data, not clipped or noised."""
    seed = derive_seed(config.seed, "leakage", purpose)
    order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(seed))
    images = split.decode(order[:most].tolist())[0].to(task.device)
    smashed = []
    task.reseed("leakage", purpose)
    with torch.no_grad():
        for rows in batches_of(len(images), config.batch_size):
            smashed.append(
                client_forward(task.model.client, normalize(images[rows]), task.autocast)
            )
    columns = zip(*smashed, strict=True)
    return images.float() / 255, tuple(torch.cat(column) for column in columns)
