"""Build the rows of ``history.csv`` and ``clients.csv``, and the figures of a summary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..rounds.metrics.client_round import ClientRound
from ..splitting import Evaluation
from ..strategies import SplitStrategy
from .privacy_account import PrivacyAccount


class RoundRows:
    """Builds the rows of a round from the state of the strategy after it.

    Parameters
    ----------
    strategy : SplitStrategy
        Strategy of the run.
    account : PrivacyAccount, optional
        Account of the noise on smashed data; None leaves the columns ``epsilon`` empty.
    label_epsilon : float
        ε of the randomised response of the clients' labels; 0 disables it.

    Attributes
    ----------
    epsilon_of_labels : float
        Sum of the ε of all draws of the labels: one per start of the run.
    """

    def __init__(
        self, strategy: SplitStrategy, account: PrivacyAccount | None, label_epsilon: float
    ) -> None:
        self._strategy, self._account = strategy, account
        self._label_epsilon = self.epsilon_of_labels = label_epsilon
        self._bytes_before = strategy.ledger.by_kind()

    def resume(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Continue after a checkpoint's rows; the strategy has its state already."""
        self._bytes_before = self._strategy.ledger.by_kind()
        before = rows[-1]["epsilon_of_labels"] if rows else None
        self.epsilon_of_labels = (before or 0.0) + self._label_epsilon

    def round_row(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return the round's row of ``history.csv``, without the recorder's seconds."""
        summary, ledger = self._strategy.last_round, self._strategy.ledger
        bytes_now, validation = ledger.by_kind(), summary.validation
        this_round = {key: bytes_now[key] - self._bytes_before[key] for key in bytes_now}
        self._bytes_before = bytes_now
        return {
            "round": summary.round,
            "test_accuracy": _accuracy(evaluation),
            "test_loss": evaluation.loss,
            "validation_accuracy": _accuracy(validation),
            "validation_loss": validation.loss if validation else None,
            "train_loss": summary.train_loss,
            "comm_bytes": ledger.total,
            "comm_bytes_reference": ledger.reference_total,
            "comm_bytes_ratio": round(ledger.reference_total / ledger.total, 4)
            if ledger.total
            else None,
            **this_round,
            "client_seconds": round(summary.client_seconds, 3),
            "client_step_seconds": round(summary.client_step_seconds, 3),
            "server_seconds": round(summary.server_seconds, 3),
            "alignment_seconds": round(summary.alignment_seconds, 3),
            "alignment_cosine": summary.alignment_cosine,
            "alignment_relative_error": summary.alignment_relative_error,
            "epsilon": self._epsilon(self._strategy.sample_uploads.largest),
            "epsilon_of_labels": self.epsilon_of_labels or None,
            "clients": summary.clients,
            "failures": len(summary.failures),
            **self._other_scores("test", evaluation),
            **(self._other_scores("validation", validation) if validation else {}),
        }

    def client_row(self, client: ClientRound) -> dict[str, Any]:
        """Return a client's row of ``clients.csv``."""
        row = asdict(client)
        if self._strategy.asynchrony is None:
            del row["staleness"]
        if self._account is not None:
            row["round_epsilon"] = self._epsilon(client.sample_uploads)
            row["epsilon"] = self._epsilon(client.total_sample_uploads)
        return row

    def _epsilon(self, uploads: int) -> float | None:
        return None if self._account is None else round(self._account.epsilon(uploads), 4)

    def _other_scores(self, prefix: str, evaluation: Evaluation) -> dict[str, float | None]:
        """Return the objective's figures beside loss and accuracy, by column."""
        found = self._strategy.task.objective.figures(evaluation.loss, evaluation.scores)
        found.pop("accuracy", None)
        absent = {name for name, value in found.items() if math.isnan(value)}
        return {f"{prefix}_{n}": None if n in absent else value for n, value in found.items()}


def merit(row: Mapping[str, Any]) -> float:
    """Return the figure that the best round maximises: accuracy, or else -loss; NaN is worst."""
    accuracy, loss = row["test_accuracy"], row["test_loss"]
    found = float(-loss if accuracy is None else accuracy)
    return -math.inf if math.isnan(found) else found


def summary_figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the final and the best figures of a run's rows."""
    best = max(rows, key=merit, default={})
    last = rows[-1] if rows else {}
    return {
        "rounds": last.get("round", 0),
        "final_accuracy": last.get("test_accuracy"),
        "final_loss": last.get("test_loss"),
        "best_accuracy": best.get("test_accuracy"),
        "best_loss": best.get("test_loss"),
        "best_round": best.get("round"),
        "comm_bytes": last.get("comm_bytes", 0),
        "comm_bytes_reference": last.get("comm_bytes_reference", 0),
        "epsilon": last.get("epsilon"),
        "epsilon_of_labels": last.get("epsilon_of_labels"),
    }


def _accuracy(evaluation: Evaluation | None) -> float | None:
    """Return the top-1 accuracy, 0 to 1, if the objective reports it."""
    score = evaluation.scores.get("accuracy") if evaluation else None
    return score.value if score else None
