"""The errors that exclude one client from a round."""


class RefusedWorkError(Exception):
    """A client's work cannot be used; inside ``round_.transaction(client, …)`` it is undone."""


class NotFiniteWorkError(RefusedWorkError):
    """A client's work gives, or would leave, values that are not finite."""
