"""What the tensors in clients' replies must look like."""

from collections.abc import Mapping

from torch import Tensor

from ...messages import SmashedSpec
from ...messages.records import is_finite
from ...task import SplitTask


def weights_like(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what trained weights must look like.

    Only names, shapes and dtypes are compared: tensors on "meta" have no values. Constants that
    are not finite, such as a causal mask, keep theirs: a reply must have the same.
    """
    return {
        name: tensor.to("meta") if is_finite(tensor) else tensor.cpu().clone()
        for name, tensor in weights.items()
    }


def smashed_spec(task: SplitTask, *, with_head: bool) -> SmashedSpec:
    """Return what smashed data must look like.

    ``with_head`` is whether clients train an auxiliary head on them too.
    """
    return SmashedSpec(
        task.smashed_example(),
        task.objective.problem_with,
        1 if task.takes_single_samples(with_head=with_head) else 2,
        free=task.model.free,
    )
