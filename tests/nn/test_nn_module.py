"""Module: registration, attributes, walking, text, copying and mode, compared with torch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from both import agree, cases, fill, numbers

import nncomp
from nncomp import nn, scope


def make_net(t):
    """Return a small model with all kinds of members; one child is used twice."""
    net = t.nn.Module()
    net.body = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.ReLU(), t.nn.BatchNorm1d(4))
    net.again = net.body[0]
    net.scale = t.nn.Parameter(t.ones(2))
    net.register_parameter("nothing", None)
    net.register_buffer("table", t.zeros(3))
    net.register_buffer("scratch", t.ones(1), persistent=False)
    net.empty_slot = None
    return net


def names(pairs):
    return [name for name, _ in pairs]


WALKS = {
    "named_modules": lambda t: names(make_net(t).named_modules()),
    "named_modules prefix": lambda t: names(make_net(t).named_modules(prefix="x")),
    "named_modules duplicates": lambda t: names(
        make_net(t).named_modules(remove_duplicate=False)
    ),
    "modules": lambda t: [type(m).__name__ for m in make_net(t).modules()],
    "named_children": lambda t: names(make_net(t).named_children()),
    "named_parameters": lambda t: names(make_net(t).named_parameters()),
    "named_parameters own": lambda t: names(make_net(t).named_parameters(recurse=False)),
    "named_parameters duplicates": lambda t: names(
        make_net(t).named_parameters(prefix="p", remove_duplicate=False)
    ),
    "named_buffers": lambda t: names(make_net(t).named_buffers()),
    "parameters": lambda t: [list(p.shape) for p in make_net(t).parameters()],
    "buffers": lambda t: [list(b.shape) for b in make_net(t).buffers(recurse=False)],
    "get_submodule": lambda t: repr(make_net(t).get_submodule("body.0")),
    "get_parameter": lambda t: list(make_net(t).get_parameter("body.0.weight").shape),
    "get_buffer": lambda t: make_net(t).get_buffer("body.2.running_var"),
    "dir": lambda t: [n for n in dir(make_net(t)) if n in ("scale", "table", "body", "forward")],
    "state_dict": lambda t: list(make_net(t).state_dict()),
}


@cases(WALKS)
def test_walking_is_torchs(case):
    agree(case, ok=True)


def set_submodule(t, target, **options):
    net = make_net(t)
    net.set_submodule(target, t.nn.Tanh(), **options)
    return repr(net)


def replace_member(t, first, second):
    net = t.nn.Module()
    net.x = first
    net.x = second
    kinds = {"p": net._parameters, "b": net._buffers, "m": net._modules}
    return [{k: list(v) for k, v in kinds.items()}, "x" in net.__dict__]


CHANGES = {
    "set_submodule": lambda t: set_submodule(t, "body.1"),
    "set_submodule new": lambda t: set_submodule(t, "body.extra"),
    "buffer to module": lambda t: replace_member(t, t.nn.Buffer(t.ones(1)), t.nn.ReLU()),
    "module to parameter": lambda t: replace_member(t, t.nn.ReLU(), t.nn.Parameter(t.ones(1))),
    "plain to module": lambda t: replace_member(t, 3, t.nn.ReLU()),
    "module to none": lambda t: replace_member(t, t.nn.ReLU(), None),
    "parameter to none": lambda t: replace_member(t, t.nn.Parameter(t.ones(1)), None),
    "buffer to parameter": lambda t: replace_member(
        t, t.nn.Buffer(t.ones(1)), t.nn.Parameter(t.ones(1))
    ),
    "buffer to tensor": lambda t: replace_member(t, t.nn.Buffer(t.ones(1)), t.zeros(2)),
    "tensor is no buffer": lambda t: replace_member(t, t.ones(1), t.zeros(2)),
    "train mode": lambda t: [m.training for m in make_net(t).eval().modules()],
    "requires_grad_": lambda t: [
        p.requires_grad for p in make_net(t).requires_grad_(False).parameters()
    ],
    "double": lambda t: [str(v.dtype) for v in make_net(t).double().state_dict().values()],
    "half": lambda t: [str(v.dtype) for v in make_net(t).half().state_dict().values()],
    "to dtype": lambda t: [str(v.dtype) for v in make_net(t).to(t.float64).parameters()],
    "to tensor": lambda t: [
        str(v.dtype) for v in make_net(t).to(t.ones(1, dtype=t.float64)).parameters()
    ],
    "to device": lambda t: [str(v.device) for v in make_net(t).to("cpu").parameters()],
    "to_empty": lambda t: [list(v.shape) for v in make_net(t).to_empty(device="cpu").buffers()],
    "type": lambda t: [str(v.dtype) for v in make_net(t).type(t.float64).buffers()],
    "share_memory": lambda t: [v for v in fill(t, make_net(t)).share_memory().parameters()],
    "apply order": lambda t: apply_order(t),
    "zero_grad": lambda t: grads_after(t, set_to_none=True),
    "zero_grad zeros": lambda t: grads_after(t, set_to_none=False),
}


def apply_order(t):
    seen = []
    make_net(t).apply(lambda module: seen.append(type(module).__name__))
    return seen


def grads_after(t, set_to_none):
    layer = fill(t, t.nn.Linear(2, 2))
    layer(t.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=set_to_none)
    return [p.grad for p in layer.parameters()]


@cases(CHANGES)
def test_changing_is_torchs(case):
    agree(case, ok=True)


def before_init(t, value):
    class Early(t.nn.Module):
        def __init__(self):
            self.x = value

    return Early()


def registered(t, register, *args):
    net = make_net(t)
    getattr(net, register)(*args)


def assigned(t, name, value):
    setattr(make_net(t), name, value)


ERRORS = {
    "module before init": lambda t: before_init(t, t.nn.ReLU()),
    "parameter before init": lambda t: before_init(t, t.nn.Parameter(t.ones(1))),
    "register before init": lambda t: t.nn.Module.register_buffer(
        object.__new__(t.nn.Module), "a", None
    ),
    "missing attribute": lambda t: make_net(t).no_such_thing,
    "missing delete": lambda t: delattr(make_net(t), "no_such_thing"),
    "no forward": lambda t: t.nn.Module()(1),
    "unknown keyword": lambda t: t.nn.Module(a=1),
    "unknown argument": lambda t: t.nn.Module(1, 2),
    "module over parameter name": lambda t: registered(t, "add_module", "scale", t.nn.ReLU()),
    "module of wrong type": lambda t: registered(t, "add_module", "x", 3),
    "module name not str": lambda t: registered(t, "add_module", 3, t.nn.ReLU()),
    "module name dot": lambda t: registered(t, "add_module", "a.b", t.nn.ReLU()),
    "module name empty": lambda t: registered(t, "add_module", "", t.nn.ReLU()),
    "buffer name not str": lambda t: registered(t, "register_buffer", 3, None),
    "buffer name dot": lambda t: registered(t, "register_buffer", "a.b", None),
    "buffer name empty": lambda t: registered(t, "register_buffer", "", None),
    "buffer name taken": lambda t: registered(t, "register_buffer", "forward", None),
    "buffer of wrong type": lambda t: registered(t, "register_buffer", "x", 3),
    "parameter name not str": lambda t: registered(t, "register_parameter", 3, None),
    "parameter name dot": lambda t: registered(t, "register_parameter", "a.b", None),
    "parameter name empty": lambda t: registered(t, "register_parameter", "", None),
    "parameter name taken": lambda t: registered(t, "register_parameter", "forward", None),
    "parameter of wrong type": lambda t: registered(t, "register_parameter", "x", t.ones(1)),
    "assign tensor to parameter": lambda t: assigned(t, "scale", t.ones(2)),
    "assign module to parameter": lambda t: assigned(t, "scale", t.nn.ReLU()),
    "assign buffer to module": lambda t: assigned(t, "body", t.nn.Buffer(t.ones(1))),
    "assign number to module": lambda t: assigned(t, "body", 3),
    "assign number to buffer": lambda t: assigned(t, "table", "text"),
    "get_submodule missing": lambda t: make_net(t).get_submodule("body.9"),
    "get_submodule not module": lambda t: make_net(t).get_submodule("scale"),
    "get_parameter missing": lambda t: make_net(t).get_parameter("body.nope"),
    "get_parameter not one": lambda t: make_net(t).get_parameter("table"),
    "get_buffer not one": lambda t: make_net(t).get_buffer("scale"),
    "set_submodule strict": lambda t: set_submodule(t, "body.extra", strict=True),
    "set_submodule empty": lambda t: set_submodule(t, ""),
    "to integer": lambda t: make_net(t).to(t.int64),
    "train not bool": lambda t: make_net(t).train(3),
}


@cases(ERRORS)
def test_errors_are_torchs(case):
    agree(case, ok=False)


def named_repr(t, cls_name, children, extra=""):
    cls = type(cls_name, (t.nn.Module,), {"extra_repr": lambda self: extra})
    module = cls()
    for name, child in children(t).items():
        module.add_module(name, child)
    return repr(module)


REPRS = {
    "empty": lambda t: named_repr(t, "Net", lambda t: {}),
    "extra": lambda t: named_repr(t, "Net", lambda t: {}, "a=1"),
    "extra lines": lambda t: named_repr(t, "Net", lambda t: {}, "a=1\nb=2"),
    "children": lambda t: named_repr(t, "Net", lambda t: {"fc": t.nn.Linear(1, 2)}),
    "extra and children": lambda t: named_repr(t, "Net", lambda t: {"f": t.nn.ReLU()}, "a=1"),
    "none child": lambda t: named_repr(t, "Net", lambda t: {"f": None}),
    "nested": lambda t: repr(make_net(t)),
    "parameter": lambda t: repr(t.nn.Parameter(t.zeros(2, 2))).split("\n")[0],
}


@cases(REPRS)
def test_repr_is_torchs(case):
    agree(case, ok=True)


class Net(nn.Module):
    """A model at module level, so that it can be pickled."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("seen", nncomp.zeros(1))

    def forward(self, x):
        return self.fc(x)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(copier):
    net = fill(nncomp, Net())
    twin = copier(net)
    x = nncomp.tensor(numbers(2, 3))
    np.testing.assert_array_equal(twin(x).detach().numpy(), net(x).detach().numpy())
    assert isinstance(twin.fc.weight, nn.Parameter) and twin.fc.weight.requires_grad
    with nncomp.no_grad():
        twin.fc.weight.zero_()
    assert float(net.fc.weight.abs().sum()) > 0


def test_parameter_shares_storage_and_ignores_no_grad():
    data = nncomp.zeros(2)
    with nncomp.no_grad():
        parameter = nn.Parameter(data)
        data.fill_(3.0)
    assert parameter.requires_grad and parameter.is_leaf
    np.testing.assert_array_equal(parameter.detach().numpy(), [3.0, 3.0])


def test_call_super_init_reaches_the_next_base():
    class Mixin:
        def __init__(self, *, tag):
            self.tag = tag

    class Both(nn.Module, Mixin):
        call_super_init = True

    assert Both(tag="t").tag == "t"


def test_scope_names_the_running_module():
    paths = []

    class Spy(nn.Module):
        def forward(self, x):
            paths.append(scope.current_path())
            return x

    root = nn.Sequential(nn.Sequential(nn.Identity(), Spy()), Spy())
    root.register_module("tail", Spy())
    root(1)
    assert paths == ["", "", ""] and not scope.active
    paths.clear()
    with scope.tracing(root):
        root(1)
        assert scope.current_path() == ""
    assert paths == ["0.1", "1", "tail"] and not scope.active


def test_scope_is_left_after_an_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    root = nn.Sequential(Broken())
    with scope.tracing(root):
        with pytest.raises(ValueError, match="broken"):
            root(1)
        assert scope.current_path() == ""
    assert not scope.active


def test_compile_runs_the_compiled_forward_between_hooks(monkeypatch):
    net, calls = fill(nncomp, Net()), []

    def fake_compile(forward, **options):
        def compiled(*args):
            calls.append(options)
            return forward(*args)

        return compiled

    monkeypatch.setitem(vars(nncomp), "compile", fake_compile)
    keys = list(net.state_dict())
    net.compile(mode="fast")
    net.register_forward_hook(lambda module, args, output: output * 0 + 7)
    assert float(net(nncomp.tensor(numbers(1, 3))).sum()) == 14.0
    assert calls == [{"mode": "fast"}] and list(net.state_dict()) == keys
    assert pickle.loads(pickle.dumps(Net())) is not None
    assert copy.deepcopy(Net())._compiled_forward is None
