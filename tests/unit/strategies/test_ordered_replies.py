from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.rounds.ordered_replies import OrderedReplies


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_taken_in_order_and_no_later_than_needed(arrivals, lost):
    taken, so_far, gone = [], set(), set()
    replies = OrderedReplies(arrivals)
    for client in arrivals:
        if client in lost:
            gone.add(client)
        else:
            replies.add(client, f"reply {client}")
            so_far.add(client)
        taken += replies.take(gone)
        # All before the first that is still to come.
        due = next((c for c in range(6) if c not in so_far | gone), 6)
        assert taken == [(c, f"reply {c}") for c in range(due) if c in so_far]
    assert replies.absent == []


def test_clients_without_a_reply_are_known():
    replies = OrderedReplies([2, 0, 1])
    replies.add(2, "late in the queue")
    assert list(replies.take(())) == []
    assert replies.absent == [0, 1]
