"""Refuse what looks at images where a run learns something else."""

from ..app.config import ConfigError, RunConfig


def refuse_other_tasks(config: RunConfig, command: str) -> None:
    """Refuse a run configuration of another kind of task.

    Raises
    ------
    ConfigError
        ``task`` is not the image classification.
    """
    if config.task != RunConfig.task:
        raise ConfigError(
            f"task = {config.task!r}: fsl-sage {command} looks at images; only "
            f"task = {RunConfig.task!r} is valid here"
        )
