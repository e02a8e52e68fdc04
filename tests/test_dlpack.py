"""DLPack: memory shared with torch and numpy both ways, bfloat16 and its lifetime included."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import nncomp
from nncomp.dlpack import described
from nncomp.utils import dlpack

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64")  # fmt: skip


class OfDevice:
    """An exporter of another device."""

    def __dlpack__(self, **options):
        capsule = nncomp.ones(1).__dlpack__(**options)
        described(capsule)[0].device_type = 2
        return capsule

    def __dlpack_device__(self):
        return 2, 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_is_shared_both_ways(dtype):
    torch = pytest.importorskip("torch")
    ours = nncomp.zeros(2, 3, dtype=getattr(nncomp, dtype))
    for theirs in (
        torch.from_dlpack(ours),
        torch.utils.dlpack.from_dlpack(dlpack.to_dlpack(ours)),
        torch.utils.dlpack.from_dlpack(nncomp.to_dlpack(ours)),
        torch.from_dlpack(ours.t()).t(),
    ):
        assert theirs.dtype is getattr(torch, dtype) and theirs.shape == (2, 3)
        ours.fill_(0)
        theirs[1, 0] = 1
        assert ours.tolist() == [[0, 0, 0], [1, 0, 0]]
    base = torch.zeros(2, 3, dtype=getattr(torch, dtype))
    for mine in (
        nncomp.from_dlpack(base),
        nncomp.from_dlpack(torch.utils.dlpack.to_dlpack(base)),
        dlpack.from_dlpack(base.t()).t(),
    ):
        assert mine.dtype is getattr(nncomp, dtype) and mine.shape == (2, 3)
        base.fill_(0)
        mine[0, 2] = 1
        assert base.tolist() == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (4, 1)])
def test_shapes_of_bfloat16(shape):
    made = nncomp.from_dlpack(nncomp.ones(shape, dtype=nncomp.bfloat16))
    assert made.dtype is nncomp.bfloat16 and made.shape == shape and (made == 1).all()
    torch = pytest.importorskip("torch")
    assert torch.from_dlpack(made).shape == shape
    assert nncomp.from_dlpack(torch.ones(shape).bfloat16()).shape == shape


def test_values_of_bfloat16_are_kept():
    torch = pytest.importorskip("torch")
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    theirs = bits.view(torch.bfloat16)
    ours = nncomp.from_dlpack(theirs)
    assert (ours.numpy().view(np.int16) == bits.numpy()).all()
    assert torch.equal(torch.from_dlpack(ours).view(torch.int16), bits)


def test_versioned_capsules_are_read():
    x = nncomp.ones(2, dtype=nncomp.bfloat16)
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("numpy makes no versioned capsules")
    capsule = x.__dlpack__(max_version=(1, 0))
    assert "dltensor_versioned" in repr(capsule)
    made = nncomp.from_dlpack(capsule)
    made[0] = 3
    assert x.tolist() == [3, 1]
    copied = nncomp.from_dlpack(x, copy=True)
    copied[0] = 4
    assert x.tolist() == [3, 1]


def test_memory_lives_as_long_as_it_is_used():
    array = np.zeros(1000, nncomp.bfloat16.numpy)
    alive = weakref.ref(array)
    x = nncomp.from_numpy(array)
    made = nncomp.from_dlpack(nncomp.to_dlpack(x))
    del array, x
    gc.collect()
    made[5] = 2
    assert alive() is not None and made.sum() == 2
    capsule = nncomp.to_dlpack(made)
    del made
    gc.collect()
    assert alive() is not None
    del capsule  # never used
    gc.collect()
    assert alive() is None


def test_memory_lives_as_long_as_torch_uses_it():
    torch = pytest.importorskip("torch")
    array = np.zeros(1000, nncomp.bfloat16.numpy)
    alive = weakref.ref(array)
    theirs = torch.from_dlpack(nncomp.from_numpy(array))
    del array
    gc.collect()
    theirs[3] = 7
    assert alive() is not None and theirs.sum() == 7
    del theirs
    gc.collect()
    assert alive() is None
    base = torch.ones(1000, dtype=torch.bfloat16)
    mine = nncomp.from_dlpack(base)
    del base
    gc.collect()
    assert mine.sum() == 1000


def test_what_cannot_be_exchanged():
    for bad in (3, [1.0], object()):
        with pytest.raises(TypeError, match="needs a DLPack capsule or an object"):
            nncomp.from_dlpack(bad)
    capsule = nncomp.to_dlpack(nncomp.ones(2))
    nncomp.from_dlpack(capsule)
    with pytest.raises(BufferError, match="not used before"):
        nncomp.from_dlpack(capsule)
    with pytest.raises(TypeError, match="complex"):
        nncomp.from_dlpack(np.zeros(2, complex))
    with pytest.raises((RuntimeError, BufferError), match="(?i)device"):
        nncomp.from_dlpack(OfDevice())
    with pytest.raises(RuntimeError, match="CPU"):
        nncomp.from_dlpack(np.zeros(2), device="cuda")
    with pytest.raises(RuntimeError, match="requires grad"):
        nncomp.to_dlpack(nncomp.ones(2, dtype=nncomp.bfloat16, requires_grad=True))
    fixed = np.arange(3)
    fixed.flags.writeable = False
    nncomp.from_dlpack(fixed)[0] = 5
    assert fixed[0] == 0
    with pytest.raises(BufferError):
        nncomp.from_dlpack(fixed, copy=False)
