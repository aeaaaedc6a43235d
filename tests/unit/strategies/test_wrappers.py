"""Flower's differential privacy wraps around every strategy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import Message
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping

from fsl_sage_flwr.strategies import TrainingFailedError

from ...runs import assert_same, grid_for, plain, server_state
from ...tasks import one_batch
from .bad_replies import fail, in_round
from .strategy_tables import once_coded, skip_where_one_reply_is_all, with_tails_too


@with_tails_too
def test_grid_must_be_wrapped_in_a_wrapper_strategy(make: Callable[..., Any]) -> None:
    strategy = make()
    private = DifferentialPrivacyServerSideFixedClipping(strategy, 0.0, 1e6, 3)
    with pytest.raises(TypeError, match=r"start\(grid=strategy.wrap_grid\(grid\)"):
        private.start(grid_for(make), strategy.initial_arrays(), num_rounds=1)


@pytest.mark.sample
@with_tails_too
def test_flowers_differential_privacy_wraps_around(make: Callable[..., Any]) -> None:
    """With no noise and a clip that clips nothing, it changes only what rounding changes."""
    ours, wrapped = plain(make).after(1).arrays, make()
    private = DifferentialPrivacyServerSideFixedClipping(wrapped, 0.0, 1e6, 3)
    result = private.start(
        wrapped.wrap_grid(grid_for(make)), wrapped.initial_arrays(), num_rounds=1
    )
    theirs = result.arrays.to_torch_state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@once_coded
def test_round_that_a_wrapper_gives_up_is_undone(make: Callable[..., Any]) -> None:
    """Flower's wrapper drops a round with any failure and never calls aggregate_train."""
    skip_where_one_reply_is_all(make)
    shorter, wrapped = make(), make()
    for strategy, rounds in ((shorter, 1), (wrapped, 2)):
        private = DifferentialPrivacyServerSideFixedClipping(strategy, 0.0, 1e6, 3)
        nodes = grid_for(make, tamper=in_round(1, 1, fail))
        private.start(strategy.wrap_grid(nodes), strategy.initial_arrays(), num_rounds=rounds)
    wrapped._undo_unfinished()
    ours_left, theirs_left = server_state(wrapped), server_state(shorter)
    assert (ours_left.pop("rounds_done"), theirs_left.pop("rounds_done")) == (2, 1)
    assert_same(ours_left, theirs_left)


@pytest.mark.slow
@with_tails_too
def test_three_rounds_that_a_wrapper_drops_end_the_run(make: Callable[..., Any]) -> None:
    def broken(partition: int, reply: Message) -> Message:
        trains = reply.metadata.message_type.startswith("train")
        return fail(reply) if trains and partition == 1 else reply

    wrapped = make()
    private = DifferentialPrivacyServerSideFixedClipping(wrapped, 0.0, 1e6, 3)
    nodes = wrapped.wrap_grid(grid_for(make, tamper=broken, batches=one_batch))
    with pytest.raises(TrainingFailedError, match=r"dropped it \(client 1: error 2"):
        private.start(nodes, wrapped.initial_arrays(), num_rounds=9)
