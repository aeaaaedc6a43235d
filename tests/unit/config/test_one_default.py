"""A strategy made without arguments trains what a run without keys does."""

import inspect
from typing import Any

import pytest

from fsl_sage_flwr import strategies
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.language import causal_lm_task
from fsl_sage_flwr.registry import ALGORITHMS, algorithm_of
from fsl_sage_flwr.strategies import SplitStrategy
from fsl_sage_flwr.task_registry import TASKS

CLASSES = [
    kind
    for kind in map(vars(strategies).get, strategies.__all__)
    if isinstance(kind, type) and issubclass(kind, SplitStrategy) and kind is not SplitStrategy
]


def defaults_of(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize("kind", CLASSES)
def test_an_algorithms_arguments_have_the_defaults_of_its_keys(kind: type[SplitStrategy]) -> None:
    options = ALGORITHMS[algorithm_of(kind.__new__(kind))].options()
    for name, default in defaults_of(kind.__init__).items():
        if name != "recipe":
            assert getattr(options, name) == default, name


def test_every_strategys_arguments_have_the_defaults_of_the_keys() -> None:
    given = RunConfig().strategy_settings()
    made = defaults_of(SplitStrategy.__init__)
    for name in set(given) - {"compression", "aggregation"}:
        assert given[name] == made[name], name  # type: ignore[literal-required]


def test_an_alignment_has_the_defaults_of_its_keys() -> None:
    options = ALGORITHMS["fsl_sage"].options()
    recipe = inspect.signature(strategies.fsl_sage.AlignmentRecipe).parameters  # type: ignore[attr-defined]
    for name in recipe:
        field = f"align_{name}" if name != "schedule" else "align_lr_schedule"
        assert getattr(options, field) == recipe[name].default, name


def test_a_language_models_task_has_the_defaults_of_its_keys() -> None:
    options, made = TASKS["causal_lm"].options(), defaults_of(causal_lm_task)
    for name in ("max_length", "head_blocks", "label_smoothing"):
        assert getattr(options, name) == made[name], name
