"""The native short way of compiled calls: everything that must end its use, and what it returns.

A net is called until its native entry runs; then something changes, and the next results must be
those of the same change in eager mode.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from compile_helpers import MLP, assert_same, twins
from nncomp.backends.cpu import entry, entry_ir, executable, jit, pool, python_layout, target
from test_compile_guards import CHANGES

import nncomp as torch
from nncomp import compiled_fast, nn
from nncomp.nn.module import register_module_forward_hook
from nncomp.trace_error import TraceError

pytestmark = pytest.mark.skipif(not entry.available(), reason="unknown memory layout of objects")

X = torch.randn(4, 5)


def hits(compiled) -> int:
    """How often native entries ran."""
    compiler = getattr(compiled, "_compiler", compiled)
    programs = [p for _, p in compiler._made if p.shortcut is not None]
    return sum(p.shortcut.entry.hits for p in programs if p.shortcut.entry is not None)


def warm(compiled, *args) -> None:
    """Call until the native entry runs: the second call makes it."""
    compiled(*args)
    compiled(*args)
    before = hits(compiled)
    compiled(*args)
    assert hits(compiled) == before + 1


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_entries_run_and_give_what_the_long_way_gives():
    compiled, eager = twins(MLP())
    warm(compiled, X)
    for _ in range(5):
        x = torch.randn(4, 5)
        y = compiled(x)
        assert_same(y, eager(x))
        assert type(y) is torch.Tensor and y.numpy().flags.owndata and y.is_contiguous()
    assert hits(compiled) == 6
    first = compiled(X)
    kept = first.clone()
    compiled(X * 2)
    assert_same(first, kept)


# -- what ends an entry ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_changed_parameters_are_seen(change):
    compiled, eager = twins(MLP(5, 32, 16))
    warm(compiled, X)
    for net in (compiled, eager):
        with torch.enable_grad():
            change(net)
    for _ in range(3):
        assert_same(compiled(X), eager(X))


def swap_class(net):
    class Other(type(net.fc2)):
        def forward(self, x):
            return super().forward(x) + 1

    net.fc2.__class__ = Other


def delete_bias(net):
    del net.fc1.bias
    net.fc1.bias = None


NET_CHANGES = {
    "attribute": lambda net: setattr(net, "scale", 3.0),
    "vars": lambda net: vars(net).update(scale=3.0),
    "new attribute": lambda net: setattr(net, "something", 3.0),
    "child": lambda net: setattr(net, "fc2", nn.Linear(7, 2, bias=False).to(torch.float32)),
    "class": swap_class,
    "bias": delete_bias,
    "eval": lambda net: net.eval(),
    "forward": lambda net: setattr(net.fc1, "forward", lambda x: x.sum(-1, True).expand(-1, 7)),
    "own forward": lambda net: setattr(net, "forward", lambda x: x * net.scale),
    "hook": lambda net: net.register_forward_hook(lambda m, i, y: y * 2),
    "pre-hook": lambda net: net.register_forward_pre_hook(lambda m, i: (i[0] * 2,)),
    "hook inside": lambda net: net.fc1.register_forward_hook(lambda m, i, y: y * 2),
    "state dict": lambda net: net.load_state_dict({k: v + 1 for k, v in net.state_dict().items()}),
    "data of a view": lambda net: net.fc1.weight.data[0].zero_(),
}


@pytest.mark.parametrize("name", NET_CHANGES)
def test_changed_modules_are_seen(name):
    compiled, eager = twins(MLP())
    warm(compiled, X)
    before = hits(compiled)
    torch.manual_seed(3)
    NET_CHANGES[name](compiled)
    torch.manual_seed(3)
    NET_CHANGES[name](eager)
    y = compiled(X)
    assert hits(compiled) <= before
    assert_same(y, eager(X))
    for _ in range(4):
        assert_same(compiled(X), eager(X))


def test_classes_and_global_hooks_are_watched(monkeypatch):
    compiled = torch.compile(MLP())
    warm(compiled, X)
    y = compiled(X)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Linear, "forward", lambda self, x: x.new_zeros(4, len(self.weight)))
        assert_same(compiled(X), torch.zeros(4, 3))
    assert_same(compiled(X), y)
    warm(compiled, X)
    handle = register_module_forward_hook(lambda m, i, o: o * 0)
    assert_same(compiled(X), y * 0)
    handle.remove()
    assert_same(compiled(X), y)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "__call__", lambda self, x: "patched")
        assert compiled(X) == "patched"
        assert compiled(X) == "patched"
    assert_same(compiled(X), y)


def test_backward_hooks_run_as_in_a_first_call():
    compiled, calls = torch.compile(nn.Linear(5, 2).requires_grad_(False)), []
    with torch.enable_grad():
        warm(compiled, X)
        handle = compiled.register_full_backward_hook(lambda m, gi, go: calls.append(1))
        compiled(X.clone().requires_grad_()).sum().backward()
        handle.remove()
        compiled(X.clone().requires_grad_()).sum().backward()
        assert calls == [1]


FACTOR, TABLE, LIST = 2.0, {"k": 1.0}, [1.0, 2.0]


def test_what_functions_read_is_watched():
    global FACTOR
    inner = 1.0
    compiled = torch.compile(lambda x: x * FACTOR * inner + TABLE["k"] * LIST[1])

    def check():
        assert_same(compiled(X), X * FACTOR * inner + TABLE["k"] * LIST[1])
        assert_same(compiled(X), X * FACTOR * inner + TABLE["k"] * LIST[1])

    try:
        warm(compiled, X)
        check()
        FACTOR = 3.0
        check()
        inner = 4.0
        check()
        TABLE["k"] = 7.0
        check()
        LIST[1] = 5.0
        check()
        LIST.insert(0, 9.0)
        check()
    finally:
        FACTOR, TABLE["k"], LIST[:] = 2.0, 1.0, [1.0, 2.0]


def test_other_globals_may_change():
    compiled = torch.compile(lambda x: x * FACTOR)
    warm(compiled, X)
    before = hits(compiled)
    for n in range(5):
        globals()["_counted"] = n
        compiled(X)
    assert hits(compiled) == before + 5


# -- modes and arguments --------------------------------------------------------------------------


def test_grad_mode_dtype_and_threads():
    compiled = torch.compile(nn.Linear(5, 2))
    warm(compiled, X)
    with torch.enable_grad():
        assert compiled(X).requires_grad
    assert not compiled(X).requires_grad
    divide = torch.compile(lambda x: x / 2)
    i = torch.arange(4)
    warm(divide, i)
    torch.set_default_dtype(torch.float64)
    try:
        assert divide(i).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert divide(i).dtype == torch.float32
    threads = torch.get_num_threads()
    warm(compiled, X)
    before = hits(compiled)
    torch.set_num_threads(threads + 1)
    try:
        compiled(X)
        assert hits(compiled) <= before
    finally:
        torch.set_num_threads(threads)


def test_requires_grad_of_arguments_is_seen():
    compiled = torch.compile(lambda x: x * 2)
    base = X.clone()
    view = base[:2]
    with torch.enable_grad():
        warm(compiled, X)
        warm(compiled, base)
        assert not compiled(view).requires_grad
        base.requires_grad_()
        assert compiled(base).requires_grad
        assert compiled(view).requires_grad == view.requires_grad


def unaligned():
    memory = np.zeros(4 * 5 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(4, 5)
    memory[:] = X.numpy()
    return torch.from_numpy(memory)


ARGUMENTS = {
    "fewer rows": lambda: torch.randn(2, 5),
    "other rank": lambda: torch.randn(5),
    "float64": lambda: X.double(),
    "int": lambda: X.long(),
    "transposed": lambda: torch.randn(5, 4).t(),
    "sliced": lambda: torch.randn(4, 10)[:, ::2],
    "unaligned": unaligned,
    "expanded": lambda: torch.ones(1, 5).expand(4, 5),
    "parameter": lambda: nn.Parameter(X.clone(), requires_grad=False),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_other_arguments_go_the_long_way(name):
    compiled = torch.compile(lambda x: x * 2 + 1)
    warm(compiled, X)
    x, before = ARGUMENTS[name](), hits(compiled)
    assert_same(compiled(x), x.detach() * 2 + 1)
    assert hits(compiled) == before
    assert_same(compiled(X), X * 2 + 1)
    assert hits(compiled) == before + 1


def test_constants_repeated_tensors_and_odd_calls():
    compiled = torch.compile(lambda x, y, n=1, flag=None: x * n + y if flag is None else y)
    a, b = torch.randn(3), torch.randn(3)
    warm(compiled, a, b, 2)
    assert_same(compiled(a, b, 2), a * 2 + b)
    assert_same(compiled(a, b, 2.0), a * 2 + b)
    assert_same(compiled(a, b, 3), a * 3 + b)
    assert_same(compiled(a, a, 2), a * 3)
    assert_same(compiled(b, a, 2, None), b * 2 + a)
    assert_same(compiled(b, a, 2, True), a)
    assert_same(compiled(a, b, n=5), a * 5 + b)
    with pytest.raises(TypeError):
        compiled()
    with pytest.raises(TypeError):
        compiled(a, b, 2, None, 5)
    with pytest.raises((TypeError, AttributeError)):
        compiled("a", b)


def test_mutable_arguments_are_compared_by_value():
    compiled = torch.compile(lambda x, sizes: x.reshape(sizes) * sizes[0])
    sizes = [4, 5]
    assert_same(compiled(X, sizes), X * 4)
    sizes[:] = [5, 4]
    assert_same(compiled(X, sizes), X.reshape(5, 4) * 5)


def test_several_results_structure_and_arguments_returned():
    compiled = torch.compile(lambda x, y: {"sum": x + y, "x": x, "row": y[0], "pair": (x * 2, 3)})
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    warm(compiled, a, b)
    found = compiled(a, b)
    assert found["x"] is a and found["pair"][1] == 3
    assert_same(found["pair"][0], a * 2)
    assert_same(found["sum"], a + b)
    found["row"].zero_()
    assert float(b[0].abs().sum()) == 0


def test_empty_and_scalar_tensors():
    compiled = torch.compile(lambda x: (x.sum(), x * 2))
    for x in (torch.zeros(0, 3), torch.tensor(2.0), torch.ones(1, 1, 1, 1)):
        warm(compiled, x)
        assert_same(compiled(x), (x.sum(), x * 2))


def test_inside_of_a_trace_and_leaked_tensors():
    inner = torch.compile(lambda x: x * 2)
    warm(inner, X)
    leaked = []
    outer = torch.compile(lambda x: inner(leaked.append(x) or x) + 1)
    with pytest.raises(TraceError):
        outer(X)  # it appends to a list that it reads
    outer = torch.compile(lambda x: inner(x) + 1)
    assert_same(outer(X), X * 2 + 1)
    assert "mul" in str(outer.graph)


# -- memory and threads ---------------------------------------------------------------------------


def test_nothing_leaks():
    compiled = torch.compile(MLP())
    warm(compiled, X)
    flipped, watched = X.t().contiguous().t(), (X._data, None, X._data.dtype, X, False)

    def run(times):
        for _ in range(times):
            compiled(X)
            compiled(X[:3])
            compiled(flipped)
        gc.collect()
        return [sys.getrefcount(v) for v in watched]

    before, after = run(300), run(300)
    assert all(abs(b - a) < 100 for a, b in zip(before, after, strict=True)), (before, after)


def test_modules_die_with_their_entries():
    class Net(MLP):
        pass

    compiled = torch.compile(Net())
    warm(compiled, X)
    reference, frames = weakref.ref(compiled.fc1), compiled._compiler.last.runner.executable._idle
    assert not frames  # it is lent to the entry
    compiled._compiler.entries = compiled._compiler.direct = ()
    compiled._compiler.last.shortcut.entry = compiled._compiler.last.shortcut.call = None
    assert len(frames) == 1
    warm_again = compiled(X)
    assert warm_again.shape == (4, 3)
    del compiled, frames
    gc.collect()
    assert reference() is None


def test_many_threads_at_once():
    net = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))
    compiled, eager = twins(net)
    inputs = [torch.randn(64, 256) for _ in range(4)]
    warm(compiled, inputs[0])
    expected, errors = [eager(x) for x in inputs], []

    def work(number):
        try:
            with torch.no_grad():
                for _ in range(30):
                    assert_same(compiled(inputs[number]), expected[number])
        except Exception as error:  # shown below: a thread cannot fail a test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    before = hits(compiled)  # while another thread was in it, calls took the long way
    with torch.no_grad():
        compiled(inputs[0])
    assert hits(compiled) == before + 1


def test_a_new_pool_is_noticed(monkeypatch):
    compiled = torch.compile(nn.Linear(5, 2))
    warm(compiled, X)
    y, before = compiled(X), hits(compiled)
    monkeypatch.setattr(pool, "_pool", None)
    assert_same(compiled(X), y)
    assert hits(compiled) < before


def test_an_entry_that_never_lasts_is_made_rarely(monkeypatch):
    compiled = torch.compile(MLP())
    made = []
    original = compiled_fast.make_entry
    monkeypatch.setattr(
        compiled_fast, "make_entry", lambda *a, **k: made.append(1) or original(*a, **k)
    )
    for _ in range(200):
        compiled(X)
        compiled.fc1.bias.add_(1)
    assert 1 < len(made) < 12
    for _ in range(300):
        compiled(X)
    assert hits(compiled) > 20


def test_unknown_layouts_go_the_long_way(monkeypatch):
    monkeypatch.setattr(entry, "_methods", lambda: None)
    compiled, eager = twins(MLP())
    for _ in range(3):
        assert_same(compiled(X), eager(X))
    assert compiled._compiler.entries == () and hits(compiled) == 0


def test_arrays_are_pointed_at_without_native_code_too(monkeypatch):
    compiled, eager = twins(MLP())
    monkeypatch.setattr(executable, "pointer_writer", lambda: None)
    assert_same(compiled(X), eager(X))
    with torch.enable_grad():
        assert_same(compiled(X), eager(X))


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"])
def test_entries_are_generated_for_other_processors(triple):
    other = target.Target(triple, "generic", "", 128, 32)
    text = entry_ir.entry_text(python_layout.layout())
    assert len(jit.compile_to_object(text, other)) > 1000


def test_the_layout_is_tried_before_it_is_used(monkeypatch):
    at = python_layout.layout()
    for name in ("array_data", "array_descr", "dict_version", "type_version", "set_used",
                 "list_items", "list_size", "cell_value", "array_flags"):  # fmt: skip
        wrong = python_layout.Layout(**{**vars(at), name: getattr(at, name) - 8})
        checks = (python_layout._arrays, python_layout._dicts, python_layout._types,
                  python_layout._containers)  # fmt: skip
        assert not all(check(wrong) for check in checks), name
    monkeypatch.setattr(python_layout, "VERSIONS", ())
    assert python_layout.layout.__wrapped__() is None
