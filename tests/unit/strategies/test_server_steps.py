"""Several steps of the server half on each batch that a client sends."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fsl_sage_flwr.strategies import SplitStrategy

from ...rows import rows
from ...runs import (
    assert_same,
    cse_fsl,
    cycle_sl,
    fsl_sage,
    grid,
    heron_sfl,
    plain,
    split_fed_v1,
    split_fed_v2,
    train,
)

STEPPING = {
    "sl_multi_server": split_fed_v1,
    "sl_single_server": split_fed_v2,
    "cycle_sl": cycle_sl,
    "cse_fsl": cse_fsl,
    "heron_sfl": heron_sfl,
    "fsl_sage": fsl_sage,
}
BY_GRADIENTS = (split_fed_v1, split_fed_v2, cycle_sl)
every = rows("make", STEPPING.values(), lambda make: make in (split_fed_v1, fsl_sage), ids=STEPPING)


def steps_of(strategy: SplitStrategy) -> int:
    """Return how many losses of the server half's steps the last round has."""
    assert strategy._round is not None
    return len(strategy._round.round.losses)


@pytest.mark.slow
@every
def test_more_steps_train_the_server_half_further_on_the_same_messages(
    make: Callable[..., Any],
) -> None:
    ours, more, nodes = plain(make), make(server_steps=2), grid()
    arrays = dict(train(more, nodes, 1).to_torch_state_dict())
    once = ours.after(1)
    assert [len(c) for c in nodes.sent] == [len(c) for c in ours.nodes.sent[: len(nodes.sent)]]
    half = more.state_dict()["server"]["half"]
    assert not torch.equal(half["last.2.weight"], once.state["server"]["half"]["last.2.weight"])
    if make in (cse_fsl, heron_sfl):  # their clients depend on the server half in no round
        assert_same(arrays, once.arrays)
    elif make in BY_GRADIENTS:
        assert not torch.equal(arrays["stem.weight"], once.arrays["stem.weight"])


def test_every_pass_over_an_upload_counts_for_the_training_loss() -> None:
    one, three = cse_fsl(), cse_fsl(server_steps=3)
    train(one, grid(), 1)
    train(three, grid(), 1)
    assert steps_of(three) == 3 * steps_of(one) > 0


@every
def test_no_step_is_refused(make: Callable[..., SplitStrategy]) -> None:
    with pytest.raises(ValueError, match="server_steps = 0: it must be at least 1"):
        make(server_steps=0)
