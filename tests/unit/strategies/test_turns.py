from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.rounds.turns import Turns


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_served_in_order_and_no_later_than_needed(arrivals, lost):
    served, so_far, gone = [], set(), set()

    def serve(client, reply):
        served.append((client, reply))
        return f"figures of {reply}"

    turns = Turns(arrivals, serve)
    for client in arrivals:
        if client in lost:
            gone.add(client)
        else:
            turns.take(client, f"reply {client}")
            so_far.add(client)
        turns.advance(gone)
        # All before the first that is still to come.
        due = next((c for c in range(6) if c not in so_far | gone), 6)
        assert served == [(c, f"reply {c}") for c in range(due) if c in so_far]
    assert turns.served == {c: f"figures of {reply}" for c, reply in served}
    assert list(turns.served) == [client for client, _ in served]
    assert turns.absent == []


def test_those_who_never_answered_are_known():
    turns = Turns([2, 0, 1], lambda client, reply: reply)
    turns.take(2, "late in the queue")
    turns.advance(())
    assert turns.absent == [0, 1]
    assert turns.served == {}
