"""Ampere is CSE-FSL's client half, and a loop over what it uploads once, bit for bit."""

import pytest
import torch

from fsl_sage_flwr.app.config import ConfigError, RunConfig
from fsl_sage_flwr.seeding import derive_seed
from fsl_sage_flwr.task import ClientIdentity

from ..memory_grid import MemoryGrid
from ..runs import ampere, assert_same, cse_fsl, train
from ..tasks import CLIENTS, small_app, small_task

CLIENT_ROUNDS, ROUNDS, BATCH = 2, 4, 6


def nodes() -> MemoryGrid:
    return MemoryGrid(small_app(), CLIENTS)


@pytest.mark.slow
def test_clients_train_as_in_cse_fsl_and_the_server_half_stays() -> None:
    strategy, other = ampere(client_rounds=CLIENT_ROUNDS), cse_fsl()
    before = small_task().model.server.state_dict()
    assert_same(train(strategy, nodes(), CLIENT_ROUNDS), train(other, nodes(), CLIENT_ROUNDS))
    assert_same(strategy.head.weights, other.head.weights)
    assert_same(strategy.state_dict()["server"]["half"], before)
    assert strategy.ledger.total < other.ledger.total  # nothing crosses the cut


@pytest.mark.slow
def test_then_the_server_half_is_trained_on_one_upload() -> None:
    strategy = ampere(client_rounds=CLIENT_ROUNDS)
    arrays = train(strategy, nodes(), ROUNDS)
    task = small_task()
    x_c, x_s = task.model.client, task.model.server.train()
    x_c.load_state_dict(train(cse_fsl(), nodes(), CLIENT_ROUNDS).to_torch_state_dict())
    assert_same(arrays, x_c.state_dict())
    smashed, labels, owners = [], [], []
    for i in range(CLIENTS):
        seed = derive_seed(task.seed, "batches", CLIENT_ROUNDS, i, 0)
        for x, y in task.train_batches(ClientIdentity(i, CLIENTS), seed):
            with torch.no_grad():
                smashed.append(x_c.eval()(x))
            labels.append(y)
            owners.append(torch.full((len(y),), i))
    z, y, owner = torch.cat(smashed), torch.cat(labels), torch.cat(owners)
    optimizer = task.server_optimizer(x_s.parameters())
    for t in range(CLIENT_ROUNDS, ROUNDS):
        draw = torch.Generator().manual_seed(derive_seed(task.seed, "pool", t, 0))
        torch.manual_seed(derive_seed(task.seed, "pool", t, "0.0"))
        for rows in torch.randperm(len(y), generator=draw).split(BATCH):
            rows = rows[owner[rows].argsort(stable=True)]
            optimizer.zero_grad()
            task.loss(x_s(z[rows]), y[rows]).backward()
            optimizer.step()
    assert_same(strategy.state_dict()["server"]["half"], x_s.state_dict())


def test_a_run_that_never_trains_the_server_half_is_refused() -> None:
    config = {"algorithm": "ampere", "num-server-rounds": 20, "ampere.client-rounds": 20}
    with pytest.raises(ConfigError, match="must be less than num-server-rounds \\(20\\)"):
        RunConfig.from_run_config(config)
