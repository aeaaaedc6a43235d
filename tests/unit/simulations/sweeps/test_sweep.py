import signal
import sys
import threading
import time

import pytest

from fsl_sage_flwr.simulations.federation import Federation
from fsl_sage_flwr.simulations.superlink import FlowerError
from fsl_sage_flwr.simulations.sweeps import combinations, sweep

RUNS = combinations([{"seed": [1, 2, 3, 4, 5]}])
ONE, TWO = Federation(cpus=1), Federation(cpus=2)
DONE = {"completed": True, "status": "completed"}


class Log:
    """A watcher that remembers."""

    def __init__(self):
        self.events = []

    def started(self, combination):
        self.events.append(("started", combination.config.seed))

    def round_done(self, combination, rows):
        self.events.append(("round", combination.config.seed, len(rows)))

    def ended(self, outcome):
        self.events.append(("ended", outcome.combination.config.seed))


@pytest.fixture
def simulate(monkeypatch):
    """Put a function in the place of a real simulation, on a machine with CPUs enough."""
    module = sys.modules[sweep.__module__]
    monkeypatch.setattr(module, "check_run", lambda config, federation: None)
    return lambda function: monkeypatch.setattr(module, "simulate", function)


def test_all_run_in_order_each_on_a_share(simulate, tmp_path):
    seen = []

    def run(config, federation, each_round, stop):
        seen.append((config.seed, federation.cpus))
        each_round([{"round": 1}])
        return DONE, tmp_path / str(config.seed)

    simulate(run)
    log = Log()
    outcomes = sweep(RUNS, [ONE], log)
    assert seen == [(seed, 1) for seed in range(1, 6)]
    assert [outcome.path.name for outcome in outcomes] == ["1", "2", "3", "4", "5"]
    assert log.events[:3] == [("started", 1), ("round", 1, 1), ("ended", 1)]
    assert not any(outcome.failed for outcome in outcomes)


def test_as_many_at_a_time_as_there_are_shares_and_each_share_once(simulate, tmp_path):
    lock, at_work, most = threading.Lock(), [], []
    both = threading.Barrier(2, timeout=10)

    def run(config, federation, each_round, stop):
        with lock:
            at_work.append(federation.cpus)
            most.append(sorted(at_work))
        if config.seed <= 4:
            both.wait()
        with lock:
            at_work.remove(federation.cpus)
        return DONE, tmp_path

    simulate(run)
    sweep(RUNS, [ONE, TWO], Log())
    assert [1, 2] in most
    assert all(now in ([1], [2], [1, 2]) for now in most)


def test_failures_are_kept_and_stop_nobody(simulate, tmp_path):
    def run(config, federation, each_round, stop):
        if config.seed == 2:
            raise FlowerError("no room")
        if config.seed == 3:
            return {"completed": False, "status": "it broke", "log": "/x"}, tmp_path
        return DONE, tmp_path

    simulate(run)
    outcomes = sweep(RUNS, [ONE, TWO], Log())
    assert [outcome.failed for outcome in outcomes] == [False, True, True, False, False]
    assert outcomes[1].summary["status"] == "no room"
    assert outcomes[2].summary["status"] == "it broke"


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_stops_what_runs_and_starts_no_more(simulate, tmp_path):
    started, main_thread = [], threading.main_thread().ident
    both_run = threading.Barrier(2)

    def run(config, federation, each_round, stop):
        started.append(config.seed)
        if both_run.wait(10) == 0:  # one of them alone: a second interrupt would hit the clean-up
            signal.pthread_kill(main_thread, signal.SIGINT)
        assert stop.wait(10)
        raise KeyboardInterrupt

    simulate(run)
    with pytest.raises(KeyboardInterrupt):
        sweep(RUNS, [ONE, TWO], Log())
    assert sorted(started) == [1, 2]


def test_a_mistake_of_ours_is_not_taken_for_a_failed_run(simulate, tmp_path):
    def run(config, federation, each_round, stop):
        if config.seed == 1:
            raise ZeroDivisionError
        while not stop.is_set():
            time.sleep(0.01)
        raise KeyboardInterrupt

    simulate(run)
    with pytest.raises(ZeroDivisionError):
        sweep(RUNS, [ONE, TWO], Log())
