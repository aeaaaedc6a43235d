"""Give tensors the memory layout that they had before they were sent."""

from torch import Tensor


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor's values with its axes in memory in the order of another's.

    Messages hold tensors row by row. A model that hands on a transposed view (ConvNeXt, MLP-Mixer)
    computes with that layout, and the same values row by row give other last bits.

    Parameters
    ----------
    tensor : Tensor
        ``(B, …)``.
    like : Tensor
        Of as many axes; the values and sizes do not matter.
    """
    strides = like.stride()
    order = sorted(range(like.dim()), key=lambda axis: -strides[axis])
    if order == list(range(like.dim())) or like.is_contiguous() or tensor.dim() != like.dim():
        return tensor
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return tensor.permute(order).contiguous().permute(inverse)
