"""Every function against torch: values, dtypes, shapes, gradients; promotion; views; in-place."""

from __future__ import annotations

import re

import numpy as np
import pytest
from function_table import FAMILIES, INPUTS

import nncomp

torch = pytest.importorskip("torch")

ROWS = [pytest.param(row, id=f"{name}:{row}") for name, rows in FAMILIES.items() for row in rows]
NAMES = re.compile(r"\b([a-z]\w*)\b")
# In torch these have no gradient, or another one on ties that are not worth having
NO_GRADIENT = ("m.sign", "m.median(n)", "m.histc", "m.heaviside", "m.index_put")


def inputs_of(row: str, make, grad: bool) -> dict:
    """The inputs an expression names, as fresh tensors; floats require a gradient on demand."""
    found = {}
    for name in dict.fromkeys(NAMES.findall(row)):
        if name in INPUTS:
            x = make(np.array(INPUTS[name]))
            found[name] = x.requires_grad_() if grad and INPUTS[name].dtype.kind == "f" else x
    return found


def leaves(result) -> list:
    """The tensors of a result, in order; other values stay."""
    if isinstance(result, (tuple, list)) and not type(result).__name__ == "Size":
        return [leaf for item in result for leaf in leaves(item)]
    return [result]


def describe(value):
    if hasattr(value, "detach"):
        return value.dtype.__repr__(), tuple(value.shape)
    return repr(value)


def values(x) -> np.ndarray:
    return np.array(x.detach().double().tolist()).reshape(tuple(x.shape))


def close(ours, theirs, row: str) -> None:
    """The same dtype, shape and values (within what the dtype allows)."""
    assert describe(ours) == describe(theirs), row
    if hasattr(theirs, "detach"):
        loose = theirs.dtype in (torch.float16, torch.bfloat16)
        exact = dict(rtol=1e-2, atol=1e-2) if loose else dict(rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(values(ours), values(theirs), err_msg=row, **exact)


def gradients(namespace, row: str, make) -> tuple[list, dict]:
    """Results and the gradients of the float inputs for a fixed weighting of the results."""
    inputs = inputs_of(row, make, True)
    results = leaves(eval(row, {"m": namespace, **inputs}))
    total = None
    for number, y in enumerate(results):
        if not (hasattr(y, "detach") and y.dtype.is_floating_point and y.requires_grad):
            continue
        weight = np.cos(np.arange(max(y.numel(), 1)) + number)[: y.numel()].reshape(tuple(y.shape))
        term = (y.double() * make(weight)).sum()
        total = term if total is None else total + term
    if total is None:
        return results, {}
    total.backward()
    return results, {k: x.grad for k, x in inputs.items() if x.requires_grad}


@pytest.mark.parametrize("row", ROWS)
def test_function(row):
    differentiable = not row.startswith(NO_GRADIENT)
    if differentiable:
        ours, our_grads = gradients(nncomp, row, nncomp.from_numpy)
        theirs, their_grads = gradients(torch, row, torch.from_numpy)
    else:
        ours = leaves(eval(row, {"m": nncomp, **inputs_of(row, nncomp.from_numpy, False)}))
        theirs = leaves(eval(row, {"m": torch, **inputs_of(row, torch.from_numpy, False)}))
        our_grads = their_grads = {}
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, row)
    for name, g in their_grads.items():
        if g is not None:
            mine = our_grads.get(name)
            assert mine is not None, f"{row}: no gradient of {name}"
            np.testing.assert_allclose(
                values(mine), values(g), rtol=2e-4, atol=2e-5, err_msg=f"{row}: gradient of {name}"
            )


# Rows that ask for values while the graph is recorded, or whose result size depends on them
DYNAMIC = re.compile(
    r"allclose|m\.equal|\[b|\[e|, b\[|\.nonzero|masked_select|argwhere|where\(b\)|unique|bincount"
    r"|tolist|tensor\(\[s, s|repeat_interleave\(m\.|one_hot\(t\)"
)


@pytest.mark.parametrize("row", ROWS)
def test_function_compiled(row):
    inputs = inputs_of(row, nncomp.from_numpy, False)

    def function(*tensors):
        return eval(row, {"m": nncomp, **dict(zip(inputs, tensors, strict=True))})

    expected = leaves(function(*inputs.values()))
    compiled = nncomp.compile(function)
    if DYNAMIC.search(row) and "e[:, None], x, v" not in row:
        with pytest.raises(nncomp.trace_error.TraceError, match="<string>:1"):
            compiled(*inputs.values())
        return
    for ours, eager in zip(leaves(compiled(*inputs.values())), expected, strict=True):
        assert describe(ours) == describe(eager)
        if hasattr(eager, "detach"):
            np.testing.assert_allclose(
                values(ours), values(eager), rtol=2e-5, atol=2e-6, err_msg=row
            )


# -- promotion ------------------------------------------------------------------------------------

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64")  # fmt: skip
SCALARS = (True, 3, 2.5)


def one(namespace, dtype: str, shape: tuple):
    return namespace.ones(shape, dtype=getattr(namespace, dtype))


def outcome(function, *operands):
    """The dtype of a result, or the class of the error."""
    try:
        return repr(function(*operands).dtype)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return "error" if isinstance(error, (RuntimeError, NotImplementedError)) else repr(error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_promotion_of_tensors(dtype):
    checked = 0
    for other in DTYPES:
        for shapes in (((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())):
            pair = [(one(m, dtype, shapes[0]), one(m, other, shapes[1])) for m in (nncomp, torch)]
            (a, b), (c, d) = pair
            assert repr(nncomp.result_type(a, b)) == repr(torch.result_type(c, d))
            for name in ("add", "mul", "div", "eq", "maximum", "floor_divide", "where"):
                first, second = (getattr(m, name) for m in (nncomp, torch))
                if name == "where":
                    ours = outcome(first, nncomp.ones(2) > 0, a, b)
                    theirs = outcome(second, torch.ones(2) > 0, c, d)
                else:
                    ours, theirs = outcome(first, a, b), outcome(second, c, d)
                assert ours == theirs, (name, dtype, other, shapes)
                checked += 1
    assert checked == 280


@pytest.mark.parametrize("dtype", DTYPES)
def test_promotion_of_numbers(dtype):
    for value in SCALARS:
        for shape in ((2,), ()):
            x, y = one(nncomp, dtype, shape), one(torch, dtype, shape)
            assert repr(nncomp.result_type(x, value)) == repr(torch.result_type(y, value))
            for f in ("x + k", "k * x", "x / k", "x - k", "x < k", "x ** k", "x // k", "k - x"):
                ours = outcome(lambda x, f=f, k=value: eval(f, {"x": x, "k": k}), x)
                theirs = outcome(lambda x, f=f, k=value: eval(f, {"x": x, "k": k}), y)
                assert ours == theirs, (f, dtype, value, shape)


def test_promote_types_and_can_cast_for_all_pairs():
    for a in DTYPES:
        for b in DTYPES:
            ours, theirs = ([getattr(m, n) for n in (a, b)] for m in (nncomp, torch))
            assert repr(nncomp.promote_types(*ours)) == repr(torch.promote_types(*theirs))
            assert nncomp.can_cast(*ours) == torch.can_cast(*theirs), (a, b)


def test_default_dtype_is_used_and_restored():
    try:
        nncomp.set_default_dtype(nncomp.float64)
        assert nncomp.zeros(2).dtype is nncomp.float64
        assert (nncomp.tensor([1]) / 2).dtype is nncomp.float64
        assert nncomp.tensor([1.5]).dtype is nncomp.float64
    finally:
        nncomp.set_default_dtype(nncomp.float32)
    with pytest.raises(TypeError, match="floating-point"):
        nncomp.set_default_dtype(nncomp.int64)


# -- in place, views, assignment ------------------------------------------------------------------

STATEMENTS = """
x.add_(y);x += v;x -= 2;x *= c;x /= p;x **= 2;x //= 2;x %= 2;i += 1;i.mul_(j);i //= 2;b &= (i > 0);b |= b;b ^= b
x.clamp_(0, 1);x.zero_();x.fill_(3);i.fill_(2);x.copy_(v);x.copy_(i);i.copy_(o.new_zeros(3, 4));x.exp_()
x.relu_();x.masked_fill_(b, 1.0);x.scatter_(1, t, y);x.scatter_add_(1, t, y);x.index_add_(0, t[0, :3], y)
x.sub_(y, alpha=2);x.addcmul_(y, p, value=0.5);x.addcdiv_(y, p, value=-1);x.lerp_(y, 0.1);x.neg_();x.sqrt_()
x.mul_(2).add_(1);x.tril_();x.cumsum_(0);x.eq_(y);i.bitwise_not_();x.pow_(2);x.div_(2);x.round_();x.sigmoid_()
x[0] = 1;x[0] = v;x[:, 1] = 5;x[1:, ::2] = 7.5;x[...] = y;x[None] = 2;x[0, 0] = s;x[:] = c;x[-1] = i[0]
x[b] = 0;x[b] = s;x[e] = v;x[e] = 3;x[i > 0] *= 2;x[r[:1]] = 9;x[r] += 1;x[:, r[:2]] = 4;x[r[:3], r[1:]] = v[:3]
x[[0, 2]] = y[:2];x[b] = y[b];x[e, 1] = 8;z[:, r[:2], r[2:]] = 1;z[0, :, [1, 2]] = x[:, :2];x[0] += 1;x.T[0] = 5
x.view(-1)[::3] = 0;x[1].zero_();x.t().mul_(2);x.diagonal().fill_(9);x.unsqueeze(0)[0, 1] = v;x[x > 0] = 0
x.select(1, 0).add_(1);x.narrow(0, 1, 2).fill_(1);x.chunk(2, 1)[0].zero_();x.squeeze().neg_();x[:, None][0] = 4
m.Tensor.add_(x, 1);x.index_fill_(0, r[:2], 2);x.index_copy_(0, r[1:], y);x.clamp_min_(0.2);x.index_put_((r[:1],), v)
"""  # noqa: E501
LINES = [s for line in STATEMENTS.strip().splitlines() for s in line.split(";")]


def run(statement: str, namespace, make) -> dict:
    scope = {**inputs_of(statement, make, False), "m": namespace}
    scope.setdefault("v", make(np.array(INPUTS["v"])))
    exec(statement, {}, scope)
    return scope


@pytest.mark.parametrize("statement", LINES)
def test_statement_changes_the_same_elements(statement):
    ours = run(statement, nncomp, nncomp.from_numpy)
    theirs = run(statement, torch, torch.from_numpy)
    for name in inputs_of(statement, torch.from_numpy, False):
        close(ours[name], theirs[name], statement)


def test_gradients_pass_through_assignments():
    def program(m, make):
        x = make(np.array(INPUTS["x"])).requires_grad_()
        v = make(np.array(INPUTS["v"])).requires_grad_()
        y = x * 2
        y[0] = v
        y[:, 1] *= 3
        y[m.tensor([1, 2]), m.tensor([2, 3])] = v[:2] * 5
        y[y > 1] = 0.5
        y.t()[2].add_(v[:3])
        (y * y).sum().backward()
        return x.grad, v.grad

    ours, theirs = program(nncomp, nncomp.from_numpy), program(torch, torch.from_numpy)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(values(a), values(b), rtol=1e-5)


ERRORS = """
x + m.ones(5)|x.view(5)|x.T.view(12)|x[5]|x[0, 0, 0]|x[::-1]|x.sum(3)|i.add_(1.5)|i.mean()|b - b|-b|1 - b|i ** -1
m.cat([x, v])|m.cat([])|m.stack([x, v])|x @ x|m.mm(x, v)|m.dot(v, x)|x.expand(4, 2)|x.squeeze(4)|x.permute(0, 0)
m.div(x, y, rounding_mode='up')|x.masked_fill(x, 1)|m.tensor([1, 'a'])|m.tensor([[1, 2], [3]])|s[0]
m.arange(0, 5, -1)|m.zeros(-1)|x.gather(1, i.float())|m.conv2d(image, k1)|m.conv2d(image, k2, groups=3)
m.max_pool2d(image, 20)|m.einsum('ij,jk', x, y)|m.einsum('ij', x, y)|m.clamp(x)|m.argmax(x[:0])|m.max(x[:0])
x[b[:2]]|x.unflatten(1, (3, 2))|m.softmax(x, 5)|m.finfo(m.int64)|x.topk(9)|x.narrow(0, 2, 2)|v.add_(x)
x.split([1, 1])|x.requires_grad_().add_(1)|m.tensor(1.5)[m.tensor([0])]|x.copy_(m.ones(2, 3, 4))|x & b|m.normal(0.0, -1.0, (2,))
m.multinomial(v.abs(), 9)|m.bernoulli(i)|x.fill_(v)|i.requires_grad_()|m.meshgrid(v, w, indexing='no')|m.stack([])
"""  # noqa: E501


ERROR_ROWS = [row for line in ERRORS.strip().splitlines() for row in line.split("|")]


@pytest.mark.parametrize("row", ERROR_ROWS)
def test_bad_calls_raise_what_torch_raises(row):
    with pytest.raises(Exception) as theirs:  # noqa: B017
        eval(row, {"m": torch, **inputs_of(row, torch.from_numpy, False)})
    with pytest.raises(Exception) as ours:  # noqa: B017
        eval(row, {"m": nncomp, **inputs_of(row, nncomp.from_numpy, False)})
    assert isinstance(ours.value, (RuntimeError, TypeError, ValueError, IndexError))
    assert issubclass(theirs.type, ours.type) or issubclass(ours.type, theirs.type), ours.value
    assert len(str(ours.value)) > 15


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [
    "x[0]", "x[:, 1:]", "x.t()", "x.view(4, 3)", "x.reshape(-1)", "x.unsqueeze(0)", "x.squeeze()",
    "x.expand(2, 3, 4)[0]", "x.narrow(0, 1, 2)", "x.select(1, 0)", "x.chunk(2)[0]", "x.split(1)[2]",
    "x.unbind()[1]", "x.flatten()", "x.permute(1, 0)", "x.diagonal()", "x.mT", "x[None]",
    "x.detach()", "x.movedim(0, 1)", "x.unflatten(1, (2, 2))", "x.view_as(x)", "x[..., 0]",
])  # fmt: skip
def test_views_share_memory_as_in_torch(view):
    for m, make in ((torch, torch.from_numpy), (nncomp, nncomp.from_numpy)):
        x = make(np.ones((3, 4), np.float32))
        part = eval(view, {"x": x, "m": m})
        part.fill_(7.0)
        assert (x == 7.0).sum().item() == part.numel(), m.__name__


@pytest.mark.parametrize("copy", [
    "x + 0", "x.clone()", "x[[0]]", "x.contiguous().clone()", "x.t().reshape(12)",
    "m.tensor(x.numpy())", "x.repeat(1, 1)", "x.flip(0)",
])  # fmt: skip
def test_copies_do_not_share_memory(copy):
    x = nncomp.ones(3, 4)
    eval(copy, {"x": x, "m": nncomp}).fill_(7.0)
    assert (x == 1).all()


def test_numpy_memory_is_shared_both_ways():
    array = np.zeros(3, np.float32)
    x = nncomp.from_numpy(array)
    x[1] = 5
    array[2] = 6
    assert x.tolist() == [0, 5, 6] and array.tolist() == [0, 5, 6]
    assert np.shares_memory(nncomp.as_tensor(array).numpy(), array)
    with pytest.raises(ValueError, match="negative"):
        nncomp.from_numpy(array[::-1])
    with pytest.raises(TypeError, match="complex"):
        nncomp.from_numpy(np.zeros(2, complex))


# -- random numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "bits"), [("float32", 24), ("float16", 11), ("bfloat16", 8),
                                            ("float64", 53)])  # fmt: skip
def test_uniform_numbers_are_multiples_of_a_unit_below_one(name, bits):
    nncomp.manual_seed(3)
    x = nncomp.rand(20_000, dtype=getattr(nncomp, name)).double().numpy()
    assert (x >= 0).all() and (x < 1).all()
    assert (x * 2.0**bits == np.floor(x * 2.0**bits)).all()
    assert len(set((x * 2.0**bits % 2).tolist())) == 2  # the last bit is used
    counts, _ = np.histogram(x, 16, (0, 1))
    assert abs(counts - 1250).max() < 5 * np.sqrt(1250)


def test_normal_numbers_have_the_moments_of_a_normal_distribution():
    nncomp.manual_seed(4)
    for dtype in (nncomp.float32, nncomp.float64):
        x = nncomp.randn(200, 250, dtype=dtype).numpy()
        assert abs(x.mean()) < 0.02 and abs(x.var() - 1) < 0.03
        assert abs((x**3).mean()) < 0.06 and abs((x**4).mean() - 3) < 0.15
        assert abs(np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1]) < 0.02


def test_seeds_repeat_and_draws_differ():
    def draws(generator=None):
        return [f(generator).tolist() for f in (
            lambda g: nncomp.rand(5, generator=g), lambda g: nncomp.randn(5, generator=g),
            lambda g: nncomp.randint(0, 99, (5,), generator=g),
            lambda g: nncomp.randperm(5, generator=g),
            lambda g: nncomp.empty(5).uniform_(generator=g),
            lambda g: nncomp.empty(5).exponential_(generator=g),
        )]  # fmt: skip

    nncomp.manual_seed(1)
    first, second = draws(), draws()
    nncomp.manual_seed(1)
    assert draws() == first and first != second
    assert draws(nncomp.Generator().manual_seed(1)) == first


def test_integers_cover_their_range():
    nncomp.manual_seed(5)
    x = nncomp.randint(-3, 4, (5000,))
    assert x.dtype is nncomp.int64 and sorted(set(x.tolist())) == [-3, -2, -1, 0, 1, 2, 3]
    assert sorted(nncomp.randperm(50).tolist()) == list(range(50))
    wide = nncomp.randint(-(2**62), 2**62, (2000,)).numpy()
    assert (wide < -(2**60)).any() and (wide > 2**60).any() and abs(wide / 2.0**62).max() <= 1
    assert set(nncomp.empty(100, dtype=nncomp.uint8).random_(2, 5).tolist()) == {2, 3, 4}
    assert nncomp.empty(200, dtype=nncomp.int8).random_().max().item() > 100
    with pytest.raises(RuntimeError, match="less than"):
        nncomp.randint(3, 3, (1,))


def test_bernoulli_multinomial_and_in_place_draws():
    nncomp.manual_seed(6)
    p = nncomp.tensor([0.0, 0.25, 1.0]).expand(4000, 3)
    mean = nncomp.bernoulli(p).mean(0).tolist()
    assert mean[0] == 0 and mean[2] == 1 and abs(mean[1] - 0.25) < 0.03
    weights = nncomp.tensor([0.0, 1.0, 3.0])
    picks = nncomp.multinomial(weights, 4000, replacement=True).tolist()
    assert 0 not in picks and abs(picks.count(2) / 4000 - 0.75) < 0.03
    rows = nncomp.multinomial(weights.expand(500, 3), 2)
    assert rows.shape == (500, 2) and {tuple(sorted(r)) for r in rows.tolist()} == {(1, 2)}
    assert abs(nncomp.empty(4000).exponential_(2.0).mean().item() - 0.5) < 0.05
    assert abs(nncomp.empty(4000).normal_(3.0, 0.5).mean().item() - 3) < 0.05
    assert 0 <= nncomp.dropout(nncomp.ones(4000), 0.25).mean().item() - 0.9 < 0.2
    assert nncomp.normal(nncomp.tensor([1.0, 100.0]), 0.01).round().tolist() == [1, 100]


# -- the namespace --------------------------------------------------------------------------------


def test_names_mean_what_they_mean_in_torch():
    assert nncomp.float is nncomp.float32 and nncomp.long is nncomp.int64
    assert repr(nncomp.bool) == repr(torch.bool) and nncomp.pi == torch.pi
    assert nncomp.backends.mps.is_available() is False
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nncomp.nonsense  # noqa: B018
    assert isinstance(nncomp.ones(2), nncomp.FloatTensor)
    assert not isinstance(nncomp.ones(2), nncomp.LongTensor)
    for name in ("float16", "bfloat16", "float32", "float64"):
        ours, theirs = (m.finfo(getattr(m, name)) for m in (nncomp, torch))
        for field in ("bits", "eps", "max", "min", "tiny"):
            assert getattr(ours, field) == getattr(theirs, field)
    assert nncomp.iinfo(nncomp.int16).max == torch.iinfo(torch.int16).max
    public = {n for n in dir(torch.Tensor) if hasattr(nncomp.Tensor, n) and not n.startswith("_")}
    assert len(public) > 300


def test_results_with_out_are_refused_in_a_sentence():
    with pytest.raises(NotImplementedError, match=r"out.copy_\(exp\(...\)\)"):
        nncomp.exp(nncomp.ones(2), out=nncomp.ones(2))
