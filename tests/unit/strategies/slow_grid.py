"""Nodes of which one's answers come when it is told so."""

from collections.abc import Iterable

from flwr.app import Message

from ...memory_grid import MemoryGrid, Tamper
from ...tasks import CLIENTS, small_app

SLOW = CLIENTS - 1


class SlowGrid(MemoryGrid):
    """The last node answers nothing while ``slow`` is true, but who it is, if it ``says_who``."""

    def __init__(self, *, says_who: bool = True, tamper: Tamper | None = None) -> None:
        super().__init__(small_app(), CLIENTS, tamper=tamper)
        self.slow, self._says_who = True, says_who

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        node = list(self.contexts)[SLOW]
        ready = {
            key
            for key, reply in self._replies.items()
            if not (self.slow and reply.metadata.src_node_id == node)
            or (self._says_who and "describe" in reply.metadata.message_type)
        }
        return super().pull_messages([key for key in message_ids if key in ready])
