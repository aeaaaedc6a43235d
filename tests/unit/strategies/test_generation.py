"""Smashed data drawn for the classes that an upload lacks (GAS)."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsl_sage_flwr.objective import regression
from fsl_sage_flwr.rounds.asynchrony.generation import SmashedGenerator, generator_of

from ...runs import assert_same, cse_fsl, fed_avg, fsl_sage, server_state, train
from ...tasks import small_task
from .buffered_rounds import Make, Nodes, after

numbers = st.floats(-100, 100, width=32)


@given(
    uploads=st.lists(st.lists(st.tuples(numbers, st.integers(0, 2)), min_size=1), min_size=1),
    least=st.integers(0, 12),
)
def test_moments_are_those_of_all_samples_at_once(
    uploads: list[list[tuple[float, int]]], least: int
) -> None:
    """In whatever batches they came; a batch gets what its labels lack, and nothing else."""
    generator = SmashedGenerator(least)
    for round_, upload in enumerate(uploads):
        values = torch.tensor([[value] for value, _ in upload])
        generator.add([((values,), torch.tensor([label for _, label in upload]))], round_)
    state = generator.state_dict()
    for label in range(3):
        seen = [(v, n + 1) for n, up in enumerate(uploads) for v, of in up if of == label]
        assert (str(label) in state) == bool(seen)
        if seen:
            total = sum(n for _, n in seen)
            mean = sum(v * n for v, n in seen) / total
            spread = sum((v - mean) ** 2 * n for v, n in seen) / total
            assert state[str(label)]["weight"] == total
            assert state[str(label)]["means"]["0"].item() == pytest.approx(mean, abs=1e-6)
            assert state[str(label)]["variances"]["0"].item() == pytest.approx(spread, abs=1e-4)
    batch = (torch.zeros(4, 1),), torch.tensor([0, 0, 0, 1])
    (tensor,), labels = generator.completed(*batch)
    assert torch.equal(tensor[:4], batch[0][0])
    known = {int(label) for label in state}
    lacking = {label: max(0, least - have) for label, have in enumerate((3, 1, 0))}
    expected = [label for label in sorted(known) for _ in range(lacking[label])]
    assert labels.tolist() == [0, 0, 0, 1, *expected]
    again = SmashedGenerator(least)
    again.load_state_dict(state)
    assert_same(again.state_dict(), state)


def test_without_a_class_per_sample_nothing_can_be_drawn() -> None:
    changes = {"objective": regression(), "num_classes": None}
    with pytest.raises(ValueError, match=r"async\.generate = 2: each sample needs one class"):
        generator_of(small_task(**changes), after(generate=2))


@pytest.mark.slow
@pytest.mark.parametrize("make", [cse_fsl, fsl_sage])
def test_all_samples_that_are_stepped_on_are_learned_probes_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, seen = make(asynchrony=after(generate=2)), dict[str, int]()
    step = strategy.server.step  # type: ignore[attr-defined]

    def counted(round_: Any, client: int, batches: Any, **how: Any) -> None:
        purpose = how.get("purpose", "server")
        seen[purpose] = seen.get(purpose, 0) + len(batches.labels)
        step(round_, client, batches, **how)

    monkeypatch.setattr(strategy.server, "step", counted)  # type: ignore[attr-defined]
    train(strategy, Nodes(), 1)
    learned = server_state(strategy)["server"]["generator"].values()
    assert sum(known["weight"] for known in learned) == sum(seen.values())
    assert ("probe" in seen) == (make is fsl_sage)


def test_without_a_server_half_nothing_is_drawn() -> None:
    with pytest.raises(ValueError, match=r"async\.generate = 2: FullModelFedAvg has no server"):
        fed_avg(asynchrony=after(generate=2))
