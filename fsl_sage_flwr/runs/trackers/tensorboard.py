"""Log to TensorBoard, as event files in the run's directory."""

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
        # A resumed run writes all its rounds again: hide those that a killed process wrote.
        self._writer = SummaryWriter(str(directory / FOLDER), purge_step=0)

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Add a point to each curve, on the disk."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, completed: bool) -> None:
        """Close the event file."""
        self._writer.close()
