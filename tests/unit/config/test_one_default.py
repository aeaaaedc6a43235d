"""A strategy made without arguments trains what a run without keys does."""

import inspect
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from fsl_sage_flwr import strategies
from fsl_sage_flwr.algorithm_options import HeadOptions
from fsl_sage_flwr.algorithm_registry import ALGORITHMS, algorithm_of
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.compression import Compression
from fsl_sage_flwr.config import Options, settings_of
from fsl_sage_flwr.language import causal_lm_task
from fsl_sage_flwr.rounds.strategy_arguments import StrategyArguments
from fsl_sage_flwr.splitting import AlignmentRecipe
from fsl_sage_flwr.strategies import Aggregation, SplitStrategy, StrategySettings
from fsl_sage_flwr.task_registry import TASKS

from ...tasks import small_task

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


def another_value(options: Options, name: str) -> Any:
    value = getattr(options, name)
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"not {value}"


@pytest.mark.parametrize("kind", CLASSES)
def test_an_algorithms_keys_reach_the_arguments_of_their_names(
    kind: type[SplitStrategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = ALGORITHMS[algorithm_of(kind.__new__(kind))]
    own = settings_of(algorithm.options).keys() - settings_of(HeadOptions).keys()
    names = [settings_of(algorithm.options)[key].name for key in own]
    options = algorithm.options()
    changed = replace(options, **{name: another_value(options, name) for name in names})
    given: dict[str, Any] = {}
    monkeypatch.setattr(kind, "__init__", lambda self, task, **rest: given.update(rest))
    algorithm.strategy(small_task(), changed, {})
    recipe = given.pop("recipe", None)
    of_recipe = {
        "align_epochs": getattr(recipe, "epochs", None),
        "align_batch_size": getattr(recipe, "batch_size", None),
        "align_lr_schedule": getattr(recipe, "schedule", None),
    }
    reached = {**(of_recipe if recipe else {}), **given}
    assert reached == {name: getattr(changed, name) for name in names}


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (AlignmentRecipe(epochs=0), "align_epochs = 0: it must be at least 1"),
        (AlignmentRecipe(batch_size=1), "align_batch_size = 1: it must be at least 2"),
        (AlignmentRecipe(schedule="step"), "align_lr_schedule = 'step': valid are cosine, consta"),
    ],
)
def test_a_recipe_has_the_bounds_of_its_keys(recipe: AlignmentRecipe, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        strategies.FslSage(small_task(), recipe=recipe)


def test_every_strategys_arguments_have_the_defaults_of_the_keys() -> None:
    given = RunConfig().strategy_settings()
    made = defaults_of(StrategyArguments)
    assert (given["compression"], given["aggregation"]) == (Compression(), Aggregation())
    for name in set(given) - {"compression", "aggregation"}:
        assert given[name] == made[name], name  # type: ignore[literal-required]


def test_the_typed_settings_are_the_arguments_of_every_strategy() -> None:
    assert get_type_hints(StrategySettings) == get_type_hints(StrategyArguments)


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
