"""The Tensor object: types, memory, views, in-place writes, conversions, copies; against torch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from nncomp.ir import ops

import nncomp
from nncomp import inplace
from nncomp.device import require_cpu
from nncomp.size import Size

torch = pytest.importorskip("torch")


def both(array, requires_grad=False):
    array = np.asarray(array, np.float32)
    ours = nncomp.tensor(array, requires_grad=requires_grad)
    return ours, torch.tensor(array, requires_grad=requires_grad)


def assert_same(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.numpy(force=True), theirs, rtol=1e-5, atol=1e-6)


def message(call):
    with pytest.raises(Exception) as info:
        call()
    return str(info.value)


def test_size_prints_and_slices_as_torch():
    size = Size((2, 3, 4))
    assert repr(size) == repr(torch.Size((2, 3, 4))) and size.numel() == 24
    assert isinstance(size[1:], Size) and size[1:] == (3, 4) and size[-1] == 4
    assert isinstance(size + (5,), Size) and (1,) + size == (1, 2, 3, 4)
    assert pickle.loads(pickle.dumps(size)) == size


@pytest.mark.parametrize("args", [("cpu",), ("cuda",), ("cuda:1",), ("cuda", 1)])
def test_device_names(args):
    ours, theirs = nncomp.device(*args), torch.device(*args)
    assert repr(ours) == repr(theirs) and str(ours) == str(theirs)
    assert ours == nncomp.device(str(theirs)) and hash(ours) == hash(nncomp.device(str(theirs)))


def test_other_devices_are_refused(monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "none")
    assert require_cpu("cpu") == require_cpu(None) == nncomp.device("cpu")
    with pytest.raises(RuntimeError, match="NNCOMP_PTX_DEVICE is 'none'"):
        nncomp.zeros(2).to("cuda")
    with pytest.raises(RuntimeError, match="not on 'xpu'"):
        nncomp.zeros(2).to("xpu")
    with pytest.raises(RuntimeError, match="Expected one of cpu"):
        nncomp.device("toaster")


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16", "int64", "bool"])
def test_type_attributes(name):
    ours = nncomp.zeros(2, 3, dtype=getattr(nncomp, name))
    theirs = torch.zeros(2, 3, dtype=getattr(torch, name))
    assert repr(ours.dtype) == repr(theirs.dtype) and str(ours.type_).endswith("[2,3]")
    for attribute in ("ndim", "requires_grad", "is_leaf", "grad", "grad_fn", "itemsize", "nbytes"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    for method in ("dim", "numel", "element_size", "is_contiguous", "tolist", "stride", "__len__"):
        assert getattr(ours, method)() == getattr(theirs, method)(), method


def test_scalars():
    for value, kind in ((3, "int64"), (2.5, "float32"), (True, "bool"), (2.5, "bfloat16")):
        ours = nncomp.tensor(value, dtype=getattr(nncomp, kind))
        theirs = torch.tensor(value, dtype=getattr(torch, kind))
        assert ours.item() == theirs.item() and type(ours.item()) is type(theirs.item())
        assert (int(ours), float(ours), bool(ours)) == (int(theirs), float(theirs), bool(theirs))
    assert [10, 20, 30][nncomp.tensor(1)] == 20
    assert f"{nncomp.tensor(1.23456):.2f}" == "1.23"


def test_conversion_errors_are_torchs():
    ours, theirs = both([1.0, 2.0])
    for name in ("item", "__bool__", "__float__"):
        assert message(getattr(ours, name)) == message(getattr(theirs, name)), name
    assert message(lambda: len(nncomp.tensor(1.0))) == message(lambda: len(torch.tensor(1.0)))
    ours, theirs = both([1.0], requires_grad=True)
    assert message(ours.numpy) == message(theirs.numpy)
    with pytest.raises(TypeError, match="only integer tensors"):
        [1, 2][nncomp.tensor(1.0)]


def test_numpy_shares_memory():
    x = nncomp.zeros(3)
    x.numpy()[1] = 5
    assert x.tolist() == [0, 5, 0]
    array = np.zeros(3, np.float32)
    y = nncomp.from_numpy(array)
    y.add_(1)
    assert array.tolist() == [1, 1, 1]
    assert np.asarray(y, np.float64).dtype == np.float64


def test_results_never_share_memory_with_operands():
    x = nncomp.arange(10000.0).reshape(100, 100)
    samples = [
        ops.reshape(x, shape=(10000,)),
        ops.permute(x, dims=(1, 0)),
        ops.slice(x, start=(0, 0), stop=(90, 100), step=(1, 1)),
        ops.flip(x, axes=(0,)),
        ops.permute(ops.permute(x, dims=(1, 0)), dims=(1, 0)),
    ]
    expected = [np.array(s._data) for s in samples]
    x.add_(1)
    for s, e in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(s.numpy(), e)


def test_a_borrowed_result_is_settled_by_numpy_and_by_data():
    x = nncomp.zeros(64, 64)
    y = ops.permute(x, dims=(1, 0))
    x.numpy()[:] = 7
    assert float(y.sum()) == 0
    z = nncomp.zeros(64, 64)
    w = ops.permute(z, dims=(1, 0))
    z.data.fill_(3)
    assert float(w.sum()) == 0
    w.fill_(1)
    assert float(z.sum()) == 3 * 64 * 64


def test_saved_values_survive_a_write_to_borrowed_memory():
    w = nncomp.ones(64, 64)
    x = nncomp.ones(64, 64, requires_grad=True)
    y = (x * ops.permute(w, dims=(1, 0))).sum()
    w.mul_(5)
    y.backward()
    assert float(x.grad.sum()) == 64 * 64


VIEWS = {
    "view": lambda x: x.view(3, 4),
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "row": lambda x: x[1],
    "column": lambda x: x[:, 2],
    "steps": lambda x: x[::2, 1::2],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "chain": lambda x: x.t()[1:3].reshape(2, 4)[:, ::2],
    "unsqueeze": lambda x: x.unsqueeze(0),
    "select": lambda x: x.select(1, 0),
    "diagonal": lambda x: x[:3].diagonal(),
    "detach": lambda x: x.detach(),
    "unbind": lambda x: x.unbind(1)[2],
    "chunk": lambda x: x.chunk(2)[1],
}


@pytest.mark.parametrize("name", VIEWS)
def test_writes_go_through_views_both_ways(name):
    start = np.arange(12.0).reshape(4, 3) if name == "view" else np.arange(16.0).reshape(4, 4)
    ours, theirs = both(start)
    for x in (ours, theirs):
        v = VIEWS[name](x)
        v.mul_(10)
        x.add_(1)
        v.sub_(3)
    assert_same(ours, theirs)
    assert_same(VIEWS[name](ours), VIEWS[name](theirs))
    assert ours._version == theirs._version


@pytest.mark.parametrize("name", [n for n in VIEWS if n not in ("detach", "unbind", "chunk")])
def test_gradients_follow_writes_through_views(name):
    start = np.arange(12.0).reshape(4, 3) if name == "view" else np.arange(16.0).reshape(4, 4)
    ours, theirs = both(start, requires_grad=True)
    for lib, leaf in ((nncomp, ours), (torch, theirs)):
        x = leaf * 1.0
        v = VIEWS[name](x)
        w = VIEWS[name](x)
        scale = lib.full(tuple(v.shape), 3.0, requires_grad=True)
        v.mul_(scale)
        x.mul_(scale.detach().sum())
        ((w * v).sum() + x.sum()).backward()
        leaf.scale = scale
    assert_same(ours.grad, theirs.grad)
    assert_same(ours.scale.grad, theirs.scale.grad)


def test_a_view_of_a_plain_tensor_gets_a_history():
    for lib in (nncomp, torch):
        base, w = lib.zeros(3), lib.ones(3, requires_grad=True)
        v = base[1:]
        assert not v.requires_grad
        base.mul_(w)
        assert v.requires_grad and v.grad_fn is not None and not v.is_leaf
        v[0] = w[2] * 5
        base.sum().backward()
        assert w.grad.tolist() == [0, 0, 5]


def test_leaf_write_errors_are_torchs():
    for build in (
        lambda lib, x: x.add_(1),
        lambda lib, x: x[0].add_(1),
        lambda lib, x: x.view(-1).zero_(),
        lambda lib, x: x.__setitem__(0, 1.0),
    ):
        ours, theirs = both([1.0, 2.0], requires_grad=True)
        assert message(lambda: build(nncomp, ours)) == message(lambda: build(torch, theirs))  # noqa: B023
    with nncomp.no_grad():
        ours[0].add_(1)
    assert ours.tolist() == [2, 2] and ours._version == 1 and ours.is_leaf


def test_overlapping_writes_are_refused():
    ours, theirs = nncomp.zeros(1, 3).expand(4, 3), torch.zeros(1, 3).expand(4, 3)
    assert message(lambda: ours.add_(1)) == message(lambda: theirs.add_(1))
    where = dict(kernel=(3,), stride=(1,), padding=((0, 0),), dilation=(1,))
    windows = inplace.view(ops.unfold, nncomp.zeros(6), **where)
    with pytest.raises(RuntimeError, match="single memory location"):
        windows.add_(1)
    same = nncomp.zeros(1, 3).expand(1, 3)
    same.add_(1)
    assert same.tolist() == [[1, 1, 1]]


def test_a_write_of_another_type_is_refused():
    with pytest.raises(RuntimeError, match="must stay the same"):
        inplace.assign(nncomp.zeros(2), nncomp.zeros(3))


def test_read_only_arrays_are_not_written():
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        inplace.assign(nncomp.Tensor._wrap(array), nncomp.ones(3))


def test_modified_saved_values_are_noticed():
    def program(lib):
        x = lib.ones(2, requires_grad=True)
        y = x.exp()
        y.add_(1)
        return y.sum().backward

    theirs = message(program(torch))
    ours = message(program(nncomp))
    start = "one of the variables needed for gradient computation has been modified by an inplace "
    assert ours.startswith(start) and theirs.startswith(start)
    assert "is at version 1; expected version 0 instead" in ours
    x = nncomp.ones(2, requires_grad=True)
    y = x * 2
    y.add_(1)  # nothing saved needs y
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_detach_shares_the_version_and_data_does_not():
    for lib in (nncomp, torch):
        x = lib.ones(2)
        x.detach().add_(1)
        assert x._version == 1
        x.data.add_(1)
        assert x._version == 1 and x.tolist() == [3, 3]


def test_data_can_be_replaced():
    for lib in (nncomp, torch):
        x = lib.ones(2, requires_grad=True)
        new = lib.zeros(3)
        x.data = new
        assert x.tolist() == [0, 0, 0] and x.requires_grad and x.is_leaf
        new.add_(1)
        assert x.tolist() == [1, 1, 1]


def test_copies_and_pickles():
    x = nncomp.tensor([1.0, 2.0], requires_grad=True)
    x.tag = "weights"
    (x * x).sum().backward()
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.tolist() == [1, 2] and made.requires_grad and made.tag == "weights"
        assert made.is_leaf and made is not x
        made.data.add_(1)
    assert x.tolist() == [1, 2]
    assert copy.deepcopy(x).grad.tolist() == [2, 4]
    tied = copy.deepcopy([x, x])
    assert tied[0] is tied[1]
    half = nncomp.tensor([1.5], dtype=nncomp.bfloat16)
    assert pickle.loads(pickle.dumps(half)).tolist() == [1.5]
    y, z = x * 2, torch.ones(1, requires_grad=True) * 2
    assert message(lambda: copy.deepcopy(y))[:80] == message(lambda: copy.deepcopy(z))[:80]


def test_hash_is_identity():
    x, y = nncomp.ones(2), nncomp.ones(2)
    assert len({x, y, x}) == 2 and {x: 1}[x] == 1


def test_old_constructor():
    assert nncomp.Tensor([1, 2]).dtype is nncomp.float32
    assert nncomp.Tensor(2, 3).shape == (2, 3) and nncomp.Tensor().shape == (0,)
    with pytest.raises(TypeError, match="expects sizes"):
        nncomp.Tensor(2, "x")


def test_operands_must_be_tensors():
    with pytest.raises(TypeError, match="all operands must be Tensors, got .Tensor, float"):
        ops.add(nncomp.ones(2), 1.0)


def test_results_are_contiguous_and_have_the_op_dtype():
    x = nncomp.ones(3, 4).t()
    y = x + 1
    assert not x.is_contiguous() and y.is_contiguous() and y.dtype is nncomp.float32
    half = nncomp.ones(3, dtype=nncomp.bfloat16)
    assert (half * half).dtype is nncomp.bfloat16 and (half < half).dtype is nncomp.bool


def test_generator_streams():
    g = nncomp.Generator().manual_seed(-1)
    assert g.initial_seed() == -1 or g.initial_seed() == 2**64 - 1
    state = g.get_state()
    first, second = g.advance(), g.advance()
    assert second[1] == first[1] + 1
    g.set_state(state)
    assert g.advance() == first
    assert pickle.loads(pickle.dumps(g)).advance() == second
    with pytest.raises(RuntimeError, match="Overflow"):
        g.manual_seed(2**64)
    nncomp.manual_seed(3)
    a = nncomp.rand(4)
    b = nncomp.rand(4)
    nncomp.manual_seed(3)
    assert nncomp.rand(4).tolist() == a.tolist() != b.tolist()


def test_overwrite_is_a_write_without_history():
    x = nncomp.zeros(64, 64, requires_grad=True)
    borrowed = ops.permute(x.detach(), dims=(1, 0))
    y = x * x
    inplace.overwrite(x, np.ones((64, 64), np.float32))
    assert x._version == 1 and x.is_leaf and float(x.detach().sum()) == 64 * 64
    assert float(borrowed.sum()) == 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("n", [4, 64])
def test_contiguous_and_clone_of_a_strided_view_are_row_major(n):
    """Also where results are large enough to borrow memory."""
    x = nncomp.randn(n, 16, 8).transpose(0, 1)
    for made in (x.contiguous(), x.clone(), x.reshape(x.shape).contiguous()):
        assert made.is_contiguous() and made.view(-1).shape == (n * 128,)
        assert (made == x).all()


def test_dlpack_shares_memory_both_ways():
    x = nncomp.arange(6.0).reshape(2, 3)
    view = np.from_dlpack(x)
    x[0, 0] = 7
    assert view[0, 0] == 7 and x.__dlpack_device__() == (1, 0)
    torch = pytest.importorskip("torch")
    theirs = torch.from_dlpack(x)
    theirs[1, 2] = 9
    assert x[1, 2].item() == 9
    assert nncomp.from_dlpack(torch.ones(2, 3)).shape == (2, 3)
    with pytest.raises(RuntimeError, match="requires grad"):
        np.from_dlpack(x.clone().requires_grad_())
