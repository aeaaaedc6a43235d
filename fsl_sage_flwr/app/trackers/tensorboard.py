"""TensorBoard: event files in the run's directory."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class TensorBoardBackend:
    """Write event files to ``<run directory>/tensorboard``.

    Parameters
    ----------
    directory : Path
        The run's directory.
    """

    run = ""

    def __init__(self, directory: Path) -> None:
        # A run that resumes in its directory writes all rounds again, so the rounds that a
        # killed process wrote there are hidden.
        self._writer = SummaryWriter(str(directory / FOLDER), purge_step=0)

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Add a point to each curve and write it to the disk."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, completed: bool) -> None:
        """Close the event file."""
        self._writer.close()
