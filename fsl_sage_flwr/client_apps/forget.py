"""Remove the files that a run has left on a node."""

from flwr.app import Context, Message, RecordDict

from ..messages import in_actor
from .client_folder import ClientFolder, remove_run


def forget(message: Message, context: Context) -> Message:
    """Answer ``query.forget``: a simulation's process removes the files of all clients.

    What Flower keeps itself, ``context.state``, is left: it holds the secret of randomised labels.
    """
    if in_actor():
        remove_run(context.run_id)
    else:
        ClientFolder(context).remove()
    return Message(RecordDict(), reply_to=message)
