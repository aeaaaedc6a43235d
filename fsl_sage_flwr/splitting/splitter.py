"""Cut an ``nn.Module`` in two before a named submodule."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from .cut_tail import with_tail
from .cutter import cutting
from .errors import SplitError
from .inputs import Inputs, as_tensors
from .refusals import full_name, refuse_other_arguments, refuse_unfit
from .slow_notice import slow_notice
from .split_model import SplitModel

log = logging.getLogger("flwr.fsl_sage")


def split(
    model: nn.Module,
    at: str,
    example: Inputs,
    *,
    tail: str = "",
    public: Collection[str] = (),
    smaller: Inputs | None = None,
    batch_axis: int | Mapping[str, int] = 0,
    prove: bool = True,
) -> SplitModel:
    """Cut ``model`` before the submodule named ``at``, and with ``tail`` once more behind it.

    The halves share the model's parameters and buffers; nothing is copied. The cut is proven on
    ``example``: the outputs in train and eval mode, and the parameters' gradients in train mode,
    equal the whole model's bit for bit.

    Parameters
    ----------
    model : nn.Module
        Any model. If ``torch.fx`` can trace its forward along the ancestors of the cut, the
        graph is divided. Otherwise, or if the forward depends on train or eval mode, the forward
        is replayed on both sides; then all axes of a batch after the first must have the example's
        size. Either way every tensor that the server half needs crosses: arguments of the cut
        module, skips, encoder states. A tensor of the whole batch, such as an edge list, crosses
        once per sample: rows of a sample, such as its adjacency matrix, are smaller.
    at : str
        Qualified name of the first submodule of the server half, as in
        ``model.named_modules()``, e.g. ``"layer3"`` or ``"features.4"``; or a unique ending of one:
        ``"layers.3"`` for ``"base_model.model.model.layers.3"``.
    tail : str
        Name, as that of ``at``, of the first submodule of a third part, which the client holds
        beside the client half, so that labels need not leave it. The server half between them
        must make all that the tail needs: no skip crosses both cuts, but masks, whole numbers and
        public inputs may. Empty for two halves.
    example : Tensor, tuple of Tensor or mapping
        Inputs of the model, a batch of at least two samples; a mapping has keyword arguments, as
        tokenizers give them.
    public : collection of str
        Names of inputs that the server may see: attention masks, lengths, decoder inputs. They
        cross as they are, and what the forward makes of them alone is made on both sides.
    smaller : Inputs, optional
        Another batch, of as many samples, with smaller sizes: shorter texts, smaller images.
        The cut is proven with both, and batches may then have any sizes, larger ones too: each is
        sent with its shape.
    batch_axis : int or mapping
        Axis of the samples in all inputs, or by name (default 0): 1 for ``(T, B, D)``, as
        ``nn.LSTM`` and ``nn.Transformer`` take them by default. Batches have their samples there
        too; smashed data and labels have theirs on the first axis.
    prove : bool
        False skips the proof of a replayed cut if the same cut of the same model has been proven:
        it takes several passes of the model, and their memory.

    Returns
    -------
    SplitModel
        Client half and server half. Their state_dicts are disjoint and together are the
        model's. With ``tail`` the client half is a :class:`FrontAndTail`.

    Raises
    ------
    SplitError
        The cut does not exist or is never called, a half would be empty, a module or a
        trainable weight would be on both sides, an input that is not public would cross the
        cut, or the halves do not compute the model's outputs.

    Examples
    --------
    >>> halves = split(resnet18(), at="layer3", example=torch.zeros(2, 3, 32, 32))
    """
    if tail and smaller is not None:
        raise SplitError("tail: batches of several sizes (smaller=…) cannot cross two cuts yet.")
    if tail and batch_axis != 0:
        raise SplitError("tail: samples must be on the first axis (batch_axis=0).")
    refuse_other_arguments(model, at)
    at = full_name(model, at)
    refuse_unfit(model, at)
    with (
        slow_notice(f"cutting {type(model).__name__} at {at!r} and proving the halves") as step,
        cutting(
            model, example, public=public, smaller=smaller, batch_axis=batch_axis, on_pass=step
        ) as cutter,
    ):
        halves = replace(cutter.cut(at, prove_replay=prove), cut=at)
    _warn_of_extra_state(model)
    if not tail:
        return halves
    return with_tail(model, halves, example, full_name(model, tail), public, prove)


def _warn_of_extra_state(model: nn.Module) -> None:
    names = [n for n, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if names:
        log.warning(
            "%d values of get_extra_state are not tensors and are not sent, such as %r: server and "
            "clients each keep theirs. Make them buffers if they must be the same",
            len(names),
            names[0],
        )


def split_pair(client: nn.Module, server: nn.Module, example: Inputs) -> SplitModel:
    """Make a split model from two modules and prove it on ``example``.

    Parameters
    ----------
    client, server : nn.Module
        The two halves. The server half is called with the tensors that the client half
        returns, each as a separate argument.
    example : Tensor or tuple of Tensor
        Inputs of the client half, a batch of at least two samples.

    Returns
    -------
    SplitModel
        Names in the state_dicts begin with ``client.`` and ``server.``.

    Raises
    ------
    SplitError
        As :func:`split`.
    """
    return split(_Pair(client, server), "server", example)


class _Pair(nn.Module):
    def __init__(self, client: nn.Module, server: nn.Module) -> None:
        super().__init__()
        self.client, self.server = client, server

    def forward(self, *inputs: Tensor) -> Any:
        return self.server(*as_tensors(self.client(*inputs)))
