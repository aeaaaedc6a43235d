"""The auxiliary head of a task that has none: the first blocks of the server half."""

import torch
from torch import Tensor, nn

from ..objective import Objective, logits_of
from ..splitting import AuxiliaryHead, SplitError, build_auxiliary, copy_sharing_frozen


def build_default_head(
    server: nn.Module,
    objective: Objective,
    num_classes: int | None,
    smashed: tuple[Tensor, ...],
    device: torch.device,
) -> AuxiliaryHead:
    """Build a head, and refuse scores that the objective's loss does not accept.

    Parameters
    ----------
    server : nn.Module
        Server half, on ``device``.
    objective : Objective
        Loss of the scores.
    num_classes : int or None
        Width of the head's output; None for that of the server half's.
    smashed : tuple of Tensor
        Smashed data of the example, on the CPU.
    device : torch.device
        Device of this side.

    Raises
    ------
    SplitError
        The loss does not accept the scores.
    """
    moved = tuple(tensor.to(device) for tensor in smashed)
    width = _output_width(server, objective, moved) if num_classes is None else num_classes
    head = build_auxiliary(server, smashed, width)
    labels = objective.example_labels(len(smashed[0])).to(device)
    try:
        with torch.no_grad():
            objective.loss(copy_sharing_frozen(head).to(device).eval()(*moved), labels)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SplitError(
            "the default auxiliary head gives one row of scores per sample, and the loss does "
            f"not accept these ({' '.join(str(error).split())[:120]}); give SplitTask "
            "auxiliary=…"
        ) from error
    return head


def _output_width(server: nn.Module, objective: Objective, smashed: tuple[Tensor, ...]) -> int:
    with torch.no_grad():
        half = copy_sharing_frozen(server).eval()
        output = logits_of(objective.read(half(*smashed)))
    return output.shape[-1] if output.dim() > 1 else 1
