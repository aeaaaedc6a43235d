"""What a client is asked in a round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..messages import Reply, ReplySchema, Request

ReplyT = TypeVar("ReplyT", bound=Reply)


@dataclass(frozen=True)
class Question(Generic[ReplyT]):
    """What a client is sent, and what it is to answer.

    Attributes
    ----------
    message_type : str
        Which of the client's handlers takes it.
    request : Request
        What is sent.
    reply : type
        The payload that the answer carries.
    expected : ReplySchema
        What that must look like.
    sample_uploads : int, optional
        The most times that one training sample is in the smashed data of the answer, together
        with later answers whose questions say 0. By default once in each local epoch where
        smashed data are expected.
    problem : callable, optional
        Takes an answer of the right form, and returns what is wrong with it all the same, in one
        line; or None.
    follow_up : callable, optional
        Takes the good answer as it arrives, and returns what the client is asked next, or None
        when it has left the client out: each client goes on at its own pace. Only of a question
        that ``SplitStrategy.begin`` returns, or of one that follows it; the last of them, whose
        answer counts for the round, has none.
    """

    message_type: str
    request: Request
    reply: type[ReplyT]
    expected: ReplySchema
    sample_uploads: int | None = None
    problem: Callable[[ReplyT], str | None] | None = None
    follow_up: "Callable[[ReplyT], Question[Any] | None] | None" = None


Questions = Mapping[int, Question[ReplyT]]
"""Questions by partition id."""
