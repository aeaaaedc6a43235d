"""Tables of strategies: what a test of the contract goes through, here and in CI."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flwr.serverapp.strategy import FedAdam, FedAvgM, FedYogi

from fsl_sage_flwr.compression import PRESETS
from fsl_sage_flwr.strategies import AsyncOptions, SplitStrategy

from ...rows import rows
from ...runs import (
    ampere,
    cse_fsl,
    cycle_sl,
    fed_avg,
    fsl_sage,
    heron_sfl,
    mu_splitfed,
    split_fed_v1,
    split_fed_v2,
    split_frozen,
)
from ...tails import u_shaped_v1, u_shaped_v2
from ...tasks import CLIENTS

STRATEGIES: dict[str, Callable[..., SplitStrategy]] = {
    "fed_avg": fed_avg,
    "sl_multi_server": split_fed_v1,
    "sl_single_server": split_fed_v2,
    "cse_fsl": cse_fsl,
    "fsl_sage": fsl_sage,
    "fsl_sage, warm start": partial(fsl_sage, warm_start=True),
    "fsl_sage, two heads": partial(fsl_sage, auxiliary_groups=2),
    "heron_sfl": heron_sfl,
    "cycle_sl": cycle_sl,
    "mu_splitfed": mu_splitfed,
    "ampere": ampere,
    "split_frozen": split_frozen,
    "cse_fsl, pooled": partial(cse_fsl, server_pool=True),
    "fed_avg, fedavgm": partial(fed_avg, fed_opt=partial(FedAvgM, server_momentum=0.9)),
    "sl_multi_server, fedyogi": partial(split_fed_v1, fed_opt=partial(FedYogi, eta=0.01)),
    "cse_fsl, fedadam": partial(cse_fsl, fed_opt=partial(FedAdam, eta=0.01), proximal_mu=0.1),
}
# Their clients have the model's tail: nodes for them are those of `grid_for`.
WITH_TAILS: dict[str, Callable[..., SplitStrategy]] = {
    **STRATEGIES,
    "sl_multi_server, labels stay": u_shaped_v1,
    "sl_single_server, labels stay": u_shaped_v2,
}
# Each kind of message, of payload and of state is in one of these; CI has all rows.
SOME = [STRATEGIES[name] for name in ("fed_avg", "sl_single_server", "cse_fsl", "fsl_sage")]

# Each kind of message with everything coded that travels.
CODED = {
    f"{name}, coded": partial(WITH_TAILS[name], compression=PRESETS["strong"])
    for name in (
        "sl_single_server", "cse_fsl", "fsl_sage", "ampere", "split_frozen",
        "sl_multi_server, labels stay",
    )
}  # fmt: skip

# Those that may merge replies in a later round, with a buffer that waits for all: a run is then
# the same, and every test of the table holds.
MAY_BE_LATE = ("fed_avg", "cse_fsl", "fsl_sage", "heron_sfl")
BUFFERED = {
    f"{name}, buffer": partial(STRATEGIES[name], asynchrony=AsyncOptions(buffer=CLIENTS))
    for name in MAY_BE_LATE
}
GENERATED = "cse_fsl, buffer, generated"
BUFFERED[GENERATED] = partial(cse_fsl, asynchrony=AsyncOptions(buffer=CLIENTS, generate=9))

# A message a round with most payloads, and a message a batch: for what depends on messages alone.
TWO = [STRATEGIES[name] for name in ("sl_single_server", "fsl_sage")]
every_strategy = rows("make", STRATEGIES.values(), lambda make: make in TWO, ids=STRATEGIES)
with_tails_too = rows("make", WITH_TAILS.values(), lambda make: make in TWO, ids=WITH_TAILS)
# Those whose clients answer with a trained half in every round.
ANSWERING = {n: make for n, make in STRATEGIES.items() if n not in ("split_frozen", "ampere")}
every_answering_strategy = rows("make", ANSWERING.values(), lambda make: make in TWO, ids=ANSWERING)
ALL = {**WITH_TAILS, **CODED, **BUFFERED}
# One message a round with all kinds of payload but one, and a message a batch with that one.
FEW_CODED = [CODED["fsl_sage, coded"], CODED["sl_single_server, coded"]]
# HERON-SFL's messages and state are CSE-FSL's, CycleSL's are V2's, a warm start's and shared
# heads' are FSL-SAGE's.
HERE = [*FEW_CODED, *SOME, STRATEGIES["sl_multi_server"]]
every_payload = rows("make", ALL.values(), lambda make: make in HERE, ids=ALL)
# CSE-FSL alone averages heads and keeps two optimizers on a client.
AS_SENT = [*FEW_CODED, STRATEGIES["cse_fsl"], BUFFERED["cse_fsl, buffer"]]
coded_too = rows("make", ALL.values(), lambda make: make in AS_SENT, ids=ALL)
# For tests that repeat one another where payloads are coded or may be late: one row of each.
ONCE_CODED = {
    **WITH_TAILS, **{name: ALL[name] for name in ("fsl_sage, coded", "cse_fsl, buffer")}
}  # fmt: skip
once_coded = rows("make", ONCE_CODED.values(), lambda make: make in TWO, ids=ONCE_CODED)


def skip_where_one_reply_is_all(make: Callable[..., Any]) -> None:
    if not make().trains_client_half:
        pytest.skip("no second reply to spoil; test_split_frozen.py spoils the first")
