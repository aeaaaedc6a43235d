"""What an evaluation of nothing is."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from fsl_sage_flwr.objective import Score, classification, segmentation
from fsl_sage_flwr.splitting import Evaluation, evaluate


def test_no_batches_are_an_error_and_not_the_best_loss() -> None:
    batches = iter([(torch.zeros(2, 3), torch.tensor([0, 1]))])
    half = nn.Linear(3, 2)
    assert evaluate([half], batches, classification(2), nullcontext).num_examples == 2
    with pytest.raises(ValueError, match="no batches to evaluate on: a generator"):
        evaluate([half], batches, classification(2), nullcontext)
    assert half.training


def test_labels_of_which_none_counts_have_no_loss_and_no_scores() -> None:
    batch = torch.zeros(2, 1, 4, 4), torch.full((2, 4, 4), 255)
    found = evaluate([nn.Conv2d(1, 3, 1)], [batch], segmentation(3, (4, 4)), nullcontext)
    assert found.num_examples == 0
    assert math.isnan(found.loss)
    assert all(math.isnan(score.value) for score in found.scores.values())


def test_parts_in_which_nothing_was_scored_spoil_no_mean() -> None:
    assert Score.mean([Score(0.5, 2), Score(math.nan, 0)]) == Score(0.5, 2)
    assert math.isnan(Score.mean([Score(math.nan, 0)]).value)
    parts = [
        Evaluation(1.0, 4, {"iou_1": Score(math.nan, 0)}),
        Evaluation(2.0, 4, {"iou_1": Score(0.5, 3)}),
    ]
    both = Evaluation.mean(parts)
    assert (both.loss, both.scores["iou_1"]) == (1.5, Score(0.5, 3))
