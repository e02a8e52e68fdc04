"""Autograd: the tape, the backward pass, hooks, Function, gradient checks. Torch is the oracle."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from nncomp.ir import OPS, TensorType, input_node, ops
from nncomp.ir.graph import toposort
from nncomp.ir.types import bool_, float64, int64

import nncomp
from nncomp.autograd.saved import SAVES

torch = pytest.importorskip("torch")
LIBS = (nncomp, torch)


def message(call):
    with pytest.raises(Exception) as info:
        call()
    return str(info.value)


def on_both(program):
    """What a program gives with each library, as nested lists; they must be equal."""
    ours, theirs = program(nncomp), program(torch)
    assert _plain(ours) == _plain(theirs)


def _plain(value):
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if hasattr(value, "detach"):
        return np.asarray(value.detach().tolist()).astype(float).round(4).tolist()
    return value


def leaf(lib, *values):
    return lib.tensor(list(values), requires_grad=True)


# -- the table of saved values --------------------------------------------------------------------

F = TensorType((2, 3), float64)
WINDOW = dict(stride=(1,), padding=((0, 0),), dilation=(1,))
SAMPLES = {
    "cast": ([F], dict(dtype=float64)),
    "reshape": ([F], dict(shape=(6,))),
    "permute": ([F], dict(dims=(1, 0))),
    "expand": ([TensorType((1, 3), float64)], dict(shape=(2, 3))),
    "slice": ([F], dict(start=(0, 1), stop=(2, 3), step=(1, 2))),
    "pad": ([F], dict(low=(1, 0), high=(0, 1), interior=(0, 1), value=0.0)),
    "flip": ([F], dict(axes=(1,))),
    "concat": ([F, F], dict(axis=1)),
    "sum": ([F], dict(axes=(1,))),
    "cumsum": ([F], dict(axis=1)),
    "unfold": ([F], dict(kernel=(2,), **WINDOW)),
    "fold": ([TensorType((2, 2, 2), float64)], dict(size=(3,), **WINDOW)),
    "matmul": ([F, TensorType((3, 2), float64)], {}),
    "conv": (
        [TensorType((1, 2, 4), float64), TensorType((2, 2, 2), float64)], dict(groups=1, **WINDOW)
    ),
    "conv_transpose": (
        [TensorType((1, 2, 3), float64), TensorType((2, 2, 2), float64)],
        dict(groups=1, input_size=(4,), **WINDOW),
    ),
    "conv_weight": (
        [TensorType((1, 2, 4), float64), TensorType((1, 2, 3), float64)],
        dict(groups=1, kernel_size=(2,), **WINDOW),
    ),
    "max_pool": ([F], dict(kernel=(2,), **WINDOW)),
    "where": ([TensorType((2, 3), bool_), F, F], {}),
    "take": ([F, TensorType((4,), int64)], dict(axis=0)),
    "index_add": ([F, TensorType((4,), int64), TensorType((4, 3), float64)], dict(axis=0)),
    "index_put": ([F, TensorType((4,), int64), TensorType((4, 3), float64)], dict(axis=0)),
}  # fmt: skip
TWO = ("add", "sub", "mul", "div", "floor_divide", "maximum", "minimum", "atan2")


@pytest.mark.parametrize("name", sorted(SAVES))
def test_saved_values_are_what_the_gradient_rule_reads(name):
    op = OPS[name]
    types, attrs = SAMPLES.get(name, ([F] * (2 if name in TWO else 1), {}))
    xs = [input_node(f"x{i}", t) for i, t in enumerate(types)]
    y = input_node("y", op.type(*types, **attrs))
    g = input_node("g", y.type)
    operands, other, result = SAVES[name]
    read = set()
    for i, entry in enumerate(op.vjp(g, y, *xs, **attrs)):
        entry = entry() if callable(entry) else entry
        if entry is None:
            continue
        found = {n for n in toposort((entry,)) if n.op is None} - {g}
        allowed = {xs[k] for k in operands} | ({xs[1 - i]} if other else set())
        allowed |= {y} if result else set()
        assert found <= allowed, f"gradient {i} reads {[n.attrs['name'] for n in found - allowed]}"
        read |= found
    assert len(read) == len(operands) + 2 * bool(other) + bool(result), "more is saved than is read"


# -- gradients of programs ------------------------------------------------------------------------

PROGRAMS = {
    "polynomial": lambda lib, x, y: (x * x * y - 3 * x / y).sum(),
    "functions": lambda lib, x, y: (x.exp() * y.sin() + (x * x + 1).log() - y.tanh()).mean(),
    "matmul": lambda lib, x, y: (x.view(2, 2) @ y.view(2, 2).t()).sigmoid().sum(),
    "shared": lambda lib, x, y: ((x + x) * (x + y)).sum() + x.sum(),
    "branches": lambda lib, x, y: lib.where(x > y, x * 2, y * 3).sum(),
    "index": lambda lib, x, y: (x[1:] * y[:-1]).sum() + x[0] * y[3],
    "broadcast": lambda lib, x, y: (x.unsqueeze(0) * y.unsqueeze(1)).pow(2).sum(),
    "max": lambda lib, x, y: lib.maximum(x, y).max() + lib.cat([x, y]).min(),
    "detach": lambda lib, x, y: (x * y.detach() + x.detach() * y).sum(),
    "softmax": lambda lib, x, y: (x.softmax(0) * y).sum(),
    "in_place": lambda lib, x, y: (x * 1).mul_(y).add_(x).sum(),
    "cumulative": lambda lib, x, y: (x.cumsum(0) * y.prod()).sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients(name):
    def program(lib):
        x, y = leaf(lib, 0.5, -1.0, 2.0, 1.5), leaf(lib, 1.0, 2.0, -0.5, 0.25)
        out = PROGRAMS[name](lib, x, y)
        out.backward()
        return out, x.grad, y.grad

    on_both(program)


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n not in ("branches", "max")])
def test_second_order(name):
    def program(lib):
        x, y = leaf(lib, 0.5, -1.0, 2.0, 1.5), leaf(lib, 1.0, 2.0, -0.5, 0.25)
        out = PROGRAMS[name](lib, x, y)
        gx, gy = lib.autograd.grad(out, (x, y), create_graph=True)
        again = (gx * gx).sum() + (gy * gy * gy).sum()
        found = lib.autograd.grad(again, (x, y), allow_unused=True) if again.requires_grad else ()
        return gx, gy, [lib.zeros(4) if g is None else g for g in found]

    on_both(program)


def test_third_order_of_a_power():
    def program(lib):
        x = leaf(lib, 2.0)
        found, y = [], (x**4).sum()
        for _ in range(4):
            (y,) = lib.autograd.grad(y, x, create_graph=True)
            found.append(y)
            y = y.sum()
        return found

    on_both(program)


def test_accumulation_and_identity_of_grad():
    def program(lib):
        x = leaf(lib, 1.0, 2.0)
        (x * 2).sum().backward()
        first = x.grad
        (x * 3).sum().backward()
        same = x.grad is first
        (x * x).sum().backward(create_graph=True)
        return x.grad, same, x.grad.requires_grad, x.grad is first

    on_both(program)


def test_two_leaves_do_not_share_a_gradient():
    x, y = leaf(nncomp, 1.0), leaf(nncomp, 2.0)
    (x + y).sum().backward()
    x.grad.add_(5)
    assert y.grad.tolist() == [1]
    g = nncomp.ones(1)
    a, b = nncomp.autograd.grad(x + y, (x, y), g)
    a.add_(1)
    assert b.tolist() == g.tolist() == [1]


def test_grad_only_touches_its_inputs():
    def program(lib):
        x, y = leaf(lib, 1.0), leaf(lib, 2.0)
        h = x * y
        z = h.exp()
        gh, gx = lib.autograd.grad(z, (h, x), lib.ones(1), retain_graph=True)
        z.backward(lib.ones(1), inputs=[y])
        return gh, gx, x.grad is None, y.grad

    on_both(program)


def test_errors_are_torchs():
    def twice(lib):
        y = leaf(lib, 1.0).exp()
        y.backward()
        y.backward()

    def not_scalar(lib):
        (leaf(lib, 1.0, 2.0) * 2).backward()

    def no_grad(lib):
        lib.ones(1).backward()

    def unused(lib):
        lib.autograd.grad(leaf(lib, 1.0).sum(), leaf(lib, 1.0))

    def not_leaf(lib):
        (leaf(lib, 1.0) * 2).requires_grad = False

    def no_hook(lib):
        lib.ones(1).register_hook(print)

    def shape(lib):
        (leaf(lib, 1.0, 2.0) * 2).backward(lib.ones(3))

    for program in (twice, not_scalar, no_grad, unused, not_leaf, no_hook, shape):
        ours = message(lambda: program(nncomp))  # noqa: B023
        assert ours == message(lambda: program(torch)), program.__name__  # noqa: B023
    with pytest.raises(RuntimeError, match="only Tensors of floating point"):
        nncomp.ones(2, dtype=nncomp.int64).requires_grad_()


def test_a_graph_without_saved_values_can_run_twice():
    def program(lib):
        x = leaf(lib, 1.0)
        y = (x + 1).sum()
        y.backward()
        y.backward()
        return x.grad

    on_both(program)


def test_grad_options():
    def program(lib):
        x, y = leaf(lib, 1.0), leaf(lib, 2.0)
        grad = lib.autograd.grad
        a = grad((x * 2).sum(), (x, y), allow_unused=True)
        b = grad((x * 2).sum(), (x, y), materialize_grads=True)
        c = grad([x * 2, y * 3], [x, y], [lib.ones(1), lib.ones(1) * 5])
        return a[0], a[1] is None, b, c

    on_both(program)
    with pytest.raises(NotImplementedError, match="is_grads_batched"):
        nncomp.autograd.grad(leaf(nncomp, 1.0).sum(), leaf(nncomp, 1.0), is_grads_batched=True)


# -- modes ----------------------------------------------------------------------------------------


def test_modes():
    def program(lib):
        x = leaf(lib, 1.0)
        found = []
        with lib.no_grad():
            found.append((x * 2).requires_grad)
            with lib.enable_grad():
                found.append((x * 2).requires_grad)
            found.append(lib.is_grad_enabled())
        with lib.inference_mode():
            found.append((x * 2).requires_grad)
            found.append(lib.is_inference_mode_enabled())
        with lib.set_grad_enabled(False):
            found.append(lib.is_grad_enabled())
        lib.set_grad_enabled(False)
        found.append(lib.is_grad_enabled())
        lib.set_grad_enabled(True)

        @lib.no_grad()
        def decorated(x):
            return (x * 2).requires_grad

        @lib.no_grad
        def bare(x):
            return (x * 2).requires_grad

        @lib.no_grad()
        def items():
            yield lib.is_grad_enabled()
            yield lib.is_grad_enabled()

        for inside in items():
            found.append((inside, lib.is_grad_enabled()))
        return [*found, decorated(x), bare(x), lib.is_grad_enabled()]

    on_both(program)


def test_the_mode_is_restored_after_an_error():
    with pytest.raises(ValueError), nncomp.no_grad():
        raise ValueError
    assert nncomp.is_grad_enabled()


def test_gradient_rules_run_without_recording_unless_asked():
    seen = []
    x = leaf(nncomp, 1.0)
    y = x * x
    y.register_hook(lambda g: seen.append(nncomp.is_grad_enabled()))
    y.sum().backward(retain_graph=True)
    y.sum().backward(create_graph=True)
    assert seen == [False, True] and nncomp.is_grad_enabled()


# -- hooks ----------------------------------------------------------------------------------------


def test_tensor_hooks():
    def program(lib):
        seen = []
        x = leaf(lib, 1.0, 2.0)
        x.register_hook(lambda g: g * 10)
        h = x * 3
        handle = h.register_hook(lambda g: seen.append("removed"))
        h.register_hook(lambda g: seen.append(g.tolist()))
        h.register_hook(lambda g: g + 1)
        h.register_hook(lambda g: seen.append(g.tolist()))
        handle.remove()
        h.retain_grad()
        (h * h).sum().backward()
        return seen, x.grad, h.grad, h.retains_grad

    on_both(program)


def test_hook_on_a_leaf_runs_once_with_the_whole_gradient():
    def program(lib):
        seen = []
        x = leaf(lib, 1.0)
        x.register_hook(lambda g: seen.append(g.item()))
        x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
        (x * 2 + x * 3 + x).sum().backward()
        return seen

    on_both(program)


def test_node_hooks():
    def program(lib):
        seen = []
        x = leaf(lib, 3.0)
        y = x * x
        y.grad_fn.register_prehook(lambda grads: (grads[0] * 2,))
        y.grad_fn.register_hook(lambda ins, outs: seen.append((len(ins), outs[0].item())))
        y.sum().backward()
        return seen, x.grad

    on_both(program)


def test_a_hook_must_keep_the_type():
    x = leaf(nncomp, 1.0, 2.0)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="has changed the type or size"):
        (x * 2).sum().backward()


def test_names_and_next_functions():
    x = leaf(nncomp, 1.0, 2.0)
    y = (x * 2).sum()
    assert repr(y.grad_fn) == "<SumBackward0>" and y.grad_fn.name() == "SumBackward0"
    ((mul, number),) = y.grad_fn.next_functions
    assert number == 0 and mul.next_functions[0][0].name() == "AccumulateGrad"
    assert mul.next_functions[0][0].variable is x and x.grad_fn is None
    assert isinstance(mul, nncomp.autograd.graph.Node)


def test_the_tape_is_freed_with_its_results():
    x = leaf(nncomp, 1.0)
    gc.disable()
    try:
        y = (x * x).exp().tanh()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_deep_graphs_do_not_recurse():
    x = leaf(nncomp, 1.0)
    y = x
    for _ in range(3000):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1]
    del y


# -- Function -------------------------------------------------------------------------------------


def cube_of(lib):
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    return Cube


def test_function_with_second_order():
    def program(lib):
        x = leaf(lib, 1.0, 2.0)
        y = cube_of(lib).apply(x)
        (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
        g.sum().backward()
        return y, g, x.grad, y.grad_fn.name()

    on_both(program)


def test_function_options():
    def program(lib):
        seen = []

        class Split(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x, factor, y):
                ctx.factor = factor
                seen.append(ctx.needs_input_grad)
                low, index = x * factor, (x > 0)
                ctx.mark_non_differentiable(index)
                ctx.set_materialize_grads(False)
                return low, index, y * 2

            @staticmethod
            def backward(ctx, g_low, g_index, g_y):
                seen.append((g_low is None, g_index is None, g_y is None))
                return None if g_low is None else g_low * ctx.factor, None, g_y

        x, y = leaf(lib, 1.0, -2.0), lib.ones(2)
        low, index, other = Split.apply(x, 3, y)
        found = [low.requires_grad, index.requires_grad, other.requires_grad]
        low.sum().backward()
        return found, seen, x.grad

    on_both(program)


def test_function_with_setup_context():
    def program(lib):
        class Scale(lib.autograd.Function):
            @staticmethod
            def forward(x, factor):
                return x * factor

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.factor = inputs[1]
                ctx.save_for_backward(output)

            @staticmethod
            def backward(ctx, g):
                (y,) = ctx.saved_tensors
                return g * ctx.factor * y.detach(), None

        x = leaf(lib, 1.0, 2.0)
        Scale.apply(x, 4.0).sum().backward()
        return x.grad

    on_both(program)


def test_function_that_writes_its_input():
    def program(lib):
        class Double(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                x.mul_(2)
                ctx.mark_dirty(x)
                return x

            @staticmethod
            def backward(ctx, g):
                return g * 2

        x = leaf(lib, 1.0, 2.0)
        h = x * 5
        same = Double.apply(h) is h
        h[0] = 0.0
        (h * h).sum().backward()
        return same, h, x.grad, message(lambda: Double.apply(x))

    on_both(program)


def test_old_style_function():
    class ReLUF(nncomp.autograd.Function):
        def forward(self, input):
            self.save_for_backward(input)
            return input.clamp(min=0)

        def backward(self, output_grad):
            input = self.to_save[0]
            input_grad = output_grad.clone()
            input_grad[input < 0] = 0
            return input_grad

    a = nncomp.randn(2, 3)
    va = nncomp.autograd.Variable(a, requires_grad=True)
    vb = ReLUF()(va)
    vb.backward(nncomp.ones(va.size()))
    expected = (a > 0).float()
    assert va.grad.data.tolist() == expected.tolist()
    assert vb.data.tolist() == (a * expected).tolist()
    assert isinstance(a, nncomp.autograd.Variable)


def test_old_style_linear_reads_saved_tensors_and_needs_input_grad():
    class LinearF(nncomp.autograd.Function):
        def forward(self, input, weight, bias=None):
            self.save_for_backward(input, weight, bias)
            output = nncomp.mm(input, weight.t())
            if bias is not None:
                output += bias.unsqueeze(0).expand_as(output)
            return output

        def backward(self, grad_output):
            input, weight, bias = self.saved_tensors
            grad_input = grad_weight = grad_bias = None
            if self.needs_input_grad[0]:
                grad_input = nncomp.mm(grad_output, weight)
            if self.needs_input_grad[1]:
                grad_weight = nncomp.mm(grad_output.t(), input)
            if bias is not None and self.needs_input_grad[2]:
                grad_bias = grad_output.sum(0).squeeze(0)
            if bias is not None:
                return grad_input, grad_weight, grad_bias
            return grad_input, grad_weight

    linear = LinearF()
    for bias in (None, nncomp.randn(2, requires_grad=True)):
        x, w = nncomp.randn(4, 3), nncomp.randn(2, 3, requires_grad=True)
        arguments = (x, w) if bias is None else (x, w, bias)
        linear(*arguments).sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), np.ones((2, 4)) @ x.numpy(), rtol=1e-5)
        assert x.grad is None and (bias is None or bias.grad.tolist() == [4, 4])


def test_function_errors():
    def returning(lib, *values):
        class Bad(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                return x * 2

            @staticmethod
            def backward(ctx, g):
                return tuple(g * v if isinstance(v, float) else v for v in values)

        return lambda: Bad.apply(leaf(lib, 1.0, 2.0), 3).sum().backward()

    for values in ((1.0,), (1.0, 2.0), (1.0, None, 3.0)):
        assert message(returning(nncomp, *values)) == message(returning(torch, *values)), values

    class Wide(nncomp.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return nncomp.ones(3, 5)

    with pytest.raises(RuntimeError, match="invalid gradient at index 0 - got"):
        Wide.apply(leaf(nncomp, 1.0, 2.0)).sum().backward()
    with pytest.raises(TypeError, match="save_for_backward can only save variables"):
        cube_of(nncomp)().save_for_backward(3)
    with pytest.raises(NotImplementedError, match="forward function"):
        nncomp.autograd.Function.apply(nncomp.ones(1))


def test_saved_tensors_are_checked_and_freed():
    Cube = cube_of(nncomp)
    x = leaf(nncomp, 1.0)
    h = x * 1
    y = Cube.apply(h)
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    y = Cube.apply(x)
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_gradients_are_summed_to_the_shape_of_the_argument():
    def program(lib):
        class Outer(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                ctx.save_for_backward(x, y)
                return x * y

            @staticmethod
            def backward(ctx, g):
                x, y = ctx.saved_tensors
                return g * y, g * x

        x = lib.ones(3, 1, requires_grad=True)
        y = lib.ones(4, requires_grad=True)
        Outer.apply(x, y).sum().backward()
        return x.grad, y.grad

    on_both(program)


def test_once_differentiable():
    def program(lib):
        class Twice(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            @lib.autograd.function.once_differentiable
            def backward(ctx, g):
                return g * 2

        x = leaf(lib, 1.0)
        y = Twice.apply(x) ** 2
        (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
        return message(lambda: g.sum().backward())

    on_both(program)


def test_module_backward_hooks_use_function():
    def program(lib):
        seen = []
        layer = lib.nn.Linear(2, 1)
        with lib.no_grad():
            layer.weight.fill_(0.5)
            layer.bias.fill_(0.0)
        layer.register_full_backward_hook(
            lambda m, gi, go: seen.append((gi[0].tolist(), go[0].tolist()))
        )
        x = lib.ones(1, 2, requires_grad=True)
        layer(x).sum().backward()
        return seen, x.grad

    on_both(program)


def test_gradcheck():
    x = nncomp.tensor([0.5, -1.5, 2.0], dtype=nncomp.float64, requires_grad=True)
    w = nncomp.tensor([1.5, 0.5, -2.0], dtype=nncomp.float64, requires_grad=True)
    assert nncomp.autograd.gradcheck(lambda a, b: ((a * b).tanh(), a.exp()), (x, w))
    assert nncomp.autograd.gradgradcheck(lambda a, b: ((a * b).tanh(), a.exp()), (x, w))
    assert nncomp.autograd.gradcheck(cube_of(nncomp).apply, x)

    class Wrong(cube_of(nncomp)):
        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(nncomp.autograd.GradcheckError, match="Jacobian mismatch for output 0"):
        nncomp.autograd.gradcheck(Wrong.apply, x)
    assert not nncomp.autograd.gradcheck(Wrong.apply, x, raise_exception=False)
    with pytest.raises(ValueError, match="at least one input tensor"):
        nncomp.autograd.gradcheck(lambda a: a, nncomp.ones(2))


def test_multi_result_ops_are_recorded():
    from nncomp.ir import Graph

    t = TensorType((2,), float64)
    a, b = input_node("a", t), input_node("b", t)
    body = Graph("body", (a, b), (ops.mul(a, b), ops.add(a, b)))
    u, v, p, q, c, d = (input_node(n, t) for n in ("u", "v", "p", "q", "c", "d"))
    rule = Graph("rule", (u, v, p, q, c, d), (ops.add(ops.mul(u, d), v), ops.add(ops.mul(u, c), v)))
    x = nncomp.tensor([1.0, 2.0], dtype=nncomp.float64, requires_grad=True)
    y = nncomp.tensor([3.0, 4.0], dtype=nncomp.float64, requires_grad=True)
    product, total = ops.call(x, y, body=body, vjp_body=rule, name="both")
    assert product.tolist() == [3, 8] and total.grad_fn.name() == "bothBackward"
    product.sum().backward(retain_graph=True)
    assert x.grad.tolist() == [3, 4]
    (product + total).sum().backward()
    assert x.grad.tolist() == [7, 9] and y.grad.tolist() == [3, 5]


def test_functional():
    def program(lib):
        f = lib.autograd.functional
        x, y = lib.tensor([1.0, 2.0]), lib.tensor([3.0, -1.0, 0.5])

        def outer(a, b):
            return a.unsqueeze(1) * b.exp(), (a * a).sum()

        out, pulled = f.vjp(outer, (x, y), (lib.ones(2, 3), lib.tensor(2.0)))
        return (
            f.jacobian(outer, (x, y)),
            f.jacobian(lambda a: a * a * a, x),
            f.hessian(lambda a: (a * a * a).sum() * a[0], x),
            f.hessian(lambda a, b: (a.sum() * b * b).sum(), (x, y)),
            out,
            pulled,
        )

    on_both(program)
    with pytest.raises(RuntimeError, match="should return a scalar"):
        nncomp.autograd.functional.hessian(lambda a: a * 2, nncomp.ones(2))
