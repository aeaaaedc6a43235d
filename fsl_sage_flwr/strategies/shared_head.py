"""The auxiliary head that CSE-FSL's clients train and the server averages."""

from collections.abc import Mapping

from ..messages import TrainReply
from ..task import SplitTask
from .averaging import average


class SharedHead:
    """One head for all clients, averaged each round as the client half is.

    It begins at random, whatever the task's ``auxiliary_from_server`` says: it is trained
    on the labels, not aligned with the server half.

    Parameters
    ----------
    task : SplitTask
        Builds the head.

    Attributes
    ----------
    state : dict of str to Tensor
        The average, on the CPU.
    """

    def __init__(self, task: SplitTask) -> None:
        head = task.new_head("shared").state_dict()
        self.state = {name: tensor.cpu() for name, tensor in head.items()}

    def finish(self, replies: Mapping[int, TrainReply]) -> None:
        """Average the heads of the replies, weighted by examples."""
        trained = [
            (reply.auxiliary, float(reply.num_examples))
            for reply in replies.values()
            if reply.auxiliary is not None
        ]
        self.state = average([head for head, _ in trained], [weight for _, weight in trained])
