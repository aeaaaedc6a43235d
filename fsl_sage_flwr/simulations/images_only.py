"""Refuse what looks at images where a run learns something else."""

from ..app.config import ConfigError, RunConfig
from ..image_classification import KIND


def refuse_other_tasks(config: RunConfig, command: str) -> None:
    """Refuse a run configuration of another kind of task.

    Raises
    ------
    ConfigError
        ``task`` is not the image classification.
    """
    if config.task != KIND.name:
        raise ConfigError(
            f"task = {config.task!r}: fsl-sage {command} looks at images; only "
            f"task = {KIND.name!r} is valid here"
        )
