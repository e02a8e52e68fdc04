"""When a program is compiled again, why, and what is seen without compiling again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from compile_helpers import MLP, Conv, assert_same, last_reason, programs, twins
from nncomp.backends.cpu import entry

import nncomp as torch
from nncomp import nn
from nncomp.program_cache import MAX_PROGRAMS
from nncomp.trace_error import TraceError

X = torch.randn(4, 5)


@pytest.fixture(params=["native", "python"], autouse=True)
def _way(request, monkeypatch):
    """Guards are looked at by native code, or where that is not possible asked one by one."""
    if request.param == "python":
        monkeypatch.setattr(entry, "_methods", lambda: None)


def check(compiled, eager, count, reason=None, x=X):
    """Same values; `count` programs so far, the newest for `reason`."""
    assert_same(compiled(x), eager(x))
    assert programs(compiled) == count, compiled.explain()
    if reason is not None:
        assert reason in last_reason(compiled)


def test_nothing_relevant_changes(backend):
    compiled, eager = twins(MLP(), backend=backend)
    for _ in range(5):
        x = torch.randn(4, 5)
        check(compiled, eager, 1, x=x)
    compiled.fc1.weight.grad = torch.zeros(7, 5)
    check(compiled, eager, 1)
    with torch.no_grad():
        check(compiled, eager, 2, "grad mode is off")
    check(compiled, eager, 2)


def test_shape_dtype_and_layout():
    compiled, eager = twins(MLP(), backend="numpy")
    check(compiled, eager, 1, "first call")
    check(compiled, eager, 2, "argument 'x' changed from f32[4,5] to f32[2,5]", torch.randn(2, 5))
    check(compiled, eager, 2)
    compiled.double()
    eager.double()
    check(compiled, eager, 3, "'x' changed from f32[2,5] to f64[4,5]", X.double())
    check(compiled, eager, 4, "strides of argument 'x'", torch.randn(5, 4).double().t())


def test_requires_grad_of_an_argument():
    compiled, eager = twins(MLP(), backend="numpy")
    x = X.clone()
    check(compiled, eager, 1, x=x)
    check(compiled, eager, 2, "argument 'x' requires grad now", x.requires_grad_())
    with torch.no_grad():
        check(compiled, eager, 3, "grad mode", x)
        check(compiled, eager, 3, None, x.detach())


def test_python_arguments():
    compiled = torch.compile(lambda x, n, *, flag=False: x * n if flag else x + n, backend="numpy")
    x = torch.ones(2)
    assert_same(compiled(x, 2), x + 2)
    assert_same(compiled(x, 3), x + 3)
    assert "argument 'n' changed from 2 to 3" in last_reason(compiled)
    assert_same(compiled(x, 3, flag=True), x * 3)
    assert "number of arguments" in last_reason(compiled)
    assert_same(compiled(x, 3, flag=False), x + 3)
    assert "argument 'flag' changed from True to False" in last_reason(compiled)


def test_training_flag():
    compiled, eager = twins(Conv(), backend="numpy")
    x = torch.randn(2, 2, 6, 6)
    for net in (compiled, eager):
        net.eval()
    check(compiled, eager, 1, x=x)
    for net in (compiled, eager):
        net.train()
        net.drop.p = 0.0
    check(compiled, eager, 2, "training", x)
    for net in (compiled, eager):
        net.drop.eval()
    check(compiled, eager, 3, "attribute 'training' of module 'drop'", x)


def test_attributes_and_structure():
    compiled, eager = twins(MLP(), backend="numpy")
    check(compiled, eager, 1)
    for net in (compiled, eager):
        net.scale = 2.5
    check(compiled, eager, 2, "attribute 'scale' of the module (MLP) changed from 1.0 to 2.5")
    for net in (compiled, eager):
        net.fc2 = nn.Sequential(nn.Tanh(), nn.Linear(7, 2))
        net.fc2.load_state_dict(compiled.fc2.state_dict())
    check(compiled, eager, 3, "submodule 'fc2'")
    for net in (compiled, eager):
        net.fc2[0] = nn.Identity()
    check(compiled, eager, 4)
    compiled.unrelated = 1
    check(compiled, eager, 5, "'unrelated'")
    compiled.scale = eager.scale = 1.0
    check(compiled, eager, 6)


def test_lists_and_dicts_of_a_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.factors, self.table = [1.0, 2.0], {"a": 1.0}

        def forward(self, x):
            return x * self.factors[1] + self.table["a"]

    compiled, eager = twins(Net(), backend="numpy")
    check(compiled, eager, 1)
    for net in (compiled, eager):
        net.factors[1] = 3.0
    check(compiled, eager, 2, "factors")
    for net in (compiled, eager):
        net.table["a"] = 5.0
    check(compiled, eager, 3, "table")


def test_replaced_forward():
    compiled = torch.compile(MLP(), backend="numpy")
    compiled(X)
    compiled.fc1.forward = lambda x: x.sum(-1, keepdim=True) * torch.ones(7)
    expected = compiled.forward(X)
    assert_same(compiled(X), expected)
    compiled.forward = lambda x: x * compiled.scale
    assert_same(compiled(X), X)
    assert "'forward'" in last_reason(compiled)


# -- parameters -----------------------------------------------------------------------------------


def grow(net):
    net.fc1.weight = nn.Parameter(net.fc1.weight.detach() * 2)


def assign_data(net):
    net.fc1.weight.data = net.fc1.weight.data + 1


def write_data(net):
    net.fc1.weight.data.mul_(-1)


def write_view_of_data(net):
    net.fc1.weight.data[0].fill_(0.5)


def write_numpy(net):
    net.fc1.weight.detach().numpy()[:] *= 0.5


def in_place(net):
    with torch.no_grad():
        net.fc1.weight.add_(1)


def in_place_bias_and_last(net):
    with torch.no_grad():
        net.fc1.bias.fill_(2.0)
        net.fc2.weight.t().mul_(3)


def initialize(net):
    nn.init.constant_(net.fc1.weight, 0.25)


def optimize(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    net(X).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def load(net):
    net.load_state_dict({k: v * 3 for k, v in net.state_dict().items()})


CHANGES = (
    grow, assign_data, write_data, write_view_of_data, write_numpy, in_place,
    in_place_bias_and_last, initialize, optimize, load,
)  # fmt: skip


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_changed_parameters_are_seen(change, grad):
    """Without gradients weights are packed ahead, which must be done again."""
    compiled, eager = twins(MLP(5, 32, 16))
    with torch.set_grad_enabled(grad):
        for _ in range(2):
            assert_same(compiled(X), eager(X))
    for _ in range(2):
        for net in (compiled, eager):
            change(net)
        with torch.set_grad_enabled(grad):
            assert_same(compiled(X), eager(X))
            assert_same(compiled(X), eager(X))
    if change is grow:
        assert "parameter 'weight'" in last_reason(compiled)


def test_writing_numpy_memory_after_many_calls():
    compiled, eager = twins(MLP(5, 32, 16))
    arrays = [net.fc1.weight.detach().numpy() for net in (compiled, eager)]
    with torch.no_grad():
        for step in range(3):
            for array in arrays:
                array[:, step] = step
            assert_same(compiled(X), eager(X))
    assert programs(compiled) == 1


def test_unchanged_weights_are_packed_once():
    compiled = torch.compile(MLP(5, 64, 64))
    with torch.no_grad():
        compiled(X)
        made = compiled._compiler.last.prepared._state
        assert made is not None
        compiled(X)
        assert compiled._compiler.last.prepared._state is made
        compiled.fc2.bias.add_(1)
        compiled(X)
        assert compiled._compiler.last.prepared._state is not made


def test_requires_grad_of_a_parameter():
    compiled, eager = twins(MLP(), backend="numpy")
    check(compiled, eager, 1)
    for net in (compiled, eager):
        net.fc1.requires_grad_(False)
    check(compiled, eager, 2, "requires_grad of 'fc1.weight' changed to False")
    compiled(X).sum().backward()
    assert compiled.fc1.weight.grad is None and compiled.fc2.weight.grad is not None


# -- functions ------------------------------------------------------------------------------------

SCALE = 2.0
WEIGHT = torch.ones(2)
TABLE = {"k": 1.0}


def helper(x):
    return x * SCALE + TABLE["k"]


def uses_globals(x):
    return helper(x) * WEIGHT


def test_globals_that_a_function_reads():
    global SCALE, WEIGHT
    compiled = torch.compile(uses_globals, backend="numpy")
    x = torch.arange(2.0)
    assert_same(compiled(x), uses_globals(x))
    SCALE = 3.0
    try:
        assert_same(compiled(x), uses_globals(x))
        assert "'SCALE' changed from 2.0 to 3.0" in last_reason(compiled)
        WEIGHT = torch.full((2,), 5.0)
        assert_same(compiled(x), uses_globals(x))
        WEIGHT.mul_(2)
        TABLE["k"] = -1.0
        assert_same(compiled(x), uses_globals(x))
        assert programs(compiled) == 4
        compiled(x)
        assert programs(compiled) == 4
    finally:
        SCALE, WEIGHT, TABLE["k"] = 2.0, torch.ones(2), 1.0


def test_closures_and_modules_of_a_function():
    scale, net = 2.0, nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0))
    compiled = torch.compile(lambda x: net(x) * scale, backend="numpy")
    x = torch.ones(1, 2)
    assert_same(compiled(x), net(x) * 2)
    scale = 3.0
    assert_same(compiled(x), net(x) * 3)
    assert "'scale' changed" in last_reason(compiled)
    net.eval()
    assert_same(compiled(x), net(x) * 3)
    assert "training" in last_reason(compiled)
    net = nn.Linear(2, 4)
    assert compiled(x).shape == (1, 4)


def test_modules_that_are_only_found_when_they_run():
    models = {"a": [nn.Dropout(0.9)]}

    class Owner:
        def __init__(self):
            self.scale = 1.0

        def run(self, x):
            return models["a"][0](x) * self.scale

    owner = Owner()
    compiled = torch.compile(owner.run, backend="numpy")
    x = torch.ones(100)
    assert float(compiled(x).max()) > 5
    models["a"][0].eval()
    assert_same(compiled(x), x)
    owner.scale = 2.0
    assert_same(compiled(x), x * 2)
    owner.unrelated = 1
    compiled(x)
    assert programs(compiled) == 3


def test_a_module_as_argument():
    compiled = torch.compile(lambda net, x: net(x), backend="numpy")
    a, b, x = nn.Dropout(0.9), nn.Linear(100, 2), torch.ones(100)
    compiled(a, x)
    a.eval()
    assert_same(compiled(a, x), x)
    assert_same(compiled(b, x), b(x))
    assert programs(compiled) == 3


def test_decorated_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.scale = nn.Dropout(0.9), nn.Parameter(torch.ones(1))

        @torch.compile(backend="numpy")
        def forward(self, x):
            return self.drop(x) * self.scale

    net, x = Net(), torch.ones(100)
    net(x).sum().backward()
    assert float(net.scale.grad) > 0
    net.eval()
    assert_same(net(x), x)
    assert "training" in last_reason(Net.forward)
    assert "scale" in Net.forward.graph.input_names
    other = Net().eval()
    other.scale.data.fill_(4.0)
    assert_same(other(x), x * 4)


def test_changing_python_state_is_refused_and_undone():
    count, log = 0, []

    def counts(x):
        nonlocal count
        count += 1
        return x

    def logs(x):
        log.append(1)
        return x

    for function in (counts, logs):
        with pytest.raises(TraceError, match="changes Python state"):
            torch.compile(function, backend="numpy")(X)
    assert count == 0 and log == []


def test_the_line_that_changes_the_state_is_named():
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.seen = 0, []

        def forward(self, x):
            y = 2 * x
            self.calls += 1
            return y

    line = Counts.forward.__code__.co_firstlineno + 2
    where = rf"test_compile_guards.py:{line}: forward changes Python state.*'calls' .* from 0 to 1"
    with pytest.raises(TraceError, match=where):
        torch.compile(Counts(), backend="numpy")(X)


def test_many_shapes_warn_and_drop_the_oldest_program():
    compiled = torch.compile(lambda x: x + 1, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(MAX_PROGRAMS):
            compiled(torch.zeros(n))
    with pytest.warns(UserWarning, match=f"compiled {MAX_PROGRAMS + 1} times.*oldest"):
        compiled(torch.zeros(MAX_PROGRAMS))
    assert programs(compiled) == MAX_PROGRAMS
    assert_same(compiled(torch.zeros(0)), torch.zeros(0))
    assert_same(compiled(torch.zeros(5)), torch.ones(5))


def test_explain_tells_sizes_and_times():
    compiled = torch.compile(MLP())
    compiled(X)
    text = compiled.explain()
    assert "nodes ->" in text and "kernels" in text and "ms" in text and "with backward" in text
    with pytest.raises(RuntimeError, match="not called yet"):
        torch.compile(MLP())._compiler.last  # noqa: B018


def test_numpy_arguments_are_watched():
    array = np.ones(2, np.float32)
    compiled = torch.compile(lambda x, a: x * a, backend="numpy")
    x = torch.ones(2)
    assert_same(compiled(x, array), torch.ones(2))
    array[:] = 3
    assert_same(compiled(x, array), torch.full((2,), 3.0))
