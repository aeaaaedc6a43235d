"""Models of an unusual build are cut or refused in one line, and are left as they were."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fsl_sage_flwr.splitting import SplitError, as_tensors, split
from fsl_sage_flwr.task import load_whole_state, whole_state

from ...cutting import assert_same_as_uncut


class Odd(nn.Module):
    """Three linear layers; a subclass has its own forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(torch.relu(self.a(x))))


def untraceable(x: Tensor) -> None:
    if bool(x.isnan().any()):
        raise ValueError("not a number")


def check(model: nn.Module, at: str = "b"):
    halves = split(model, at, torch.randn(3, 4))
    assert_same_as_uncut(model, halves, torch.randn(5, 4))
    return halves


@pytest.mark.slow
@pytest.mark.parametrize("traced", [True, False])
def test_what_forward_never_uses_is_in_the_server_half(traced: bool) -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.never, self.token = nn.Linear(2, 2), nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            if not traced:
                untraceable(x)
            return super().forward(x)

    halves = check(Model())
    assert {"never.weight", "never.bias", "token"} <= halves.server.state_dict().keys()


@pytest.mark.parametrize("traced", [True, False])
def test_a_module_with_two_names_has_both(traced: bool) -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.back = self.a, self.c

        def forward(self, x: Tensor) -> Tensor:
            if not traced:
                untraceable(x)
            return self.back(self.b(self.front(x)))

    halves = check(Model())
    assert {"a.weight", "front.weight"} <= halves.client.state_dict().keys()
    assert {"c.weight", "back.weight"} <= halves.server.state_dict().keys()


class Holder(nn.Module):
    """A decoder that also has the encoder, as nnU-Net's does."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.linear = encoder, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.encoder.out_features


def test_a_client_module_inside_a_server_module_stays_the_clients() -> None:
    model = Odd()
    model.b = Holder(model.a)
    halves = check(model)
    assert "b.encoder.weight" in halves.client.state_dict()
    assert set(halves.server.state_dict()) == {
        "b.linear.weight",
        "b.linear.bias",
        "c.weight",
        "c.bias",
    }


def test_frozen_weights_of_the_client_half_that_are_read_behind_the_cut_are_named() -> None:
    class Model(Odd):
        def forward(self, x: Tensor) -> Tensor:
            untraceable(x)
            return self.c(self.b(self.a(x))) @ self.a.weight

    model = Model()
    model.a.requires_grad_(False)
    model.a.bias.requires_grad_(True)
    with pytest.raises(SplitError, match=r"'a.weight' of a module before the cut 'b' is read beh"):
        check(model)


def test_samples_on_another_axis_are_refused_with_what_to_do() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.scores = nn.GRU(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.scores(self.rows(x)[0][-1])

    with pytest.raises(SplitError, match=r"batch_axis=1 for \(T, B, D\)"):
        split(Model(), "scores", torch.randn(5, 3, 4))


class Angles(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("angles", torch.linspace(0, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.angles.cos()


@pytest.mark.slow
@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("way", ["buffer", "module"])
def test_constants_may_be_on_both_sides(way: str, traced: bool) -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.rotary = Angles()
            self.register_buffer("table", torch.linspace(1, 2, 4))

        def forward(self, x: Tensor) -> Tensor:
            if not traced:
                untraceable(x)
            turn = self.rotary if way == "module" else self.table.mul
            return turn(self.c(self.b(turn(self.a(x)))))

    halves = check(Model())
    assert {"rotary.angles", "table"} - halves.client.state_dict().keys() <= (
        {"rotary.angles"} if way == "buffer" else {"table"}
    )


@pytest.mark.parametrize("traced", [True, False])
def test_statistics_may_not_be_on_both_sides(traced: bool) -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4, affine=False)

        def forward(self, x: Tensor) -> Tensor:
            if not traced:
                untraceable(x)
            return self.norm(self.c(self.b(self.norm(self.a(x)))))

    with pytest.raises(SplitError, match=r"module 'norm' is used on both sides of the cut 'b'"):
        check(Model())


def test_a_train_method_of_the_models_own_holds_in_the_halves() -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def train(self, mode: bool = True) -> "Model":
            super().train(mode)
            self.norm.eval()  # frozen statistics
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.norm(self.a(x))))

    halves = check(Model())
    assert not halves.client.train().norm.training


def test_a_forward_may_read_attributes_and_classes_of_all_its_layers() -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([self.a, self.b, self.c])
            for layer in self.layers:
                layer.kind = "full"
            del self.a, self.b, self.c

        def forward(self, x: Tensor) -> Tensor:
            untraceable(x)
            for layer in self.layers:
                if isinstance(layer, nn.Linear) and layer.kind == "full":
                    x = layer(x) + layer.weight.shape[0]
            return x

    check(Model(), "layers.1")


def test_parameters_may_have_names_of_torch_fx() -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.graph = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.a(x) * self.code)) * self.graph

    check(Model())


@pytest.mark.filterwarnings("ignore")
def test_weights_that_a_hook_computes() -> None:
    model = Odd()
    model.a, model.b = (torch.nn.utils.weight_norm(layer) for layer in (model.a, model.b))
    model(torch.randn(2, 4))  # leaves a weight with a graph, which deepcopy refuses
    halves = split(model, "b", torch.randn(3, 4))
    fresh = torch.randn(5, 4)
    assert torch.equal(halves(fresh), model(fresh))
    assert {"a.weight_g", "a.weight_v"} <= halves.client.state_dict().keys()


def test_sparse_gradients() -> None:
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(12, 2))
    halves = split(model, "2", torch.randint(9, (3, 3)))
    assert_same_as_uncut(model, halves, torch.randint(9, (4, 3)))


def test_decisions_in_eval_mode_have_no_gradient() -> None:
    class Model(Odd):
        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            return scores if self.training else scores.argmax(dim=1)

    check(Model())


def test_a_state_dict_has_more_than_tensors(caplog: pytest.LogCaptureFixture) -> None:
    class Model(Odd):
        def get_extra_state(self) -> dict[str, int]:
            return {"version": 2}

        def set_extra_state(self, state: dict[str, int]) -> None:
            assert state == {"version": 2}

    model = Model()
    x = torch.randn(3, 4)
    halves = split(model, "b", x)
    assert torch.equal(halves(x), model(x))
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("1 values of get_extra_state are not tensors and are not sent, such")
    whole = whole_state(model)
    assert whole
    assert all(isinstance(value, Tensor) for value in whole.values())
    load_whole_state(model, {name: torch.zeros_like(value) for name, value in whole.items()})
    assert not any(bool(value.any()) for value in whole_state(model).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [NotImplementedError, KeyError, AssertionError, OSError, ZeroDivisionError, StopIteration],
)
def test_whatever_a_forward_raises_while_traced_is_no_obstacle(error: type[Exception]) -> None:
    class Model(Odd):
        def forward(self, x: Tensor) -> Tensor:
            if not isinstance(x, Tensor):
                raise error("only tensors")
            return super().forward(x)

    check(Model())


@pytest.mark.parametrize("error", [NotImplementedError, KeyError, OSError, StopIteration])
def test_whatever_a_forward_raises_is_a_refusal_in_one_line(error: type[Exception]) -> None:
    class Model(Odd):
        def forward(self, x: Tensor) -> Tensor:
            raise error("on two\nlines")

    with pytest.raises(SplitError, match=rf"{error.__name__}.*on two.*lines") as refused:
        split(Model(), "b", torch.randn(3, 4))
    assert "\n" not in str(refused.value)


def uncuttable(kind: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    match kind:
        case "compiled":
            return torch.compile(model)
        case "compiled in place":
            model.compile()
        case "scripted":
            return torch.jit.trace(model, torch.randn(2, 4))
        case "lazy":
            model[1] = nn.LazyLinear(2)
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("compiled", "cut the model before torch.compile"),
        ("compiled in place", "cut the model before torch.compile"),
        ("scripted", "cut the nn.Module that it was made from"),
        ("lazy", "call the model once on a batch before split"),
    ],
)
def test_models_without_a_forward_to_cut_are_refused_with_what_to_do(kind: str, says: str) -> None:
    with pytest.raises(SplitError, match=says):
        split(uncuttable(kind), "1", torch.randn(2, 4))


@pytest.mark.parametrize("example", [[], (torch.zeros(2, 4), None), {"x": 3}])
def test_an_example_without_tensors_is_refused(example: object) -> None:
    with pytest.raises(SplitError, match=r"give a tensor, a tuple of tensors, or a mapping"):
        split(Odd(), "b", example)


@pytest.mark.parametrize("traced", [True, False])
def test_the_model_is_what_it_was(traced: bool) -> None:
    class Model(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.last, self.history = 0, None, []
            self.cache: dict[str, Tensor] = {}
            self.register_buffer("steps", torch.zeros(()))
            self.average = torch.zeros(4)

        def forward(self, x: Tensor) -> Tensor:
            if not traced:
                untraceable(x)
            self.calls += 1
            self.history.append(x)
            self.last = self.a(x)
            self.cache["last"] = self.last
            self.steps += 1
            return super().forward(x)

    model = Model().eval()
    model.a.weight.grad = torch.ones(4, 4)
    model.c.train()
    before = copy.deepcopy(model.state_dict())
    halves = split(model, "b", torch.randn(3, 4))
    assert (model.calls, model.last, model.history, model.cache) == (0, None, [], {})
    assert (halves.client.calls, halves.server.calls) == (0, 0) if not traced else True
    assert [module.training for module in model.children()] == [False, False, True]
    assert torch.equal(model.a.weight.grad, torch.ones(4, 4))
    assert model.b.weight.grad is None
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(vars(module).get("_forward_pre_hooks") for module in model.modules())
    assert type(model) is Model


class Collected(Odd):
    """Returns what a hook of a module before the cut has collected."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []
        self.a.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.kept.append(output.mean())

    def forward(self, x: Tensor) -> Any:
        untraceable(x)
        self.kept.clear()
        scores = super().forward(x)
        return {"logits": scores, "collected": tuple(self.kept)}


def test_values_that_hooks_collect_are_named() -> None:
    with pytest.raises(SplitError, match=r"\(collected\.0\): .*output_router_logits=F") as refused:
        split(Collected(), "b", torch.randn(3, 4))
    assert "\n" not in str(refused.value)


class Checkpointed(Odd):
    """Computes its middle layer again in the backward pass."""

    reentrant = False

    def forward(self, x: Tensor) -> Any:
        untraceable(x)
        hidden = checkpoint(
            lambda h: self.b(torch.relu(h)), self.a(x), use_reentrant=self.reentrant
        )
        return self.c(hidden)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_cut_inside_a_checkpoint_is_named(reentrant: bool) -> None:
    model = Checkpointed()
    model.reentrant = reentrant
    with pytest.raises(SplitError, match=r"'b' .* inside torch\.utils\.checkpoint.*disable\(\)"):
        split(model, "b", torch.randn(3, 4))
    check(model, "c")


def test_what_a_hook_keeps_in_the_client_half_is_not_the_servers() -> None:
    """The halves run in two processes; in one, the server half could read it without a message."""

    class Collects(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
            self.out = nn.Linear(8, 3)
            self.found: dict[str, torch.Tensor] = {}
            self.body[0].register_forward_hook(self.keep)

        def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.found["first"] = output

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.body(x) + self.found["first"])

    with pytest.raises(SplitError, match="the halves cut at 'out' fail in eval mode: KeyError"):
        split(Collects(), "out", torch.randn(3, 4))


class Hooked(nn.Module):
    """Reads what hooks of its layers keep."""

    def __init__(self, *, inner: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(16, 3)
        self.act = nn.ReLU()
        self.found: dict[str, Tensor] = {}
        for name in ("act", "b"):
            own = partial(self.keep, name)
            self.get_submodule(name).register_forward_hook(self.inner(name) if inner else own)

    def inner(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.found[name] = output

        return hook

    def keep(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.found[name] = output

    def forward(self, x: Tensor) -> Tensor:
        self.b(self.act(self.a(x)))
        return self.out(torch.cat([self.found["act"], self.found["b"]], dim=1))


class HookedAttributes(Hooked):
    """Keeps them as attributes."""

    def __init__(self) -> None:
        super().__init__(inner=False)

    def keep(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        setattr(self, f"of_{name}", output)

    def forward(self, x: Tensor) -> Tensor:
        self.b(self.act(self.a(x)))
        return self.out(torch.cat([self.of_act, self.of_b], dim=1))


@pytest.mark.parametrize("make", [partial(Hooked, inner=False), HookedAttributes])
def test_hooks_that_are_methods_work_in_copies_of_the_halves(make: Any) -> None:
    model, x = make(), torch.randn(3, 4)
    halves = copy.deepcopy(split(model, "b", x))
    assert torch.equal(halves.server(*as_tensors(halves.client(2 * x))), model(2 * x))
    owners = [hook.func.__self__ for half in (halves.client, halves.server)
              for module in half.modules() for hook in vars(module)["_forward_hooks"].values()
              if isinstance(hook, partial)]  # fmt: skip
    assert owners
    assert all(owner in (halves.client, halves.server) for owner in owners)


def test_hooks_that_are_inner_functions_of_the_model_are_refused() -> None:
    """A copy's would store into the original, and its forward read what was there before."""
    with pytest.raises(SplitError, match=r"hook 'Hooked\.inner.*' of 'b' is an inner .* method"):
        split(Hooked(inner=True), "b", torch.randn(3, 4))


def test_hooks_that_do_not_use_the_model_are_accepted() -> None:
    model, sizes = Odd(), list[int]()
    model.a.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    split(model, "b", torch.randn(3, 4))
    assert sizes
