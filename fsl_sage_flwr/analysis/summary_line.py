"""Format a run's main figure: its accuracy, or else its loss."""

import math

from ..units import percent


def summary_line(accuracy: float | None, loss: float) -> str:
    """Return the accuracy as a percentage, or the loss if there is no accuracy.

    Parameters
    ----------
    accuracy : float or None
        Test accuracy, 0 to 1; None or NaN if the task has none.
    loss : float
        Mean test loss.
    """
    if accuracy is None or math.isnan(accuracy):
        return f"loss {loss:.4f}"
    return percent(accuracy)
