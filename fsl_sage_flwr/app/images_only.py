"""Refuse commands for images on runs of other tasks."""

from ..data import ImageDataset, load_images
from ..image_classification import KIND
from .config import ConfigError, RunConfig


def refuse_other_tasks(config: RunConfig, command: str) -> None:
    """Refuse a run configuration of another task.

    Raises
    ------
    ConfigError
        ``task`` is not image classification.
    """
    if config.task != KIND.name:
        raise ConfigError(
            f"task = {config.task!r}: fsl-sage {command} looks at images; only "
            f"task = {KIND.name!r} is valid here"
        )


def images_of(config: RunConfig) -> tuple[ImageDataset, ImageDataset]:
    """Return the training and the test split of a run on images.

    Raises
    ------
    DatasetError
        As :func:`~fsl_sage_flwr.data.load_images`.
    """
    keys = config.to_run_config()
    return load_images(config.dataset, keys["data.image-column"], keys["data.label-column"])
