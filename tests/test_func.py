"""func (grad, vmap, functional_call, ...) and testing.assert_close, compared with torch."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")
pytest.importorskip("torch.func")

X = np.linspace(-1, 1.5, 6, dtype=np.float32).reshape(2, 3)
W = np.cos(np.arange(3, dtype=np.float32))


def energy(t):
    return lambda x, w: (t.sin(x) * w).sum()


def with_tree(t, x, w):
    def f(tree, scale):
        return (tree["a"] * tree["b"][0]).sum() * scale, tree["a"].sum()

    return t.func.grad(f, has_aux=True)({"a": x, "b": [w]}, 2.0)


def second(t, x, w):
    f = lambda y: (y * y * y).sum()  # noqa: E731
    return t.func.grad(lambda y: (t.func.grad(f)(y) * w).sum())(x)


def pulled(t, x, w):
    out, pull = t.func.vjp(lambda a, b: (a @ b, a.sum()), x, w)
    return [out, pull((t.ones(2), t.ones(())))]


def called(t, x, w):
    layer = t.nn.Linear(3, 2)
    y = t.func.functional_call(layer, {"weight": x, "bias": w[:2]}, (w,))
    own = [p.shape for p in layer.parameters()]
    return [y, own, t.func.functional_call(layer, ({"weight": x}, {"bias": w[:2]}), w)]


SCENARIOS = {
    "grad": lambda t, x, w: t.func.grad(energy(t))(x, w),
    "grad of both": lambda t, x, w: t.func.grad(energy(t), (0, 1))(x, w),
    "grad and value": lambda t, x, w: t.func.grad_and_value(energy(t), 1)(x, w),
    "tree": with_tree,
    "second": second,
    "vjp": pulled,
    "jacrev": lambda t, x, w: t.func.jacrev(lambda a: a * a * w)(x),
    "hessian": lambda t, x, w: t.func.hessian(lambda a: (a * a * a).sum())(w),
    "vmap": lambda t, x, w: t.vmap(t.dot, (0, None))(x, w),
    "vmap dims": lambda t, x, w: t.func.vmap(lambda a, b: (a + b, a * 2), (1, 0), (0, 1))(x, w),
    "vmap grad": lambda t, x, w: t.vmap(t.func.grad(energy(t)), (0, None))(x, w),
    "vmap tree": lambda t, x, w: t.vmap(lambda d: {"y": d["a"] * 2})({"a": x})["y"],
    "functional_call": called,
    "chunk": lambda t, x, w: t.vmap(lambda a: a.sum(), in_dims=-1, chunk_size=1)(x),
}


def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value.detach().numpy() if hasattr(value, "detach") else value


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, np.ndarray):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    else:
        assert a == b


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_transforms_are_torchs(name):
    ours = SCENARIOS[name](nncomp, nncomp.from_numpy(X.copy()), nncomp.from_numpy(W.copy()))
    theirs = SCENARIOS[name](torch, torch.from_numpy(X.copy()), torch.from_numpy(W.copy()))
    same(plain(ours), plain(theirs))


def test_gradients_flow_through_functional_call_and_grad():
    layer = nncomp.nn.Linear(3, 1)
    w = nncomp.ones(1, 3, requires_grad=True)
    loss = nncomp.func.functional_call(layer, {"weight": w}, nncomp.ones(2, 3)).sum()
    loss.backward()
    assert w.grad.tolist() == [[2, 2, 2]] and layer.weight.grad is None
    x = nncomp.tensor([1.0, 2.0], requires_grad=True)
    nncomp.func.grad(lambda y: (y**3).sum())(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [6, 12])


def test_tied_weights_and_errors():
    tied = nncomp.nn.Sequential(nncomp.nn.Linear(2, 2, bias=False), nncomp.nn.Linear(2, 2, False))
    tied[1].weight = tied[0].weight
    y = nncomp.func.functional_call(tied, {"0.weight": 2 * nncomp.eye(2)}, nncomp.ones(1, 2))
    assert y.tolist() == [[4, 4]]
    with pytest.raises(RuntimeError, match="Unexpected key.*nope"):
        nncomp.func.functional_call(tied, {"nope": y}, y)
    with pytest.raises(RuntimeError, match="Missing key.*0.weight"):
        nncomp.func.functional_call(tied, {}, y, strict=True)
    with pytest.raises(RuntimeError, match="scalar"):
        nncomp.func.grad(lambda x: x)(nncomp.ones(2))
    with pytest.raises(ValueError, match="same size"):
        nncomp.vmap(nncomp.add)(nncomp.ones(2), nncomp.ones(3))
    parameters, buffers = nncomp.func.stack_module_state([nncomp.nn.Linear(2, 1)] * 3)
    assert parameters["weight"].shape == (3, 1, 2) and not buffers


# -- assert_close ---------------------------------------------------------------------------------

PAIRS = {
    "equal": lambda t: ([t.ones(3), t.ones(3)], {}),
    "near": lambda t: ([t.ones(3) + 1e-6, t.ones(3)], {}),
    "far": lambda t: ([t.tensor([1.0, 2.5, 3.0]), t.tensor([1.0, 2.0, 3.0])], {}),
    "matrix": lambda t: ([t.zeros(2, 3), t.eye(2, 3)], {}),
    "loose": lambda t: ([t.ones(3) + 1e-2, t.ones(3)], {"rtol": 0.1, "atol": 0.0}),
    "integers": lambda t: ([t.tensor([1, 2]), t.tensor([1, 3])], {}),
    "bools": lambda t: ([t.tensor([True, False]), t.tensor([True, True])], {}),
    "dtype": lambda t: ([t.ones(2), t.ones(2).double()], {}),
    "any dtype": lambda t: ([t.ones(2), t.ones(2).double()], {"check_dtype": False}),
    "shape": lambda t: ([t.ones(2), t.ones(3)], {}),
    "stride": lambda t: ([t.ones(2, 3).t(), t.ones(3, 2)], {"check_stride": True}),
    "nan": lambda t: ([t.tensor([float("nan")]), t.tensor([float("nan")])], {}),
    "equal nan": lambda t: (
        [t.tensor([float("nan")]), t.tensor([float("nan")])], {"equal_nan": True}
    ),
    "inf": lambda t: ([t.tensor([float("inf"), 1.0]), t.tensor([float("inf"), 1.0])], {}),
    "numbers": lambda t: ([1.0, 1.0 + 1e-9], {}),
    "far numbers": lambda t: ([1.0, 1.5], {}),
    "sequence": lambda t: ([[t.ones(1), 2.0], [t.ones(1), 3.0]], {}),
    "lengths": lambda t: ([[1.0], [1.0, 2.0]], {}),
    "mapping": lambda t: ([{"a": t.ones(1)}, {"a": t.zeros(1)}], {}),
    "keys": lambda t: ([{"a": t.ones(1)}, {"b": t.ones(1)}], {}),
    "message": lambda t: ([t.ones(1), t.zeros(1)], {"msg": "no luck"}),
    "made message": lambda t: ([t.ones(1), t.zeros(1)], {"msg": lambda m: f"so: {m}"}),
    "half": lambda t: ([t.ones(2).half() * 1.0005, t.ones(2).half()], {}),
    "one tolerance": lambda t: ([t.ones(1), t.ones(1)], {"rtol": 0.1}),
    "true": lambda t: ([True, False], {}),
    "0-d": lambda t: ([t.tensor(1.0), t.tensor(2.0)], {}),
    "whole": lambda t: ([1, 2], {}),
    "none": lambda t: ([None, None], {}),
    "object": lambda t: ([object(), 1.0], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PAIRS))
def test_assert_close_is_torchs(name):
    found = []
    for t in (torch, nncomp):
        args, options = PAIRS[name](t)
        try:
            t.testing.assert_close(*args, **options)
            found.append(None)
        except Exception as error:
            found.append((type(error).__name__, str(error).split(" object")[0]))
    theirs, ours = found
    if name in ("keys", "lengths", "object", "one tolerance"):
        assert (ours and ours[0]) == (theirs and theirs[0])
    else:
        assert ours == theirs


def test_make_tensor():
    x = nncomp.testing.make_tensor((50, 4), dtype=nncomp.float32, low=1, high=2)
    assert x.min() >= 1 and x.max() <= 2
    y = nncomp.testing.make_tensor(3, 4, dtype=nncomp.int64, noncontiguous=True, exclude_zero=True)
    assert y.shape == (3, 4) and not y.is_contiguous() and (y != 0).all()
    assert nncomp.testing.make_tensor(2, dtype=nncomp.float64, requires_grad=True).requires_grad
