"""Make tasks of texts with padding masks and of pictures with skips, which are replayed."""

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.objective import segmentation
from fsl_sage_flwr.splitting import SplitModel, split
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

WORDS, WIDTH, LONGEST = 17, 8, 6
CUT = "encoder.layers.1"


class Reader(nn.Module):
    """A classifier of the BERT kind: token ids and their mask, a mapping out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(32, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.scores = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.words(input_ids) + self.places(places)
        hidden = self.encoder(hidden, src_key_padding_mask=attention_mask == 0)
        kept = attention_mask[..., None].float()
        return {"logits": self.scores((hidden * kept).sum(dim=1) / kept.sum(dim=1))}


def texts_of(client: ClientIdentity, seed: int, *, own_length: bool = False) -> Iterable[Batch]:
    """Yield batches padded to one length, or each to its own longest text."""
    generator = torch.Generator().manual_seed(seed + client.partition_id)
    made = []
    for _ in range(3):
        labels = torch.randint(3, (4,), generator=generator)
        lengths = torch.randint(2, LONGEST + 1, (4,), generator=generator)
        longest = int(lengths.max()) if own_length else LONGEST
        mask = (torch.arange(longest) < lengths[:, None]).long()
        ids = torch.randint(1, WORDS, (4, longest), generator=generator)
        ids[:, 0] = 1 + labels  # the first word tells the class
        made.append(({"attention_mask": mask, "input_ids": ids * mask}, labels))
    return made


class CausalReader(Reader):
    """Reads from left to right, with PyTorch's own mask of minus infinity as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        del self.places
        mask = nn.Transformer.generate_square_subsequent_mask(LONGEST)
        self.register_buffer("mask", mask)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(self.words(input_ids), mask=self.mask)
        return {"logits": self.scores((hidden * attention_mask[..., None].float()).mean(dim=1))}


class Outliner(nn.Module):
    """A U-Net with a branch on data: ``(B, 3, H, W)``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.up, self.last = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        skip = torch.relu(self.norm(self.first(x)))
        deep = torch.relu(self.down(F.max_pool2d(skip, 2)))
        wide = F.interpolate(deep, size=skip.shape[-2:])
        return self.last(torch.relu(self.up(torch.cat([skip, wide], dim=1))))


class OutlinerHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(4, 3, 1)

    def forward(self, pooled: Tensor, skip: Tensor) -> Tensor:
        return self.scores(F.interpolate(pooled, size=skip.shape[-2:]) + skip)


def outlines_of(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed + client.partition_id)
    maps = [torch.randint(3, (4, 8, 8), generator=generator) for _ in range(3)]
    return [(m[:, None].float() - 1, m.to(torch.uint8)) for m in maps]


@cache
def _halves(make: Callable[[], nn.Module], at: str, public: tuple[str, ...]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        client = ClientIdentity(0, 3)
        batches = outlines_of if make is Outliner else texts_of
        example = next(iter(batches(client, 1)))[0]
        return split(make(), at, example, public=public), example


def own_length_task(**changes: Any) -> SplitTask:
    """Return the task with batches padded to their own longest text, some above the example's."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        client = ClientIdentity(0, 3)
        whole = next(iter(texts_of(client, 1)))[0]
        assert isinstance(whole, dict)
        example, smaller = ({name: t[:, :k] for name, t in whole.items()} for k in (4, 3))
        halves = split(Reader(), CUT, example, public=("attention_mask",), smaller=smaller)
    return SplitTask(
        halves, example, 3, lambda client, seed: texts_of(client, seed, own_length=True),
        validation_batches=lambda client: list(texts_of(client, 77, own_length=True)), **changes,
    )  # fmt: skip


def reader_task(make: type[Reader] = Reader, **changes: Any) -> SplitTask:
    halves: SplitModel
    halves, example = copy.deepcopy(_halves(make, "encoder.layers.1", ("attention_mask",)))
    return SplitTask(
        halves, example, 3, texts_of,
        validation_batches=lambda client: list(texts_of(client, 77)), **changes,
    )  # fmt: skip


def outliner_task(**changes: Any) -> SplitTask:
    halves: SplitModel
    halves, example = copy.deepcopy(_halves(Outliner, "down", ()))
    return SplitTask(
        halves, example, None, outlines_of, objective=segmentation(3, (8, 8)),
        auxiliary=OutlinerHead,
        validation_batches=lambda client: list(outlines_of(client, 77)), **changes,
    )  # fmt: skip
