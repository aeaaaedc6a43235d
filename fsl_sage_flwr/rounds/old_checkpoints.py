"""Strategies' states in checkpoints of formats 3 and 4, which were not nested by name."""

from collections.abc import Iterable, Mapping
from typing import Any


def nested(state: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    """Return a strategy's state_dict with its states nested by name, whatever its format.

    Parameters
    ----------
    state : Mapping
        As it was saved.
    names : iterable of str
        Names of the strategy's states.
    """
    if "server" in state or "server_half" not in state:
        # FedAvg's, which has neither, has always been nested.
        return {"downlink": {}, **state}
    of_name: dict[str, dict[str, Any]] = {
        "server": {"half": state["server_half"]},
        "head": {"weights": state.get("head")},
        "heads": {"heads": state.get("heads"), "samples": state.get("samples")},
        "warm_start": {"is_over": state.get("warm")},
        "downlink": state.get("downlink", {}),
    }
    for key in ("server_optimizer", "server_optimizers"):
        if key in state:
            of_name["server"][key.removeprefix("server_")] = state[key]
    return {**state, **{name: of_name[name] for name in names}}
