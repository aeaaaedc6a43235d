"""Let clients fail at random in a Flower mod, so that a run's robustness can be measured."""

import random

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod

from ..messages.records import CONFIG
from ..seeding import derive_seed
from .identity import identify


class InjectedFaultError(RuntimeError):
    """The client is lost in this round, or its link is cut, as the run's settings ask for."""


def injected_faults_mod(*, lost_clients: float, cut_links: float, seed: int) -> Mod:
    """Make a mod that lets a part of the clients fail in each round.

    The draws depend on the seed, the client and the round alone. So runs with one seed lose the
    same clients in the same rounds, whatever their algorithm, and each differs from its
    undisturbed run by nothing but its faults. Federated evaluation is undisturbed.

    Parameters
    ----------
    lost_clients : float
        Probability that a client fails at its first message of a round.
    cut_links : float
        Probability that a client handles a message of a round and its reply is lost: the second
        message in algorithms with exchanges, where the client has trained on a batch by then.
    seed : int
        Seed of the draws.
    """

    def fails(kind: str, probability: float, client: int, round_: int) -> bool:
        draw = random.Random(derive_seed(seed, "faults", kind, client, round_))
        return draw.random() < probability

    def injected_faults(
        message: Message, context: Context, call_next: ClientAppCallable
    ) -> Message:
        config = message.content.config_records.get(CONFIG, ConfigRecord())
        round_ = config.get("round")
        evaluates = message.metadata.message_type.startswith("evaluate")
        if not isinstance(round_, int) or evaluates:
            return call_next(message, context)
        # In the texts: a run ends where all clients raise the same error in its first round.
        client = identify(context).partition_id
        if fails("lost-clients", lost_clients, client, round_):
            why = f"client {client} lost by faults.lost-clients = {lost_clients:g}"
            raise InjectedFaultError(why)
        reply = call_next(message, context)
        if config.get("exchange", 1) == 1 and fails("cut-links", cut_links, client, round_):
            why = f"reply of client {client} lost by faults.cut-links = {cut_links:g}"
            raise InjectedFaultError(why)
        return reply

    return injected_faults
