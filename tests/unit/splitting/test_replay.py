"""Models that cannot be traced are cut by replaying their forward."""

import copy
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsl_sage_flwr.splitting import SplitError, as_tensors, split, split_pair

from ...cutting import assert_same_as_uncut
from .test_splitter import Forward, assert_computes_the_same, chain, cut_of

WIDTH, TOKENS, WORDS = 8, 5, 11


@dataclass
class Output:
    """What models of the Hugging Face kind return: an object, not a tensor."""

    hidden: Tensor


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, hidden: Tensor, *, mask: Tensor | None = None, scale: Tensor) -> Output:
        attended, _ = self.attention(hidden, hidden, hidden, key_padding_mask=mask)
        return Output(self.norm(hidden + F.dropout(attended, 0.1, self.training)) * scale)


class Angles(nn.Module):
    """Holds nothing: its work is done on both sides."""

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.arange(hidden.shape[1], dtype=hidden.dtype).cos()[None, :, None]


class TextModel(nn.Module):
    """Branches on data, keyword arguments, a list of layers, direct parameters, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.positions = nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        self.register_buffer("shift", torch.randn(WIDTH))
        self.angles = Angles()
        self.layers = nn.ModuleList([Layer() for _ in range(4)])
        self.scores = nn.Linear(WIDTH, 3)
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, tokens: Tensor) -> Tensor:
        if int(tokens.max()) >= WORDS:  # what no tracer can follow
            raise IndexError("no such word")
        hidden = self.words(tokens) + self.positions + self.shift
        hidden = F.dropout(hidden, 0.1, self.training)
        scale = 1 + 0.1 * self.angles(hidden)
        for layer in self.layers:
            hidden = layer(hidden, mask=None, scale=scale).hidden
        return self.scores(hidden.mean(dim=1)) * self.temperature


def tokens(count: int) -> Tensor:
    return torch.randint(WORDS, (count, TOKENS))


def text_model(at: str = "layers.2"):
    torch.manual_seed(0)
    model = TextModel()
    return model, split(model, at, tokens(3))


@pytest.mark.sample
@pytest.mark.parametrize("at", ["layers.1", "layers.2", "scores"])
def test_halves_compute_what_the_model_computes(at: str) -> None:
    model, halves = text_model(at)
    assert_computes_the_same(model, halves, tokens(4))


@pytest.mark.slow
def test_each_tensor_is_in_one_half_under_its_name() -> None:
    model, halves = text_model()
    client, server = halves.client.state_dict(), halves.server.state_dict()
    assert not client.keys() & server.keys()
    assert {"words.weight", "positions", "shift", "layers.1.norm.bias"} <= client.keys()
    assert {"layers.2.norm.bias", "scores.weight", "temperature"} <= server.keys()
    fresh = TextModel()
    fresh.load_state_dict(halves.merged_state_dict(), strict=True)
    found = tokens(2)
    assert torch.equal(fresh.eval()(found), model.eval()(found))


@pytest.mark.slow
def test_only_the_hidden_states_cross() -> None:
    """The angles have no row per sample: the server half makes them itself."""
    _, halves = text_model()
    (smashed,) = as_tensors(halves.client(tokens(4)))
    assert smashed.shape == (4, TOKENS, WIDTH)


@pytest.mark.slow
def test_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = TextModel()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    split(model, "layers.2", tokens(3).zero_())
    assert type(model) is TextModel
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model(tokens(2)).shape == (2, 3)
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert state.shape == torch.get_rng_state().shape


@pytest.mark.slow
def test_copies_of_the_halves_stand_alone() -> None:
    """Strategies and clients copy halves: a copy has separate weights."""
    _, halves = text_model()
    twin = copy.deepcopy(halves.server)
    smashed = as_tensors(halves.client.eval()(tokens(4)))
    assert torch.equal(twin.eval()(*smashed), halves.server.eval()(*smashed))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert not torch.equal(twin(*smashed), halves.server(*smashed))


@pytest.mark.slow
def test_halves_in_threads_do_not_mix_up_what_crosses() -> None:
    from concurrent.futures import ThreadPoolExecutor

    _, halves = text_model()
    halves.client.eval()
    halves.server.eval()
    inputs = [tokens(2 + i % 3) for i in range(24)]
    alone = [halves(found) for found in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(halves, inputs))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_forward_that_depends_on_the_mode_is_replayed() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        h = self.b(self.a(x))
        return self.c(h) if self.training else self.c(2 * h)

    model, halves = cut_of(forward)
    assert_computes_the_same(model, halves, torch.randn(5, 4))


def test_a_branch_on_data_in_front_of_the_cut_is_replayed() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        return chain(self, x) if x.sum() > 0 else chain(self, -x)

    model, halves = cut_of(forward)
    for x in (torch.ones(3, 4), -torch.ones(3, 4)):
        assert_computes_the_same(model, halves, x)


@pytest.mark.parametrize(
    ("forward", "problem"),
    [
        (lambda self, x: self.c(self.b(self.a(x))) * float(x.sum()), "raw input 'x' would cross"),
        (lambda self, x: self.a(self.b(self.a(x))) * float(x.abs().sum() > 0), "both sides"),
        (lambda self, x: self.c(self.a(x)) * float(x.abs().sum() > 0), "never called"),
    ],
)
def test_what_a_replay_cannot_do_is_refused(forward, problem: str) -> None:
    with pytest.raises(SplitError, match=problem):
        cut_of(forward)


def test_weights_tied_across_the_cut_are_refused() -> None:
    model = TextModel()
    model.layers[3].norm.weight = model.layers[0].norm.weight
    with pytest.raises(SplitError, match=r"tied across the cut 'layers\.2'"):
        split(model, "layers.2", tokens(3))


def test_an_example_of_zeros_does_not_hide_what_depends_on_the_input() -> None:
    """The server half is replayed on zeros: only other values show the difference."""

    def forward(self: Forward, x: Tensor) -> Tensor:
        h = self.b(self.a(x))
        return self.c(h) * (1 + float(x.abs().max()))

    model = Forward(forward)
    with pytest.raises(SplitError, match="the raw input 'x' would cross the cut 'b'"):
        split(model, "b", torch.zeros(4, 4))


def test_a_pair_of_modules_is_a_split_model() -> None:
    client = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
    server = nn.Sequential(nn.Linear(6, 3))
    halves = split_pair(client, server, torch.randn(4, 4))
    assert set(halves.server.state_dict()) == {"server.0.weight", "server.0.bias"}
    x = torch.randn(5, 4)
    client.eval()
    halves.client.eval()
    assert torch.equal(halves(x), server(client(x)))
    merged = halves.merged_state_dict()
    assert len(merged) == len(client.state_dict()) + len(server.state_dict())


def test_a_pair_may_have_several_tensors_between() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), (x > 0).long()

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Linear(4, 2)

        def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
            return self.b(hidden * mask)

    client, server = Two(), Gate()
    halves = split_pair(client, server, torch.randn(4, 4))
    x = torch.randn(3, 4)
    assert [t.dtype for t in as_tensors(halves.client(x))] == [torch.float32, torch.int64]
    assert torch.equal(halves(x), server(*client(x)))


def test_a_pair_that_does_not_fit_is_refused() -> None:
    with pytest.raises(SplitError, match="mat1 and mat2"):
        split_pair(nn.Linear(4, 6), nn.Linear(5, 2), torch.randn(4, 4))


COLLECTED: ContextVar[list[Tensor]] = ContextVar("collected")


def collect(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    COLLECTED.get().append(output)


class Collecting(nn.Module):
    """Collects its blocks' outputs by hooks of its first pass, as models of Transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(3)])
        self.scores, self.has_hooks = nn.Linear(3 * WIDTH, 3), False

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        if not self.has_hooks:
            for block in self.blocks:
                block.register_forward_hook(collect)
            self.has_hooks = True
        token = COLLECTED.set([])
        try:
            for block in self.blocks:
                x = torch.relu(block(x))
            return self.scores(torch.cat(COLLECTED.get(), dim=-1))
        finally:
            COLLECTED.reset(token)


@pytest.mark.parametrize("prove", [True, False])
@pytest.mark.parametrize("has_run", [True, False])
def test_hooks_of_a_first_pass_collect_in_both_halves(has_run: bool, prove: bool) -> None:
    torch.manual_seed(0)
    model, x = Collecting(), torch.randn(3, WIDTH)
    if has_run:
        model(x).sum().backward()
    halves = split(model, "blocks.1", x, prove=prove)
    assert_same_as_uncut(model, halves, x, torch.randn(2, WIDTH))


def double(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output * 2


class Skipping(nn.Module):
    """Its first block's output reaches the second directly, and the scores by a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.scores = nn.Linear(2 * WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.isnan().any()):
            raise ValueError("not a number")
        first = self.first(x)
        return self.scores(torch.cat([first, torch.relu(self.second(torch.tanh(first)))], dim=-1))


@pytest.mark.parametrize("prove", [True, False])
def test_a_hook_that_replaces_an_output_is_applied_once(prove: bool) -> None:
    torch.manual_seed(0)
    model, x = Skipping(), torch.randn(3, WIDTH)
    model.first.register_forward_hook(double)
    halves = split(model, "second", x, prove=prove)
    assert_same_as_uncut(model, halves, x, torch.randn(2, WIDTH))


class Experts(nn.Module):
    """Calls those of its experts that the inputs choose."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(3)])
        self.scores = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        chosen = x[:, 0].long()
        hidden = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            if bool((chosen == k).any()):
                hidden = torch.where((chosen == k)[:, None], expert(x), hidden)
        scores: Tensor = self.scores(hidden)
        return scores


def choosing(*experts: int) -> Tensor:
    x = torch.randn(len(experts), WIDTH)
    x[:, 0] = torch.tensor(experts) + 0.5
    return x


def test_modules_that_only_some_inputs_call() -> None:
    torch.manual_seed(0)
    model = Experts()
    halves = split(model, "scores", choosing(0, 1, 2, 1))
    assert_same_as_uncut(model, halves, choosing(2, 2, 0), choosing(1, 1, 1, 1, 1))


def test_a_module_that_the_example_never_called_is_no_client_halfs() -> None:
    torch.manual_seed(0)
    model = Experts()
    halves = split(model, "scores", choosing(0, 1, 1, 0))
    with pytest.raises(SplitError, match=r"^this batch calls 'experts.2' before the cut"):
        halves.client(choosing(0, 2))


def test_a_replay_that_is_not_proven_has_the_proven_ones_halves() -> None:
    """A client does not prove the cut again, and must have the server's."""
    for example in (choosing(0, 1, 2, 1), choosing(0, 1, 1, 0)):
        torch.manual_seed(0)
        halves = [split(Experts(), "scores", example, prove=prove) for prove in (True, False)]
        assert halves[0].client.state_dict().keys() == halves[1].client.state_dict().keys()


class WithoutGradients(nn.Module):
    """Computes something else in evaluations, which need no gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        scores: Tensor = self.second(hidden if torch.is_grad_enabled() else 2 * hidden)
        return scores


def test_a_forward_that_asks_whether_gradients_are_needed_is_proven_without_them() -> None:
    torch.manual_seed(0)
    model, example = WithoutGradients(), torch.randn(4, WIDTH)
    halves = split(model, "second", example)
    with torch.no_grad():
        smashed = as_tensors(halves.client(example))
        assert torch.equal(halves.server(*smashed), model(example))
