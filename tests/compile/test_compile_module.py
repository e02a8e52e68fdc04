"""A compiled Module is still a Module."""

from __future__ import annotations

import copy
import inspect
import io
import pickle

import pytest
from compile_helpers import MLP, Conv, assert_same, last_reason, programs, twins

import nncomp as torch
from nncomp import nn
from nncomp.nn.module import register_module_forward_hook
from nncomp.trace_error import TraceError


class Net(MLP):
    """At module level, so that it can be pickled."""


def test_it_is_an_instance_of_the_same_class():
    model = Net()
    compiled = torch.compile(model)
    assert isinstance(compiled, Net) and isinstance(compiled, nn.Module)
    assert type(compiled).__name__ == "Net" and type(compiled).__qualname__ == "Net"
    assert repr(compiled) == repr(model)
    assert inspect.signature(compiled.forward) == inspect.signature(model.forward)


def test_names_have_no_prefix_and_storage_is_shared():
    model = Net()
    compiled = torch.compile(model)
    assert list(compiled.state_dict()) == list(model.state_dict())
    pairs = zip(compiled.named_parameters(), model.named_parameters(), strict=True)
    assert all(a == b and p is q for (a, p), (b, q) in pairs)
    assert compiled.fc1 is model.fc1
    compiled.scale = 3.0
    assert model.scale == 3.0
    model.extra = nn.Linear(2, 2)
    assert "extra.weight" in compiled.state_dict()


def test_values_before_and_after_the_first_call(backend):
    compiled, eager = twins(Net(), backend=backend)
    x = torch.randn(4, 5)
    for _ in range(2):
        assert_same(compiled(x), eager(x))
    assert programs(compiled) == 1 and last_reason(compiled) == "first call"


def test_forward_itself_stays_eager():
    compiled = torch.compile(Net())
    x = torch.randn(2, 5)
    compiled.forward(x)
    with pytest.raises(RuntimeError, match="not called yet"):
        compiled.graph  # noqa: B018


def test_train_and_eval_switch_the_original_too():
    model = Conv()
    compiled = torch.compile(model)
    compiled.eval()
    assert not model.training and not model.drop.training
    model.train()
    assert compiled.training and compiled.norm.training


@pytest.mark.parametrize("convert", ["double", "half", "bfloat16"])
def test_converted_models_run_in_their_dtype(convert):
    compiled, eager = twins(Net())
    x = torch.randn(3, 5)
    compiled(x)
    assert getattr(compiled, convert)() is compiled
    getattr(eager, convert)()
    x = x.to(eager.fc1.weight.dtype)
    assert_same(compiled(x), eager(x))
    assert programs(compiled) == 2


def test_to_dtype_and_back():
    compiled, eager = twins(Net())
    x = torch.randn(3, 5)
    with torch.no_grad():
        first = compiled(x)
        assert_same(compiled.to(torch.float64)(x.double()), eager.double()(x.double()))
        assert_same(compiled.to(torch.float32)(x), first)


def test_load_state_dict_is_seen_without_recompiling():
    compiled, eager = twins(Net())
    x = torch.randn(3, 5)
    with torch.no_grad():
        compiled(x)
        state = {k: v + 1 for k, v in eager.state_dict().items()}
        compiled.load_state_dict(state)
        eager.load_state_dict(state)
        assert_same(compiled(x), eager(x))
    assert programs(compiled) == 1


def test_deepcopy_is_compiled_and_independent():
    compiled = torch.compile(Net(), backend="numpy")
    x = torch.randn(3, 5)
    before = compiled(x)
    copied = copy.deepcopy(compiled)
    assert isinstance(copied, Net) and copied.fc1 is not compiled.fc1
    with torch.no_grad():
        copied.fc1.weight.zero_()
    assert_same(compiled(x), before)
    copied(x)
    assert programs(copied) == 1


def test_copy_shares_the_parameters():
    compiled = torch.compile(Net(), backend="numpy")
    copied = copy.copy(compiled)
    assert copied.fc1 is compiled.fc1
    x = torch.randn(2, 5)
    assert_same(copied(x), compiled(x))


def test_pickle_round_trip():
    compiled = torch.compile(Net())
    x = torch.randn(3, 5)
    before = compiled(x)
    loaded = pickle.loads(pickle.dumps(compiled))
    assert isinstance(loaded, Net)
    assert_same(loaded(x), before)
    assert programs(loaded) == 1


def test_saved_state_loads_into_an_eager_model():
    compiled, eager = torch.compile(Net()), Net()
    compiled(torch.randn(1, 5))
    file = io.BytesIO()
    torch.save(compiled.state_dict(), file)
    file.seek(0)
    eager.load_state_dict(torch.load(file))
    assert_same(dict(eager.state_dict()), dict(compiled.state_dict()))


def test_compile_in_place():
    model = Net()
    x = torch.randn(3, 5)
    before = model(x)
    keys = list(model.state_dict())
    model.compile(backend="numpy")
    assert_same(model(x), before)
    assert list(model.state_dict()) == keys and programs(model._compiled_forward) == 1
    assert pickle.loads(pickle.dumps(model))._compiled_forward is None


def test_compiling_twice_is_compiling_once():
    compiled = torch.compile(torch.compile(Net()), backend="numpy")
    assert type(compiled).__mro__[1] is Net
    compiled(torch.randn(1, 5))
    assert programs(compiled) == 1


def test_a_compiled_module_inside_of_another_model():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.compile(Net())

        def forward(self, x):
            return self.inner(x) + 1

    outer = Outer()
    assert list(outer.state_dict()) == [f"inner.{k}" for k in Net().state_dict()]
    x = torch.randn(2, 5)
    whole = torch.compile(outer)
    assert_same(whole(x), outer(x))
    assert_same(outer(x), outer.inner.forward(x) + 1)


def test_attributes_named_like_the_inspectors_win():
    class Graphy(nn.Module):
        def __init__(self):
            super().__init__()
            self.graph = nn.Linear(2, 2)

        def explain(self):
            return "mine"

        def forward(self, x):
            return self.graph(x)

    compiled = torch.compile(Graphy(), backend="numpy")
    compiled(torch.randn(1, 2))
    assert isinstance(compiled.graph, nn.Linear) and compiled.explain() == "mine"


def test_graph_and_fused_graph_can_be_printed():
    compiled = torch.compile(Net())
    compiled(torch.randn(2, 5))
    assert "fc1.weight" in str(compiled.graph)
    assert "fused" in str(compiled.fused_graph)
    assert "graph net" in str(torch.trace(Net(), torch.randn(2, 5)))


def test_sequential_and_container_access():
    compiled = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    assert len(compiled) == 2 and isinstance(compiled[0], nn.Linear)
    x = torch.randn(2, 3)
    assert_same(compiled(x), compiled[1](compiled[0](x)))


# -- hooks ----------------------------------------------------------------------------------------


def test_forward_hooks_of_the_root_run_eagerly_at_each_call():
    compiled = torch.compile(Net(), backend="numpy")
    seen = []
    compiled.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    handle = compiled.register_forward_hook(lambda m, args, out: seen.append((m, out)) or out + 1)
    x = torch.randn(2, 5)
    for _ in range(2):
        out = compiled(x)
    assert len(seen) == 2 and seen[0][0] is compiled
    assert_same(out, compiled.forward(x * 2) + 1)
    handle.remove()
    assert_same(compiled(x), compiled.forward(x * 2))


def test_hooks_of_submodules_are_in_the_graph(backend):
    compiled, eager = twins(Net(), backend=backend)
    x = torch.randn(2, 5)
    compiled(x)
    handles = []
    for net in (compiled, eager):
        net.fc1.register_forward_pre_hook(lambda m, args: (args[0] * 3,))
        handles.append(net.fc1.register_forward_hook(lambda m, args, out: out.abs()))
    assert_same(compiled(x), eager(x))
    assert "hook" in last_reason(compiled)
    for handle in handles:
        handle.remove()
    assert_same(compiled(x), eager(x))


def test_a_hook_of_a_submodule_may_call_another_module():
    compiled, eager = twins(Net(), backend="numpy")
    extra = nn.Linear(7, 7)
    for net in (compiled, eager):
        net.fc1.register_forward_hook(lambda m, args, out: extra(out))
    x = torch.randn(2, 5)
    assert_same(compiled(x), eager(x))
    with torch.no_grad():
        extra.weight.mul_(2)
    assert_same(compiled(x), eager(x))
    assert programs(compiled) == 1


def test_global_hooks():
    compiled, eager = twins(Net(), backend="numpy")
    x = torch.randn(2, 5)
    compiled(x)
    handle = register_module_forward_hook(
        lambda m, args, out: out * 2 if isinstance(m, nn.Linear) else None
    )
    try:
        assert_same(compiled(x), eager(x))
    finally:
        handle.remove()
    assert_same(compiled(x), eager(x))


def test_backward_hooks_of_submodules_that_return_nothing_are_refused():
    compiled = torch.compile(Net())
    compiled.fc1.register_full_backward_hook(lambda m, gi, go: None)
    with pytest.raises(TraceError, match=r"backward hook of a module \(Linear\) returned None"):
        compiled(torch.randn(2, 5))
