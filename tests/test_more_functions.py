"""Special functions, linear algebra and the rarer names against torch: values and gradients."""

from __future__ import annotations

import re

import numpy as np
import pytest
import test_functions as common
from more_table import FAMILIES, INPUTS, STATEMENTS

import nncomp
from nncomp.trace_error import TraceError

torch = pytest.importorskip("torch")

ROWS = [pytest.param(row, id=f"{name}:{row}") for name, rows in FAMILIES.items() for row in rows]
# Rows without a gradient in torch, or with one that is a matter of taste on ties and at nan
NO_GRADIENT = re.compile(
    r"^m\.(signbit|sgn|angle|nextafter|renorm|nonzero_static|histogram|searchsorted|bucketize"
    r"|nanmedian|nanquantile|quantile\(nn_|linalg\.matrix_rank|lgamma\(m\.|digamma\(m\.|fill"
    r"|special\.(zeta|i1e|ndtri)|is_|nanmean"
    r"|as_strided_scatter|scatter_reduce\(x, 1, t\[:2|linalg\.det\(sing|linalg\.cond\(a, (1|.fro))"
)
NO_STATIC_FORMULA = re.compile(r"nextafter|igamma|lstsq\(tall|unique_consecutive")


@pytest.fixture(autouse=True)
def _inputs(monkeypatch):
    monkeypatch.setattr(common, "INPUTS", INPUTS)
    monkeypatch.setattr(common, "NAMES", re.compile(r"\b([a-z]\w*_?)\b"))


@pytest.mark.parametrize("row", ROWS)
def test_function(row, monkeypatch):
    if NO_GRADIENT.search(row):
        monkeypatch.setattr(common, "NO_GRADIENT", ("",))
    common.test_function(row)


@pytest.mark.parametrize("row", ROWS)
def test_function_compiled(row):
    inputs = common.inputs_of(row, nncomp.from_numpy, False)

    def function(*tensors):
        return eval(row, {"m": nncomp, **dict(zip(inputs, tensors, strict=True))})

    expected = common.leaves(function(*inputs.values()))
    compiled = nncomp.compile(function)
    try:
        found = compiled(*inputs.values())
    except TraceError as error:
        assert NO_STATIC_FORMULA.search(row), error
        assert re.search("outside of the compiled|recorded|frozen|static graph", str(error))
        return
    for ours, eager in zip(common.leaves(found), expected, strict=True):
        assert common.describe(ours) == common.describe(eager)
        if hasattr(eager, "detach"):
            np.testing.assert_allclose(
                common.values(ours), common.values(eager), rtol=3e-5, atol=3e-6, err_msg=row
            )


def changed(m, make, row):
    inputs = common.inputs_of(row, make, False)
    exec(row, {"m": m, **inputs})
    return list(inputs.values())


@pytest.mark.parametrize("row", STATEMENTS)
def test_statement(row):
    for ours, theirs in zip(
        changed(nncomp, nncomp.from_numpy, row), changed(torch, torch.from_numpy, row), strict=True
    ):
        common.close(ours, theirs, row)


# -- shape-changing methods -----------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["y.unsqueeze_(0)", "y.t_()", "y.transpose_(0, 1)",
                                       "y.squeeze_().unsqueeze_(1)"])  # fmt: skip
def test_views_in_place_keep_the_history(statement):
    grads = []
    for m, make in ((nncomp, nncomp.from_numpy), (torch, torch.from_numpy)):
        x = make(np.arange(6, dtype=np.float32).reshape(2, 3)).requires_grad_()
        y = x * 2
        exec(statement, {"y": y})
        weight = make(np.arange(6, dtype=np.float32)).reshape(tuple(y.shape))
        (y * y * weight).sum().backward()
        grads.append(x.grad.numpy())
        leaf = m.ones(2, 3, requires_grad=True)
        with pytest.raises(RuntimeError, match="leaf Variable"):
            exec(statement, {"y": leaf})
    np.testing.assert_allclose(*grads)


def test_views_in_place_share_memory_and_compile():
    x = nncomp.zeros(2, 3)
    y = x[1].unsqueeze_(0)
    y.fill_(5.0)
    assert x[1].tolist() == [5, 5, 5] and y.shape == (1, 3)

    def f(x):
        h = x * 2
        h.unsqueeze_(0).transpose_(1, 2)
        h.add_(1)
        return h

    x = nncomp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(nncomp.compile(f)(x).numpy(), f(x).numpy())


def test_resize_and_set():
    x = nncomp.arange(6.0)
    y = x[:4]
    y.resize_(2, 2)
    y.fill_(7.0)
    assert x.tolist() == [7, 7, 7, 7, 4, 5]
    x.resize_(8)
    assert x.tolist() == [7, 7, 7, 7, 4, 5, 0, 0]
    with pytest.raises(RuntimeError, match="require grad"):
        nncomp.ones(2, requires_grad=True).resize_(3)
    with pytest.raises(TraceError, match="resize_"):
        nncomp.compile(lambda x: (x * 1).resize_(2))(nncomp.ones(3))
    with pytest.raises(NotImplementedError, match="storages"):
        nncomp.ones(2).set_(nncomp.ones(2).storage())


def test_storages():
    x = nncomp.arange(6.0).reshape(2, 3)
    y = x[1, 1:]
    assert y.storage_offset() == 4 and y.storage().tolist() == [0, 1, 2, 3, 4, 5]
    assert y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() == x.data_ptr()
    assert y.untyped_storage().nbytes() == 24 and len(y.storage()) == 6 and y.storage()[4] == 4
    assert nncomp.is_storage(y.storage()) and not nncomp.is_storage(y)
    with pytest.raises(NotImplementedError, match="resized"):
        x.untyped_storage().resize_(0)


# -- names that are left out ----------------------------------------------------------------------


def test_refused_names_say_why():
    x = nncomp.ones(2)
    with pytest.raises(NotImplementedError, match=r"Tensor.to_sparse\(\).*dense"):
        x.to_sparse()
    with pytest.raises(NotImplementedError, match="complex numbers"):
        x.stft(2)
    with pytest.raises(RuntimeError, match="CPU"):
        x.xpu()
    for name, why in (("fft", "complex"), ("sparse_coo_tensor", "dense"), ("polar", "complex"),
                      ("uint16", "dtype"), ("jit", "Script"), ("nonsense", "no")):  # fmt: skip
        with pytest.raises(AttributeError, match=why):
            getattr(nncomp, name)
    for module, name in ((nncomp.linalg, "lu"), (nncomp.linalg, "eig"),
                         (nncomp.func, "functionalize"), (nncomp.special, "airy_ai")):  # fmt: skip
        with pytest.raises(AttributeError, match=f"'{name}': .{{15}}"):
            getattr(module, name)
    with pytest.raises(RuntimeError, match="non-complex"):
        nncomp.imag(x)
    with pytest.raises(RuntimeError, match="non-complex"):
        x.imag  # noqa: B018


def test_every_method_and_function_of_torch_is_there_or_has_a_reason():
    from nncomp.refused import reasons

    lost = [n for n in dir(torch.Tensor) if n[0] != "_" and not hasattr(nncomp.Tensor, n)]
    assert lost == ["volatile"]
    unknown = [n for n in ("abs", "linalg", "det", "hann_window") if not hasattr(nncomp, n)]
    assert not unknown
    assert not [n for n in reasons if hasattr(nncomp, n)]


FAILURES = """
m.linalg.inv(x)|m.linalg.det(v)|m.linalg.inv(i)|m.linalg.cholesky(-spd)|m.linalg.inv(sing * 0)
m.linalg.solve(a, rhs[:, :2])|m.linalg.qr(tall, 'x')|m.linalg.matrix_norm(x, 5)|m.hsplit(s, 2)
m.hsplit(x, 3)|m.vsplit(v, 2)|m.dsplit(x, 2)|m.diff(s)|m.quantile(x, 1.5)|m.quantile(x, q=z)
m.scatter_reduce(x, 1, t, y, 'x')|m.index_reduce(x, 0, h, y, 'sum')|m.as_strided(v, (9,), (1,))
m.select_scatter(x, x, 0, 1)|m.polygamma(-1, x)|m.mvlgamma(p, 0)|m.combinations(x)|m.gcd(x, y)
m.searchsorted(v, x, side='x')|m.searchsorted(v, x, side='left', right=True)|m.linalg.norm(z, 2)
m.linalg.tensorinv(a4, 0)|m.linalg.multi_dot([x])|m.gradient(v, edge_order=3)|z.t_()|m.frexp(i)
m.cov(z)|m.linalg.solve(a, rhs.double())|m.nonzero_static(b, size=-1)|x.fill_diagonal_(1, 2, 3)
v.fill_diagonal_(1)|m.poisson(-p)|x.geometric_(1.5)|x.cauchy_(0, -1)|m.broadcast_shapes((2,), (3,))
"""
FAILING = [row for line in FAILURES.strip().splitlines() for row in line.split("|")]


@pytest.mark.parametrize("row", FAILING)
def test_bad_calls_raise_what_torch_raises(row):
    errors = []
    for m, make in ((torch, torch.from_numpy), (nncomp, nncomp.from_numpy)):
        with pytest.raises(Exception) as error:  # noqa: B017
            eval(row, {"m": m, **common.inputs_of(row, make, False)})
        errors.append(error)
    theirs, ours = errors
    assert issubclass(theirs.type, ours.type) or issubclass(ours.type, theirs.type) or (
        theirs.type.__name__.strip("_") == ours.type.__name__
    ), ours.value  # fmt: skip
    assert len(str(ours.value)) > 15


def test_shapes_and_questions():
    assert nncomp.broadcast_shapes((2, 1), (3,), 1) == torch.broadcast_shapes((2, 1), (3,), 1)
    x = nncomp.ones(2, 3)
    assert x.is_set_to(x.view(2, 3)) and not x.is_set_to(x.clone())
    assert not (x.is_shared() or x.is_pinned() or x.is_sparse_csr or x.is_mps or x.is_nested)
    assert repr(x.layout) == "torch.strided" and x.name is None and x.dim_order() == (0, 1)
    assert x.new(2, 2).shape == (2, 2) and x.new([1, 2]).tolist() == [1, 2]
    assert x.new_empty_strided((2, 2), (1, 2)).stride() == (1, 2) and x.to_dense() is x

    class Own(nncomp.Tensor):
        pass

    own = x.as_subclass(Own)
    assert type(own) is Own and own.data_ptr() == x.data_ptr()
    with pytest.raises(TypeError, match="apply_"):
        nncomp.ones(2, requires_grad=True).apply_(abs)
    assert nncomp.from_dlpack(np.arange(3.0)).tolist() == [0, 1, 2]
    assert nncomp.newaxis is None and nncomp.get_num_interop_threads() == 1


def test_mixed_precision_is_switched_off_without_a_gpu():
    with nncomp.amp.autocast("cuda", enabled=False):
        assert nncomp.ones(2).dtype is nncomp.float32
    with pytest.warns(UserWarning, match="no GPU"):
        scaler = nncomp.GradScaler()
    w = nncomp.ones(2, requires_grad=True)
    optimizer = nncomp.optim.SGD([w], lr=1.0)
    scaler.scale(w.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0, 0] and scaler.state_dict() == {}


# -- random draws ---------------------------------------------------------------------------------


def test_draws_have_their_distributions_and_repeat():
    nncomp.manual_seed(3)
    rates = nncomp.tensor([0.5, 4.0, 100.0]).expand(4000, 3)
    counts = nncomp.poisson(rates)
    np.testing.assert_allclose(counts.mean(0).numpy(), [0.5, 4, 100], rtol=0.06)
    np.testing.assert_allclose(counts.var(0).numpy(), [0.5, 4, 100], rtol=0.12)
    trials = nncomp.binomial(nncomp.full((4000,), 10.0), nncomp.full((4000,), 0.3))
    assert abs(trials.mean().item() - 3) < 0.12 and trials.max() <= 10
    steps = nncomp.empty(4000).geometric_(0.25)
    assert abs(steps.mean().item() - 4) < 0.3 and steps.min() == 1
    cauchy = nncomp.empty(4000).cauchy_(2.0, 0.5)
    assert abs(cauchy.median().item() - 2) < 0.1
    nncomp.manual_seed(3)
    assert nncomp.poisson(rates).equal(counts)


# -- second gradients of the factorizations -------------------------------------------------------


@pytest.mark.parametrize("row", [
    "inv(a)", "solve(a, b)", "det(a)", "slogdet(a)[1]", "matrix_exp(a)", "cholesky(a @ a.mT + 1)",
    "pinv(b)", "svdvals(b)", "qr(b)[1]", "eigvalsh(a + a.mT)",
])  # fmt: skip
def test_factorizations_pass_gradcheck(row):
    rng = np.random.default_rng(5)
    a = nncomp.from_numpy(rng.standard_normal((3, 3)) + 2 * np.eye(3)).requires_grad_()
    b = nncomp.from_numpy(rng.standard_normal((3, 2))).requires_grad_()

    def f(a, b):
        names = {n: getattr(nncomp.linalg, n) for n in nncomp.linalg.__all__}
        return eval(row, {**names, "a": a, "b": b}) + 0 * (a.sum() + b.sum())

    assert nncomp.autograd.gradcheck(f, (a, b))
    assert nncomp.autograd.gradgradcheck(f, (a, b))
