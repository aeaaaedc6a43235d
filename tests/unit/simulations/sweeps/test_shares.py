import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.app.config import ConfigError
from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.sweeps import share_out


@given(jobs=st.integers(1, 8), cpus=st.integers(1, 64), per_client=st.integers(1, 4))
def test_no_more_cpus_are_given_than_there_are(jobs, cpus, per_client):
    federation = Federation(cpus_per_client=per_client)
    if cpus // jobs < per_client:
        with pytest.raises(ConfigError, match="at most"):
            share_out(federation, jobs, cpus, [])
        return
    shares = share_out(federation, jobs, cpus, [])
    assert len(shares) == jobs
    assert sum(share.cpus for share in shares) <= cpus
    assert all(share.cpus >= per_client and share.visible_gpus is None for share in shares)


@given(jobs=st.integers(1, 8), gpus=st.integers(1, 8))
def test_gpus_are_shared_evenly_and_never_overbooked(jobs, gpus):
    names = [f"{i}" for i in range(gpus)]
    shares = share_out(Federation(gpus_per_client=0.125), jobs, 64, names)
    booked = dict.fromkeys(names, 0.0)
    for share in shares:
        mine = share.visible_gpus.split(",")
        assert len(mine) == share.gpus
        for name in mine:
            # All that Ray lets run there: as many clients as their share allows.
            booked[name] += int(1 / share.gpus_per_client) * 0.125
    assert all(0 < total <= 1 for total in booked.values())


def test_two_runs_on_one_gpu_have_half_of_it_each():
    shares = share_out(Federation(gpus_per_client=0.25), 2, 8, ["3"])
    assert [(s.gpus, s.gpus_per_client, s.visible_gpus) for s in shares] == [(1, 0.5, "3")] * 2


def test_more_gpus_than_runs_are_divided():
    shares = share_out(Federation(gpus_per_client=0.5), 2, 8, ["0", "1", "2"])
    assert [share.visible_gpus for share in shares] == ["0,2", "1"]
    assert [share.gpus for share in shares] == [2, 1]


def test_more_runs_than_a_gpu_holds_clients():
    with pytest.raises(ConfigError) as error:
        share_out(Federation(gpus_per_client=0.5), 3, 8, ["0"])
    assert str(error.value) == (
        "--jobs 3: 3 runs share a GPU, and a client takes 0.5 of one; at most 2 runs at a time"
    )
