"""Tensors in GPU memory, on the PTX interpreter: moves, ops, calls, training, exchange."""

from __future__ import annotations

import copy
import ctypes

import numpy as np
import pytest

import nncomp
from nncomp import nn
from nncomp.cuda.memory import CudaArray
from nncomp.dlpack import described
from nncomp.trace_error import TraceError

MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0"


@pytest.fixture(autouse=True)
def simulator(monkeypatch):
    apply_op = nncomp.Tensor.__dict__["apply_op"]
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "simulator")
    yield
    nncomp.Tensor.apply_op = apply_op


def close(x, expected):
    assert x.device.type == "cuda" and expected.device.type == "cpu"
    np.testing.assert_allclose(x.detach().cpu().numpy(), expected.detach().numpy(), 1e-5, 1e-6)


def small():
    nncomp.manual_seed(0)
    x = nncomp.randn(4, 3)
    return x, x.cuda(), nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


def test_without_a_device_a_move_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "none")
    assert not nncomp.cuda.is_available() and nncomp.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="NNCOMP_PTX_DEVICE is 'none'"):
        nncomp.zeros(2).cuda()
    with pytest.raises(RuntimeError, match="NNCOMP_PTX_DEVICE is 'none'"):
        nncomp.zeros(2, device="cuda")


def test_moves():
    x = nncomp.arange(6).reshape(2, 3)
    y = x.to("cuda")
    assert nncomp.cuda.is_available() and y.is_cuda and y.cuda() is y
    assert str(y.device) == "cuda:0" and y.dtype is x.dtype and y.stride() == (3, 1)
    assert y.cpu().tolist() == x.tolist() == y.tolist() and y[1, 2].item() == 5
    assert y.to(x).device == x.device and str(x.to(y).device) == "cuda:0"
    assert y.to("cuda", nncomp.float32).dtype is nncomp.float32
    x[0, 0] = 9
    assert y.tolist()[0][0] == 0  # memory of its own
    with pytest.raises(RuntimeError, match="not on 'cuda:1'"):
        x.to("cuda:1")
    with pytest.raises(TypeError, match="Use Tensor.cpu\\(\\) to copy"):
        y.numpy()


def test_ops_and_gradients_agree_with_the_cpu():
    x, y, _ = small()
    x.requires_grad_()
    y.requires_grad_()

    def compute(v):
        return (v.t() @ v).softmax(-1).sum(0) + nncomp.cat([v, v * 2]).mean(0) - 1.5

    a, b = compute(x), compute(y)
    close(b, a)
    a.sum().backward()
    b.sum().backward()
    close(y.grad, x.grad)


def test_gradients_flow_through_moves():
    x = nncomp.ones(3, requires_grad=True)
    (x.cuda() * 3).cpu().sum().backward()
    assert x.grad.tolist() == [3.0] * 3 and x.grad.device.type == "cpu"


def test_devices_must_agree():
    x, y, net = small()
    with pytest.raises(RuntimeError, match=MIXED):
        y + x
    with pytest.raises(RuntimeError, match=MIXED):
        y + nncomp.ones(4, 3)  # a constant, but the user's
    with pytest.raises(RuntimeError, match=MIXED):
        nncomp.compile(net)(y)
    close(y + nncomp.tensor(2.0), x + 2)  # numbers without a shape go with everything


def test_new_tensors():
    y = nncomp.zeros(2, 2, device="cuda")
    made = [nncomp.ones_like(y), y.new_full((2,), 3.0), nncomp.arange(3, device="cuda"),
            nncomp.tensor([1.0, 2.0], device="cuda"), nncomp.rand(2, device="cuda"),
            nncomp.randn_like(y)]  # fmt: skip
    assert all(x.is_cuda for x in made) and not nncomp.zeros_like(y, device="cpu").is_cuda
    assert made[2].tolist() == [0, 1, 2] and made[1].tolist() == [3.0, 3.0]


def test_writes_in_place_and_views():
    y = nncomp.zeros(2, 2, device="cuda")
    y.add_(1).view(-1).mul_(2)  # a reshape shares memory
    assert y.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    row = y[0]
    with pytest.raises(RuntimeError, match="a copy where torch has a view"):
        row.add_(1)
    with pytest.raises(RuntimeError, match="views of this tensor exist"):
        y.add_(1)
    del row
    y.add_(1)
    assert y.sum().item() == 12.0
    z = nncomp.zeros(2, 2)
    with pytest.raises(RuntimeError, match="cannot be written in place with one on cuda"):
        z.copy_(y)


def test_compiled_calls_stay_on_the_device():
    x, y, net = small()
    compiled = nncomp.compile(net)
    with nncomp.no_grad():
        expected = compiled(x)
        net.cuda()
        for _ in range(3):
            close(compiled(y), expected)
        result = compiled(y)
        assert result._data.__class__ is CudaArray
        close(net(y), expected)  # eager
        net[0].bias.add_(1)
        changed = compiled(y).cpu()
        assert not np.allclose(changed.numpy(), expected.numpy())
        net.cpu()
        np.testing.assert_allclose(compiled(x).numpy(), changed.numpy(), 1e-5, 1e-6)


def test_a_native_entry_does_not_take_tensors_of_the_gpu():
    x, y, net = small()
    compiled = nncomp.compile(net)
    with nncomp.no_grad():
        for _ in range(40):
            compiled(x)
        with pytest.raises(RuntimeError, match=MIXED):
            compiled(y)


def test_gradients_of_a_compiled_module():
    x, y, net = small()
    there = copy.deepcopy(net).cuda()
    net(x).square().sum().backward()
    nncomp.compile(there)(y).square().sum().backward()
    for p, q in zip(net.parameters(), there.parameters(), strict=True):
        close(q.grad, p.grad)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_training(compiled):
    x, y, net = small()
    there, target = copy.deepcopy(net).cuda(), nncomp.tensor([0, 1, 1, 0])

    def train(model, data, target):
        optimizer = nncomp.optim.Adam(model.parameters(), lr=0.05)
        loss_fn = nn.functional.cross_entropy
        if compiled:
            step = nncomp.compile_train_step(model, loss_fn, optimizer)
            return [step(data, target) for _ in range(3)]
        losses = []
        for _ in range(3):
            losses.append(loss_fn(model(data), target))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        return losses

    losses = train(there, y, target.cuda())
    for a, b in zip(losses, train(net, x, target), strict=True):
        close(a, b)
    for p, q in zip(net.parameters(), there.parameters(), strict=True):
        close(q, p)


def test_moves_inside_of_a_graph():
    _, y, _ = small()
    same = nncomp.compile(lambda v: v + nncomp.ones(3, device=v.device).to("cuda"))
    assert same(y).is_cuda
    with pytest.raises(TraceError, match="a move to 'cpu' cannot be part of a graph"):
        nncomp.compile(lambda v: v.cpu() + 1)(y)


def test_exchange_of_memory():
    y = nncomp.zeros(2, 3, device="cuda")

    class Foreign:
        __cuda_array_interface__ = y.__cuda_array_interface__
        keeps = y

    for read in (nncomp.as_tensor, nncomp.from_dlpack):
        shared = read(Foreign())
        shared.add_(1)
        assert shared.device == y.device
    assert y.tolist() == [[2.0] * 3] * 2
    assert y.__dlpack_device__() == (2, 0)
    assert not hasattr(nncomp.zeros(2), "__cuda_array_interface__")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_dlpack_capsules_share_gpu_memory(dtype):
    y = nncomp.arange(6).reshape(2, 3).to(getattr(nncomp, dtype)).cuda()
    shared = nncomp.from_dlpack(y.__dlpack__(stream=1, max_version=(1, 0)))
    assert (shared.device, shared.dtype, shared.tolist()) == (y.device, y.dtype, y.tolist())
    shared.zero_()
    assert not y.cpu().any()
    del y  # the capsule keeps the memory
    assert shared.add(1).cpu().to(nncomp.int64).tolist() == [[1] * 3] * 2


def test_dlpack_capsules_that_do_not_fit():
    y = nncomp.ones(2, device="cuda")
    with pytest.raises(BufferError, match="copies nothing"):
        y.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="copies nothing"):
        y.__dlpack__(dl_device=(1, 0))
    capsule = y.__dlpack__()
    described(capsule)[0].lanes = 4
    with pytest.raises(TypeError, match="4 lanes"):
        nncomp.from_dlpack(capsule)
    capsule = nncomp.ones(2, 3, device="cuda").__dlpack__()
    (ctypes.c_int64 * 2).from_address(described(capsule)[0].strides)[0] = 7
    with pytest.raises(BufferError, match="not contiguous"):
        nncomp.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad_().__dlpack__()


def test_memory_is_given_back():
    from nncomp.backends.ptx.device import get_device

    y = nncomp.zeros(8, device="cuda")
    count = len(get_device().memory.buffers)
    z = y.clone()
    y2 = y.cuda()
    del z, y2
    y.tolist()
    assert len(get_device().memory.buffers) <= count + 1  # the arena of clone()
