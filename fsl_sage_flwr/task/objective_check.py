"""Refuse an objective that does not fit the model."""

import torch
from torch import Tensor

from ..objective import Objective, logits_of
from ..splitting import (
    SplitError,
    SplitModel,
    problem_with_loss,
    problem_with_reduction,
    warn_of_more_scores,
)


def check_objective(
    model: SplitModel, objective: Objective, num_classes: int | None, smashed: tuple[Tensor, ...]
) -> None:
    """Refuse an objective that does not fit the server half's output on smashed data.

    More scores than classes are a warning.

    Raises
    ------
    SplitError
        Its loss or scores fail, for example with fewer scores than classes; or the loss is a
        sum, or has separate trainable weights.
    """
    half = model.behind_the_cut
    labels = objective.example_labels(len(smashed[0])).to(smashed[0].device)
    shape: tuple[int, ...] = ()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = objective.output_of(half.eval(), smashed, labels)
            shape = tuple(logits_of(objective.read(output)).shape)
            own = [*model.client.parameters(), *half.parameters()]
            problem = problem_with_loss(objective, output, labels, own)
            if problem is None:
                objective.reported_loss(output, labels)
                objective.scored(output, labels)
                problem = problem_with_reduction(objective, half, smashed, labels)
    except (
        RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError,
    ) as error:  # fmt: skip
        given = f" of shape {shape}" if shape else ""
        advice = (
            ". For scores of tokens or pixels give objective=classification(C, "
            "label_shape=(T,), class_axis=-1) or segmentation(C, (H, W))"
        )
        raise SplitError(
            f"the objective does not accept the server half's output{given}, with labels of "
            f"shape {tuple(labels.shape)}: {' '.join(str(error).split())[:300]}"
            f"{advice if len(shape) > 2 else ''}"
        ) from error
    finally:
        half.train()
    if problem is not None:
        raise SplitError(problem)
    warn_of_more_scores(shape, num_classes)
