"""Measure how much the smashed data at a cut reveal of the inputs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..app.assembly import build_task
from ..app.config import ConfigError, RunConfig
from ..app.images_only import images_of
from ..batching import batches_of
from ..data import normalize
from ..data.image_dataset import ImageDataset
from ..objective import logits_of
from ..seeding import derive_seed
from ..splitting import add_noise, as_tensors, client_forward, clip_samples, seeded_normal
from ..task import SplitTask
from . import label_inference
from .decoder import Decoder, train_decoder
from .distance_correlation import distance_correlation
from .membership import losses_of, membership_auc
from .model_inversion import invert

BATCH = 64
LEARNING_RATE = 2e-3
SHOWN = 10
INVERTED = 64  # images at most, because an inversion passes all of them many times


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
    """Results at one cut. Errors are for pixel values from 0 to 1.

    Attributes
    ----------
    cut : str
        First submodule of the server half.
    smashed_shapes : tuple of tuple of int
        Shape of one sample of each tensor that crosses the cut.
    samples : int
        Number of measured test images.
    distance_correlation : float
        Between these images and their smashed data, bias-corrected, 0 to 1.
    decoder_error, mean_image_error : float
        Mean squared error of the decoder's reconstructions, and of the mean training image as a
        reconstruction.
    inversion_error : float
        Mean squared error of an optimisation with the client half alone.
    inverted : int
        Number of inverted test images.
    labels_by_norm, labels_by_direction : float
        Share of the test images' labels that an attacker with one gradient per class infers from
        SplitFed's gradients: of smashed data, or of hidden states where labels stay on clients.
    labels_by_tail : float or None
        Share that an attacker with the tail infers from gradients of hidden states; None where
        labels are sent.
    commonest_label : float
        Accuracy of the best constant guess.
    membership_auc : float
        AUC of telling training images from test images by the whole model's loss; 0.5 is guessing.
    members, others : int
        Number of training and of test images of this attack.
    originals, reconstructions : Tensor
        ``(10, C, H, W)``, from 0 to 1, from the test split; fewer if the split is smaller.
    """

    cut: str
    smashed_shapes: tuple[tuple[int, ...], ...]
    samples: int
    distance_correlation: float
    decoder_error: float
    mean_image_error: float
    inversion_error: float
    inverted: int
    labels_by_norm: float
    labels_by_direction: float
    labels_by_tail: float | None
    commonest_label: float
    membership_auc: float
    members: int
    others: int
    originals: Tensor
    reconstructions: Tensor


def psnr(error: float) -> float:
    """Return the peak signal-to-noise ratio in decibels of a mean squared error."""
    return 10 * math.log10(1 / error) if error else math.inf


@dataclass(frozen=True)
class Trained:
    """The state_dicts of both halves of a run."""

    client_half: Mapping[str, Tensor]
    server_half: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Measured:
    """Images of a split with their labels and smashed data, and the smashed data as sent.

    ``images`` are ``(N, C, H, W)`` from 0 to 1; ``clean`` is neither clipped nor noised.
    """

    images: Tensor
    labels: Tensor
    clean: tuple[Tensor, ...]


Sent = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


def measure(config: RunConfig, trained: Trained | None, effort: Effort = Effort()) -> Leakage:
    """Measure how much the smashed data reveal of the inputs, as training uploads them.

    The client half runs in training mode, in batches of ``batch-size``, without augmentation.
    Smashed data are clipped and noised by ``privacy.smashed-clip-norm`` and
    ``privacy.smashed-noise-multiplier``. The decoder is an attacker with the client half and images
    like the clients': it is trained on images of the training split and their smashed data, with
    new noise in every step, and tested on the test split. The inversion has the client half alone.
    Labels are inferred from gradients of the server half, and membership from the loss of the whole
    model. The figures are repeatable, because here the seed draws the noise.

    Parameters
    ----------
    config : RunConfig
        Model, cut and dataset, and the treatment of the smashed data.
    trained : Trained or None
        Both halves of a run; None for a run's initial weights.
    effort : Effort
        Size of the measurement.

    Raises
    ------
    ConfigError
        The weights do not belong to this model and cut.
    """
    task = build_task(config)
    if trained is not None:
        _load(task.model.client, trained.client_half, config, task)
        _load(task.model.server, trained.server_half, config, task)
    splits = images_of(config)
    # First, because the other measurements change running statistics.
    membership = _membership(task, config, splits, effort)
    train = _measured(task, config, splits[0], effort.images, "train")
    test = _measured(task, config, splits[1], effort.samples, "test")
    sent = _treatment(config)
    mean_image = train.images.mean(dim=0)
    decoder = _trained_decoder(task, config, train, sent, effort.steps)
    received = sent(test.clean)
    with torch.no_grad():
        guesses = torch.cat(
            [decoder(*(t[r] for t in received)) for r in batches_of(len(test.images), BATCH)]
        ).clamp(0, 1)
    inferred = _inferred_labels(task, config, train, test, sent)
    inverted = _inverted(task, config, test, received)
    return Leakage(
        cut=task.model.cut,
        smashed_shapes=tuple(tuple(tensor.shape[1:]) for tensor in train.clean),
        samples=len(test.images),
        distance_correlation=distance_correlation(
            test.images, torch.cat([t[:, None].flatten(1).float() for t in received], dim=1)
        ),
        decoder_error=_error(guesses, test.images),
        mean_image_error=_error(mean_image.expand_as(test.images), test.images),
        inversion_error=_error(inverted, test.images[: len(inverted)]),
        inverted=len(inverted),
        labels_by_norm=inferred.by_norm,
        labels_by_direction=inferred.by_direction,
        labels_by_tail=inferred.by_tail,
        commonest_label=label_inference.best_constant_accuracy(test.labels),
        membership_auc=membership,
        members=min(effort.images, len(splits[0].labels)),
        others=min(effort.samples, len(splits[1].labels)),
        originals=test.images[:SHOWN].cpu(),
        reconstructions=guesses[:SHOWN].cpu(),
    )


def _load(
    half: nn.Module, weights: Mapping[str, Tensor], config: RunConfig, task: SplitTask
) -> None:
    own = {name: tensor.shape for name, tensor in half.state_dict().items()}
    shape = tuple(as_tensors(task.example)[0].shape[1:])
    if own != {name: tensor.shape for name, tensor in weights.items()}:
        raise ConfigError(
            f"the weights are not those of {config.model} cut before {task.model.cut} for "
            f"images {shape}; do not change the run's model, cut and dataset"
        )
    half.load_state_dict(weights)


def _treatment(config: RunConfig) -> Sent:
    """Return the function that clips and noises smashed data by the configuration."""
    normal = seeded_normal(derive_seed(config.seed, "leakage", "noise"))
    clip = config.privacy.smashed_clip_norm
    sigma = config.privacy.smashed_noise_multiplier * clip
    return lambda tensors: add_noise(
        clip_samples(tensors, clip) if clip else tensors, sigma, normal
    )


def _error(guesses: Tensor, images: Tensor) -> float:
    return float((guesses - images).square().mean())


def _trained_decoder(
    task: SplitTask, config: RunConfig, train: _Measured, sent: Sent, steps: int
) -> Decoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "leakage", "decoder"))
        shapes = [tensor.shape[1:] for tensor in train.clean]
        decoder = Decoder(shapes, train.images.mean(dim=0)).to(task.device)
    train_decoder(
        decoder,
        lambda rows: sent(tuple(tensor[rows] for tensor in train.clean)),
        train.images,
        steps=steps,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        generator=torch.Generator().manual_seed(derive_seed(config.seed, "leakage", "rows")),
    )
    return decoder


class _Inferred(NamedTuple):
    """Shares of labels that are inferred from gradients, by attack."""

    by_norm: float
    by_direction: float
    by_tail: float | None


def _inferred_labels(
    task: SplitTask, config: RunConfig, train: _Measured, test: _Measured, sent: Sent
) -> _Inferred:
    """Infer labels from the gradients that travel: of smashed data, or of hidden states."""
    tail = task.model.tail
    task.reseed("leakage", "gradients")
    rows = label_inference.first_of_each_class(train.labels)
    few = slice(0, max(int(rows.max()) + 1, 2))  # whole batches, for the server half's BatchNorm

    def crossing(of: _Measured, rows: slice) -> tuple[Tensor, ...]:
        """Return what the part with the labels is given."""
        smashed = sent(tuple(tensor[rows] for tensor in of.clean))
        return smashed if tail is None else _hidden(task, config, smashed)

    def gradients(of: _Measured, rows: slice, given: tuple[Tensor, ...]) -> Tensor:
        return label_inference.gradients_sent_down(
            task.model.server if tail is None else tail,
            given,
            of.labels[rows],
            task.objective,
            config.batch_size,
            task.autocast,
        )

    known, known_labels = gradients(train, few, crossing(train, few))[rows], train.labels[rows]
    given = crossing(test, slice(None))
    found = gradients(test, slice(None), given)
    share = partial(label_inference.accuracy_of, labels=test.labels)
    by_tail = None
    if tail is not None and task.num_classes is not None:
        by_tail = share(
            label_inference.by_tail(
                tail, given, found, task.num_classes, task.objective, config.batch_size,
                task.autocast,
            )
        )  # fmt: skip
    return _Inferred(
        share(label_inference.by_norm(found, known, known_labels)),
        share(label_inference.by_direction(found, known, known_labels)),
        by_tail,
    )


def _hidden(task: SplitTask, config: RunConfig, smashed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return what the server half makes of smashed data in training."""
    found = []
    with torch.no_grad():
        for rows in batches_of(len(smashed[0]), config.batch_size):
            part = tuple(tensor[rows] for tensor in smashed)
            found.append(client_forward(task.model.server, part, task.autocast))
    return tuple(torch.cat(column) for column in zip(*found, strict=True))


def _inverted(
    task: SplitTask, config: RunConfig, test: _Measured, received: tuple[Tensor, ...]
) -> Tensor:
    """Return the inversion of the first batch of the test images."""
    batch = batches_of(len(test.images), min(config.batch_size, INVERTED))[0]
    task.reseed("leakage", "inversion")

    def forward(images: Tensor) -> tuple[Tensor, ...]:
        return client_forward(task.model.client, normalize(images * 255), task.autocast)

    return invert(forward, tuple(tensor[batch] for tensor in received), test.images.shape[1:])


def _membership(
    task: SplitTask, config: RunConfig, splits: tuple[ImageDataset, ImageDataset], effort: Effort
) -> float:
    halves = task.model.client.eval(), task.model.behind_the_cut.eval()

    def scores(images: Tensor) -> Tensor:
        with task.autocast():
            return logits_of(halves[1](*client_forward(halves[0], images, task.autocast)))

    losses = []
    for split, most, purpose in zip(
        splits, (effort.images, effort.samples), ("train", "test"), strict=True
    ):
        images, labels = _drawn(task, config, split, most, purpose)
        losses.append(losses_of(scores, normalize(images), labels))
    for half in halves:
        half.train()
    return membership_auc(*losses)


def _drawn(
    task: SplitTask, config: RunConfig, split: ImageDataset, most: int, purpose: str
) -> tuple[Tensor, Tensor]:
    """Return images of a split, uint8, and their labels, in an order drawn by the seed."""
    seed = derive_seed(config.seed, "leakage", purpose)
    order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(seed))
    images, labels = split.decode(order[:most].tolist())
    return images.to(task.device), labels.to(task.device)


def _measured(
    task: SplitTask, config: RunConfig, split: ImageDataset, most: int, purpose: str
) -> _Measured:
    images, labels = _drawn(task, config, split, most, purpose)
    smashed = []
    task.reseed("leakage", purpose)
    with torch.no_grad():
        for rows in batches_of(len(images), config.batch_size):
            smashed.append(
                client_forward(task.model.client, normalize(images[rows]), task.autocast)
            )
    columns = zip(*smashed, strict=True)
    return _Measured(images.float() / 255, labels, tuple(torch.cat(column) for column in columns))
