"""Give tensors the memory layout that they had before they were sent."""

from collections.abc import Sequence

from torch import Tensor

Order = tuple[int, ...]
"""Axes from the outermost in memory to the innermost; empty for row by row."""


def order_of(tensor: Tensor) -> Order:
    """Return the order in which a tensor's axes lie in memory.

    A tensor that is expanded along an axis counts as row by row.
    """
    strides = tensor.stride()
    if tensor.is_contiguous() or 0 in strides:
        return ()
    order = tuple(sorted(range(tensor.dim()), key=lambda axis: -strides[axis]))
    return () if order == tuple(range(tensor.dim())) else order


def in_order(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a tensor's values with its axes in memory in an order."""
    if not order:
        return tensor
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return tensor.permute(*order).contiguous().permute(inverse)


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
    return tensor if tensor.dim() != like.dim() else in_order(tensor, order_of(like))


def noted_orders(leaves: Sequence[Tensor]) -> dict[int, Order]:
    """Return a mapping that the next backward pass fills: orders of the leaves' gradients, by id.

    Autograd gives a leaf's ``grad`` the leaf's layout. Without a cut the gradient keeps the layout
    in which it is computed.
    """
    found: dict[int, Order] = {}

    def note(leaf: Tensor) -> None:
        key = id(leaf)
        leaf.register_hook(lambda gradient: found.update({key: order_of(gradient)}))  # type: ignore[no-untyped-call]

    for leaf in leaves:
        if leaf.requires_grad:
            note(leaf)
    return found
