"""Tensors of a reply on their way through a ClientApp's mods, and how often they become bytes."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

from fsl_sage_flwr import smashed_noise_mod
from fsl_sage_flwr.compression import CODECS, PRESETS
from fsl_sage_flwr.compression.codecs import Exact
from fsl_sage_flwr.messages import arrays
from fsl_sage_flwr.messages.arrays import (
    in_memory,
    in_named_order,
    serialized,
    tensors_of,
    with_orders,
)
from fsl_sage_flwr.messages.records import BadReplyError

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import assert_same, cse_fsl, fed_avg, split_fed_v2, train
from ...tasks import CLIENTS, small_app

TENSORS = {
    "weight": torch.randn(3, 5),
    "turned": torch.randn(4, 2).t(),
    "last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "count": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "none": torch.zeros(0, 3),
}


def test_a_mod_sees_the_arrays_that_flower_would_make() -> None:
    ours, theirs = in_memory(TENSORS), ArrayRecord(dict(TENSORS))
    for name, array in theirs.items():
        assert (ours[name].dtype, ours[name].shape, ours[name].stype, ours[name].data) == (
            array.dtype, array.shape, array.stype, array.data,
        )  # fmt: skip
        np.testing.assert_array_equal(ours[name].numpy(), array.numpy())
    assert ours.count_bytes() == theirs.count_bytes()
    assert_same(dict(ours.to_torch_state_dict()), dict(theirs.to_torch_state_dict()))


def test_what_leaves_is_of_flowers_own_class() -> None:
    """Flower names the class of what it sends: a subclass would arrive nowhere."""
    record = in_memory(TENSORS)
    sent = serialized(record)
    assert {type(array) for array in sent.values()} == {Array}
    assert sent == ArrayRecord(dict(TENSORS))
    assert serialized(sent) is sent
    assert type(ArrayRecord.inflate(sent.deflate(), children=sent.children)) is ArrayRecord


def test_a_mod_may_replace_the_bytes_of_an_array() -> None:
    content = RecordDict({"arrays": in_memory({"w": torch.ones(3)})})
    content.array_records["arrays"]["w"].data = Array(torch.zeros(3)).data
    assert torch.equal(tensors_of(content, "arrays")["w"], torch.zeros(3))
    assert torch.equal(
        torch.from_numpy(serialized(content.array_records["arrays"])["w"].numpy()), torch.zeros(3)
    )


def test_a_tensor_is_read_without_its_graph_and_without_a_copy() -> None:
    tensor = torch.ones(3, requires_grad=True)
    found = tensors_of(RecordDict({"arrays": in_memory({"w": tensor})}), "arrays")["w"]
    assert not found.requires_grad
    assert found.data_ptr() == tensor.data_ptr()


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, calls: Counter[str]) -> Iterator[None]:
    """Count what becomes bytes, and what is read from bytes."""

    def counting(owner: Any, name: str, kind: str) -> None:
        function = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls[kind] += 1
            return function(*args, **kwargs)

        monkey.setattr(owner, name, call)

    with monkeypatch.context() as monkey:
        counting(np, "save", "written")
        for coder in {type(codec) for codec in CODECS.values()} | {Exact}:
            counting(coder, "encode", "written")
        counting(arrays, "_decoded", "read")
        yield


@pytest.mark.sample
@rows("make", [fed_avg, cse_fsl, split_fed_v2], lambda make: make is cse_fsl)
@pytest.mark.parametrize("preset", ["none", "strong"])
@pytest.mark.parametrize("noise", [False, True])
def test_each_tensor_becomes_bytes_once(
    make: Callable[..., Any], preset: str, noise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the client, with noise on smashed data and with codecs; and each is read once."""
    seen = 0

    mods = [smashed_noise_mod(clip_norm=1.0, noise_multiplier=0.1, seed=3)] if noise else []
    app = small_app(mods=mods)

    def watched(message: Message, context: Context) -> Message:
        nonlocal seen
        asked = sum(len(record) for record in message.content.array_records.values())
        calls = Counter[str]()
        with counted(monkeypatch, calls):
            reply = app(message, context)
        sent = sum(len(record) for record in reply.content.array_records.values())
        assert calls["written"] == sent
        assert calls["read"] <= asked
        seen += sent
        return reply

    strategy = make(compression=PRESETS[preset], keep_optimizer_state=False)
    train(strategy, MemoryGrid(watched, CLIENTS), 2)  # type: ignore[arg-type]
    assert strategy.last_round.failures == {}
    assert seen


@pytest.mark.parametrize("axes", ["", "0", "0,1,1", "0,a,1", "0,1,2,3", "-0,1,2", "9" * 5000])
def test_a_name_without_an_order_of_the_axes_is_refused(axes: str) -> None:
    with pytest.raises(BadReplyError, match="is no order of 3 axes"):
        in_named_order({f"0:{axes}": torch.zeros(2, 3, 4)})


def test_names_say_the_order_of_the_axes() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4).transpose(1, 2)
    named = with_orders([tensor, torch.ones(2)])
    assert list(named) == ["0:0,2,1", "1"]
    back = in_named_order(named)["0"]
    assert torch.equal(back, tensor)
    assert back.stride() == tensor.stride()
