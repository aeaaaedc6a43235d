"""Flower's loop, its log and its ClientApp."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import FedAvg, Strategy

from fsl_sage_flwr.nodes.app import build_client_app
from fsl_sage_flwr.runs.log_lines import FLOWER, NO_EVALUATION_YET
from fsl_sage_flwr.strategies import SplitStrategy


def test_the_loop_hands_the_replies_of_the_grid_to_the_strategy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``let_go_of_replies`` empties its list, and ``app/log_lines.py`` drops a line of its log."""
    replies: list[Message] = []
    seen: list[Any] = []

    class Loop(FedAvg):
        def configure_train(self, *args: Any) -> list[Message]:
            return []

        configure_evaluate = configure_train

        def aggregate_train(self, server_round: int, given: Any) -> tuple[None, None]:
            seen.append(given)
            return None, None

    grid: Any = SimpleNamespace(send_and_receive=lambda messages, timeout: replies)
    monkeypatch.setattr(logging.getLogger(FLOWER), "propagate", True)
    with caplog.at_level(logging.INFO, logger=FLOWER):
        Loop().start(grid, ArrayRecord(), num_rounds=1, evaluate_fn=lambda number, arrays: None)
    assert seen[0] is replies
    assert [r.args for r in caplog.records if r.msg == NO_EVALUATION_YET] == [(None,)]


def test_our_strategies_are_asked_what_flowers_are() -> None:
    asked = {
        name
        for name in vars(Strategy)
        if not name.startswith("_") and callable(vars(Strategy)[name])
    }
    assert asked == {
        "configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate",
        "summary", "start",
    }  # fmt: skip
    assert all(callable(getattr(SplitStrategy, name)) for name in asked)


def test_flower_logs_to_a_console_handler_that_can_show_times() -> None:
    """``app/log_lines.py`` and ``app/run_log.py``."""
    from flwr.supercore.logger import FLOWER_LOGGER

    assert FLOWER_LOGGER is logging.getLogger(FLOWER)
    assert [each for each in FLOWER_LOGGER.handlers if hasattr(each, "timestamps")]


def test_a_client_app_registers_handlers_by_category_and_identifier() -> None:
    app = build_client_app(lambda context: None)  # type: ignore[arg-type, return-value]
    assert {"query.describe", "query.forget", "evaluate.split"} <= set(app._registered_funcs)
