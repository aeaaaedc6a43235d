"""Settings of faults that are injected, to measure a run's robustness."""

from dataclasses import dataclass

from .options import Options
from .setting import setting


@dataclass(frozen=True)
class FaultOptions(Options):
    """Shares of the clients that fail in a round, drawn from the seed."""

    lost_clients: float = setting(
        0.0,
        "fraction of the clients that are lost in each round before they train, drawn from `seed`",
        group="faults",
        ge=0,
        le=0.9,
    )
    cut_links: float = setting(
        0.0,
        "fraction of the replies that are lost in each round after training, drawn from `seed`; "
        "where a round has exchanges, the reply to its second message",
        group="faults",
        ge=0,
        le=0.9,
    )

    @property
    def are_none(self) -> bool:
        """Whether no fault is injected."""
        return not (self.lost_clients or self.cut_links)
