"""The limit on a simulation's in-flight messages."""

import pytest

from fsl_sage_flwr.rounds.grid.in_flight import InFlightLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("nodes", "cores", "limit"),
    [(0, 2, 64), (10, 2, 64), (50, 2, 20), (1000, 2, 8), (1000, 8, 32), (1000, 99, 64)],
)
def test_with_more_nodes_fewer_are_under_way(nodes: int, cores: int, limit: int) -> None:
    under_way = InFlightLimit(Clock(), cores)
    assert under_way.limit == 64
    under_way.know_nodes(nodes)
    assert under_way.limit == limit


def test_it_follows_what_is_answered_in_a_second() -> None:
    clock = Clock()
    under_way = InFlightLimit(clock, cores=2)
    under_way.know_nodes(100)
    under_way.begin()
    assert under_way.limit == 10
    for answers, after, limit in ((20, 0.5, 10), (20, 1.0, 40), (300, 2.0, 64), (1, 4.0, 10)):
        clock.now = after
        under_way.record_answers(answers)
        assert under_way.limit == limit
    clock.now = 100.0  # nothing was to be answered meanwhile
    under_way.begin()
    clock.now = 101.0
    under_way.record_answers(30)
    under_way.know_nodes(100)
    assert under_way.limit == 30
    under_way.know_nodes(5)
    assert under_way.limit == 64


@pytest.mark.parametrize(("most", "limit"), [(16, 16), (99, 64)])
def test_a_round_may_have_fewer_under_way(most: int, limit: int) -> None:
    clock = Clock()
    under_way = InFlightLimit(clock, cores=2)
    under_way.know_nodes(10)
    under_way.begin(most)
    assert under_way.limit == limit
    clock.now = 1.0
    under_way.record_answers(1000)
    assert under_way.limit == limit
    under_way.begin()
    assert under_way.limit == 64
