"""Remove a run's files from a machine."""

from flwr.app import Context, Message, RecordDict

from .client_folder import remove_run


def forget(message: Message, context: Context) -> Message:
    """Answer ``query.forget``: remove the files of all the run's clients on this machine.

    ``context.state``, which Flower keeps, stays: it holds the secret of randomised labels.
    """
    remove_run(context.run_id)
    return Message(RecordDict(), reply_to=message)
