"""The one figure that says how well a run does: its accuracy, or else its loss."""

import math


def headline(accuracy: float | None, loss: float) -> str:
    """Return it in words.

    Parameters
    ----------
    accuracy : float or None
        Share of the test split that is right, 0 to 1; None or NaN where the task has none.
    loss : float
        Mean test loss.
    """
    if accuracy is None or math.isnan(accuracy):
        return f"loss {loss:.4f}"
    return f"{accuracy:.2%}"
