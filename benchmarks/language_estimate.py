"""Measure a head's estimate on a pretrained language model, by recipe.

    python -m benchmarks.language_estimate MODEL DATASET --cut layers.3

MODEL and DATASET are local directories. Each recipe makes a head, fits it to true gradients of
some rows, and is evaluated on 32 others in batches of 8: the cosine between estimated and true
gradients of the smashed data, at all tokens, at those of the loss and at the prompt's; the cosine
between the resulting steps of the client half's adapter, which training follows; and the relative
error. Dropout is off. One line per recipe, as CSV.
"""

import argparse
import copy
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.language import IGNORED, causal_lm_task
from fsl_sage_flwr.language.columns import Columns
from fsl_sage_flwr.language.dataset import split_of
from fsl_sage_flwr.language.heads import blocks_head, lens_head
from fsl_sage_flwr.language.pretrained import Lora, load_model, load_tokenizer
from fsl_sage_flwr.splitting import estimated_gradients, plain_attention, true_gradients
from fsl_sage_flwr.task import ClientIdentity, SplitTask

BATCH, TEST_ROWS = 8, 32
FIELDS = (
    "cut", "head", "own_loss_epochs", "fit", "rows", "epochs", "rate", "cosine", "cosine_learnt",
    "cosine_prompt", "cosine_step", "relative_error", "own_loss", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A way to make and fit a head.

    Attributes
    ----------
    head : {"lora", "block", "two blocks", "lens"}
        What of it is trained: the adapter of one copied block, all of one or two of them, or one
        linear layer in their place.
    own_loss_epochs : int
        Passes over the rows in which it learns to predict the tokens, before it is fitted.
    fit : {"none", "gradient", "learnt tokens", "direction"}
        What is fitted: the gradient; the gradient where a token is learnt, prompts left out; or
        the direction of each row's gradient there, and its length by one factor afterwards.
    rows, epochs : int
        What it is fitted to, and how often.
    rate : float
        Adam's learning rate, for the fit; it falls along a cosine.
    """

    head: str
    own_loss_epochs: int = 0
    fit: str = "gradient"
    rows: int = 0
    epochs: int = 4
    rate: float = 1e-3


def recipes(rows: int, more_rows: int) -> list[Recipe]:
    """Return the recipes, from the package's default to the most expensive."""
    tried = [
        Recipe("lora", fit="none"),
        Recipe("lora", rows=rows),
        Recipe("block", rows=rows, rate=1e-4),
        Recipe("block", own_loss_epochs=4, fit="none", rows=rows, rate=1e-4),
        Recipe("block", own_loss_epochs=4, rows=rows, rate=1e-4),
        Recipe("block", own_loss_epochs=4, fit="learnt tokens", rows=rows, rate=1e-4),
        Recipe("block", own_loss_epochs=4, fit="direction", rows=rows, rate=1e-4),
        Recipe("two blocks", own_loss_epochs=4, rows=rows, rate=1e-4),
        Recipe("lens", own_loss_epochs=4, fit="none", rows=rows),
        Recipe("lens", own_loss_epochs=4, rows=rows),
        Recipe("block", own_loss_epochs=4, fit="direction", rows=more_rows, epochs=2, rate=1e-4),
    ]
    return [recipe for recipe in tried if recipe.rows <= more_rows]


class Bench:
    """A task, smashed data of its rows, and their true gradients."""

    def __init__(self, model: str, dataset: str, cut: str, rows: int, length: int) -> None:
        given = split_of(dataset, Columns("", ""), "train")[: rows + TEST_ROWS]
        torch.manual_seed(0)
        loaded = load_model(model, Lora(4, 32, 0.0, ()), 0)
        # B is 0 at first: the adapter's A would get no gradient, and B only a small part of one.
        for name, parameter in loaded.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.01)
        self.task: SplitTask = causal_lm_task(
            loaded, load_tokenizer(model), cut=cut, rows=lambda client: given, max_length=length,
            batch_size=BATCH, prove=False,
        )  # fmt: skip
        batches = list(self.task.train_batches(ClientIdentity(0, 1), 0))
        self.ids, self.labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        self.objective = self.task.objective
        client = self.task.model.client.eval()
        with torch.no_grad():
            self.smashed = torch.cat([client(ids) for ids, _ in batches])
        (self.true,) = true_gradients(
            self.task.model.server.eval(), (self.smashed,), self.labels, self.objective, BATCH
        )
        self.learnt = F.pad(self.labels[:, 1:] != IGNORED, (0, 1))

    def head(self, recipe: Recipe) -> nn.Module:
        """Return an unfitted head whose trained parameters require a gradient."""
        settings = {"lora": 1, "block": 1, "two blocks": 2, "lens": 0}
        model, count = self.task.model, settings[recipe.head]
        made = blocks_head(model, count) if count else lens_head(model, (self.smashed[:2],))
        head = copy.deepcopy(made).eval()
        if recipe.head in ("block", "two blocks"):
            first = self.task.model.cut.rpartition(".")[0]
            blocks = [m for n, m in head.named_modules() if n.endswith(first)]
            for parameter in blocks[0].parameters():
                parameter.requires_grad_(True)
        if recipe.head == "lens":
            for name, parameter in head.named_parameters():
                parameter.requires_grad_("linear" in name)
        return head

    def estimate(self, head: nn.Module, rows: Tensor | slice, *, again: bool = False) -> Tensor:
        """Return the head's estimate for some rows."""
        (found,) = estimated_gradients(
            head, (self.smashed[rows],), self.labels[rows], self.objective, create_graph=again
        )
        return found

    def learn(self, head: nn.Module, recipe: Recipe) -> None:
        """Train the head on its own loss."""
        rate = 1e-3 if recipe.head == "lens" else 3e-4
        optimizer = torch.optim.Adam([p for p in head.parameters() if p.requires_grad], lr=rate)
        self._passes(
            recipe.own_loss_epochs, recipe.rows, optimizer,
            lambda rows: self.objective.mean_loss(head, (self.smashed[rows],), self.labels[rows]),
        )  # fmt: skip

    def fit(self, head: nn.Module, recipe: Recipe) -> float:
        """Fit the head's gradient to the true one; return the factor of its length."""
        if recipe.fit == "none":
            return 1.0
        optimizer = torch.optim.Adam(
            [p for p in head.parameters() if p.requires_grad], lr=recipe.rate
        )

        def distance(rows: Tensor) -> Tensor:
            ours, theirs = self.estimate(head, rows, again=True), self.true[rows]
            if recipe.fit == "gradient":
                return (ours - theirs).pow(2).sum()
            where = self.learnt[rows][..., None]
            ours, theirs = ours * where, theirs * where
            if recipe.fit == "learnt tokens":
                return (ours - theirs).pow(2).sum()
            return (1 - F.cosine_similarity(ours.flatten(1), theirs.flatten(1))).sum()

        with plain_attention():
            self._passes(recipe.epochs, recipe.rows, optimizer, distance)
        if recipe.fit != "direction":
            return 1.0
        ours, theirs = self.estimate(head, slice(0, BATCH)), self.true[:BATCH]
        return float((ours * theirs).sum() / ours.pow(2).sum())

    def _passes(
        self, epochs: int, rows: int, optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Tensor], Tensor],
    ) -> None:  # fmt: skip
        steps = epochs * -(-rows // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            for chosen in torch.randperm(rows).chunk(-(-rows // BATCH)):
                optimizer.zero_grad()
                torch.autograd.backward(loss_of(chosen))
                optimizer.step()
                schedule.step()

    def judge(self, head: nn.Module, factor: float) -> dict[str, float]:
        """Return the quality of the estimate on held-out rows."""
        last = len(self.labels)
        own: list[dict[str, float]] = []
        for start in range(last - TEST_ROWS, last, BATCH):
            rows = slice(start, start + BATCH)
            ours, theirs = factor * self.estimate(head, rows), self.true[rows]
            where = self.learnt[rows][..., None]
            with torch.no_grad():
                loss = self.objective.mean_loss(
                    head, (self.smashed[rows],), self.labels[rows]
                ).item()
            own.append({
                "cosine": cosine(ours, theirs),
                "cosine_learnt": cosine(ours * where, theirs * where),
                "cosine_prompt": cosine(ours * ~where, theirs * ~where),
                "cosine_step": cosine(self.step(rows, ours), self.step(rows, theirs)),
                "relative_error": float((ours - theirs).norm() / theirs.norm()),
                "own_loss": loss,
            })  # fmt: skip
        return {name: sum(one[name] for one in own) / len(own) for name in own[0]}

    def step(self, rows: slice, gradient: Tensor) -> Tensor:
        """Return the gradient of the client half's adapter that a gradient at the cut leads to."""
        client = self.task.model.client
        trained = [p for p in client.parameters() if p.requires_grad]
        found = torch.autograd.grad(client(self.ids[rows]), trained, gradient)
        return torch.cat([g.flatten() for g in found])


def along_the_blocks(bench: Bench) -> list[float]:
    """Return how far the gradient at each block's input points where that behind all blocks does.

    A short head can only know what reaches the cut through the residual connections, nearly
    unchanged: this is how much that is.
    """
    seen: list[Tensor] = []

    def note(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].requires_grad:  # a replay passes zeros through what is before the cut
            inputs[0].retain_grad()
            seen.append(inputs[0])

    server, last = bench.task.model.server, len(bench.labels)
    owner = bench.task.model.cut.rpartition(".")[0]
    (blocks,) = (m for n, m in server.named_modules() if n.endswith(owner) and n)
    norm = [m for n, m in server.named_modules() if n.rpartition(".")[2] in ("norm", "ln_f")][-1]
    handles = [part.register_forward_pre_hook(note) for part in [*blocks.children(), norm]]
    rows = slice(last - TEST_ROWS, last - TEST_ROWS + BATCH)
    smashed = bench.smashed[rows].clone().requires_grad_()
    loss = bench.objective.mean_loss(server, (smashed * 1.0,), bench.labels[rows])
    torch.autograd.backward(loss)
    for handle in handles:
        handle.remove()
    gradients = [one.grad for one in seen if one.grad is not None]
    return [cosine(gradient, gradients[-1]) for gradient in gradients]


def cosine(ours: Tensor, theirs: Tensor) -> float:
    """Return the cosine of two tensors as vectors."""
    return float(F.cosine_similarity(ours.flatten().double(), theirs.flatten().double(), dim=0))


def main() -> None:
    """Print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("dataset")
    parser.add_argument("--cut", default="layers.3")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--more-rows", type=int, default=1024)
    parser.add_argument("--length", type=int, default=64)
    chosen = parser.parse_args()
    bench = Bench(chosen.model, chosen.dataset, chosen.cut, chosen.more_rows, chosen.length)
    share = float((bench.true * ~bench.learnt[..., None]).pow(2).sum() / bench.true.pow(2).sum())
    print(f"# {share:.2f} of the squared norm is at the prompt's tokens", file=sys.stderr)
    along = " ".join(f"{value:.2f}" for value in along_the_blocks(bench))
    print(f"# cosine of the gradient at each block with that behind the last: {along}",
          file=sys.stderr)  # fmt: skip
    table = csv.DictWriter(sys.stdout, FIELDS)
    table.writeheader()
    for recipe in recipes(chosen.rows, chosen.more_rows):
        torch.manual_seed(1)
        begun = time.perf_counter()
        head = bench.head(recipe)
        if recipe.own_loss_epochs:
            bench.learn(head, recipe)
        factor = bench.fit(head, recipe)
        seconds = time.perf_counter() - begun
        found = {name: f"{value:.3f}" for name, value in bench.judge(head, factor).items()}
        table.writerow({"cut": chosen.cut, "seconds": round(seconds), **vars(recipe), **found})
        sys.stdout.flush()


if __name__ == "__main__":
    main()
