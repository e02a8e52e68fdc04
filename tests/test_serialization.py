"""save and load: against torch in both directions, shared memory, refused and damaged files."""

from __future__ import annotations

import collections
import io
import os
import pickle
import stat
import zipfile

import numpy as np
import pytest

import nncomp
from nncomp.pickle_reader import PickleReader

torch = pytest.importorskip("torch")

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64")  # fmt: skip


def content(m) -> dict:
    """The same nested object in either namespace."""
    base = m.arange(12).reshape(3, 4).float()
    state = collections.OrderedDict(weight=base, part=base[1:, ::2], turned=base.t())
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return {
        "state": state,
        "dtypes": {name: m.ones(2, 3, dtype=getattr(m, name)) for name in DTYPES},
        "numbers": [0, 1, -1, 255, 256, 2**31, -(2**40), 2**70, 1.5, float("inf"), True, None],
        "text": ["", "weight", "größe \U0001f600", "a\nb", "weight"],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1,), [2])),
        "size": m.Size([2, 3]),
        "dtype": m.bfloat16,
        "device": m.device("cpu"),
        "scalar": m.tensor(3.5),
        "empty": m.zeros(0, 3),
        "grad": m.ones(2, requires_grad=True),
        "expanded": m.ones(1, 3).expand(4, 3),
        "set": {1, "a"},
        "bytes": b"\x00\xff",
        "long": list(range(2500)),
        "many": {str(i): i for i in range(1500)},
        7: {"int": "key"},
    }


def flatten(obj, path="") -> dict:
    """Paths and comparable descriptions of all leaves."""
    if hasattr(obj, "detach"):
        kind = type(obj).__name__
        values = obj.detach().double().tolist()
        return {path: (kind, repr(obj.dtype), tuple(obj.shape), obj.requires_grad, values)}
    if isinstance(obj, dict):
        found = {f"{path}:type": type(obj).__name__}
        for key, value in obj.items():
            found.update(flatten(value, f"{path}/{key!r}"))
        return found
    if isinstance(obj, (list, tuple)):
        found = {f"{path}:type": (type(obj).__name__, len(obj))}
        for i, value in enumerate(obj):
            found.update(flatten(value, f"{path}[{i}]"))
        return found
    return {path: sorted(map(repr, obj)) if isinstance(obj, set) else repr(obj)}


def test_torch_reads_what_we_write(tmp_path):
    path = tmp_path / "ours.pt"
    nncomp.save(content(nncomp), path)
    found = torch.load(path, weights_only=True)
    assert flatten(found) == flatten(content(torch))
    assert len(flatten(found)) > 4000
    assert found["state"]._metadata == {"": {"version": 1}}
    assert found["state"]["part"].stride() == (4, 2)
    assert found["expanded"].stride() == (0, 1)
    assert found["state"]["turned"].data_ptr() == found["state"]["weight"].data_ptr()
    mapped = torch.load(path, weights_only=True, mmap=True)
    assert flatten(mapped) == flatten(content(torch))


def test_we_read_what_torch_writes(tmp_path):
    path = tmp_path / "theirs.pt"
    torch.save(content(torch), path)
    found = nncomp.load(path)
    assert flatten(found) == flatten(content(nncomp))
    assert found["state"]._metadata == {"": {"version": 1}}
    assert found["state"]["part"].stride() == (4, 2)
    found["state"]["weight"][1, 0] = 99.0
    assert found["state"]["part"][0, 0].item() == found["state"]["turned"][0, 1].item() == 99.0


@pytest.mark.parametrize("make", [lambda: io.BytesIO(), None], ids=["buffer", "path"])
def test_round_trip(make, tmp_path):
    target = make() if make else str(tmp_path / "x.pth")
    nncomp.save(content(nncomp), target)
    if make:
        target.seek(0)
    assert flatten(nncomp.load(target)) == flatten(content(nncomp))


def test_models_travel_both_ways(tmp_path):
    def net(m):
        return m.nn.Sequential(m.nn.Linear(4, 3), m.nn.BatchNorm1d(3), m.nn.Linear(3, 2))

    ours, theirs = net(nncomp), net(torch)
    nncomp.save(ours.state_dict(), tmp_path / "a.pt")
    theirs.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    y = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(
        ours(nncomp.from_numpy(x)).detach().numpy(), y.detach().numpy(), rtol=1e-4, atol=1e-5
    )
    torch.save(theirs.state_dict(), tmp_path / "b.pt")
    again = net(nncomp)
    again.load_state_dict(nncomp.load(tmp_path / "b.pt"))
    assert again[1].num_batches_tracked.item() == theirs[1].num_batches_tracked.item() == 1
    np.testing.assert_array_equal(again[2].weight.tolist(), theirs[2].weight.tolist())


def test_parameters_keep_their_class_and_identity(tmp_path):
    shared = nncomp.nn.Parameter(nncomp.ones(2))
    nncomp.save([shared, shared, nncomp.nn.Parameter(nncomp.ones(1), requires_grad=False)],
                tmp_path / "p.pt")  # fmt: skip
    a, b, c = nncomp.load(tmp_path / "p.pt")
    assert isinstance(a, nncomp.nn.Parameter) and a is b and a.requires_grad and not c.requires_grad
    d, e, f = torch.load(tmp_path / "p.pt", weights_only=True)
    assert isinstance(d, torch.nn.Parameter) and d is e and not f.requires_grad


def test_a_view_of_numpy_memory_keeps_its_elements(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = [nncomp.from_numpy(array[1:3, ::2]), nncomp.from_numpy(np.asfortranarray(array))]
    nncomp.save(views, tmp_path / "v.pt")
    for m in (nncomp, torch):
        first, second = m.load(tmp_path / "v.pt")
        assert first.tolist() == array[1:3, ::2].tolist() and second.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("obj", "where"),
    [
        ({"a": [1, object()]}, r"the object\['a'\]\[1\] of type builtins.object"),
        ([lambda: 0], r"the object\[0\] of type builtins.function"),
        (np.zeros(3), "numpy.ndarray"),
        ({1j: 2}, "a key of the object of type builtins.complex"),
    ],
)
def test_save_names_what_it_cannot_store(obj, where, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"precious")
    with pytest.raises(TypeError, match=where):
        nncomp.save(obj, path)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["x.pt"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    nncomp.save([1], path)
    before = path.read_bytes()
    path.chmod(0o640)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            nncomp.save([2], path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.pt"]
    nncomp.save([2], path)
    assert nncomp.load(path) == [2] and stat.S_IMODE(path.stat().st_mode) == 0o640


# -- files that must be refused -------------------------------------------------------------------


class Evil:
    """Runs a command when it is unpickled by a trusting reader."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def archive(pickled: bytes, **members: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("x/data.pkl", pickled)
        for name, data in members.items():
            target.writestr(f"x/{name.replace('_', '/')}", data)
    file.seek(0)
    return file


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), r"(posix|nt|os)\.system"),
        (eval, ("open('{}', 'w')",), r"(__builtin__|builtins)\.eval"),
        (getattr, (nncomp, "save"), r"(__builtin__|builtins)\.getattr"),
        (nncomp.from_numpy, (1,), r"from_numpy"),
        (collections.Counter, (), r"collections\.Counter"),
    ],
)
def test_globals_are_refused_by_name(function, arguments, name, protocol, tmp_path):
    witness = tmp_path / "ran"
    arguments = [a.format(witness) if isinstance(a, str) else a for a in arguments]
    if nncomp in arguments:
        arguments[0] = "text"
    data = pickle.dumps({"x": Evil(function, *arguments)}, protocol)
    for weights_only in (True, False, None):
        with pytest.raises(pickle.UnpicklingError, match=f"refuses the global .*{name}"):
            nncomp.load(archive(data), weights_only=weights_only)
    assert not witness.exists()


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


def tensor_pickle(offset: bytes, size: bytes, stride: bytes) -> bytes:
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE
    end = b"\x89ccollections\nOrderedDict\n)RtR."
    return head + offset + size + stride + end


def test_a_handmade_tensor_is_read():
    data = tensor_pickle(b"K\x01", b"K\x03\x85", b"K\x01\x85")
    memory = np.arange(4, dtype=np.float32).tobytes()
    assert nncomp.load(archive(data, data_0=memory)).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (b"K\x02", b"K\x03\x85", b"K\x01\x85"),  # beyond the end
        (b"K\x00", b"K\x03\x85", b"K\x02\x85"),
        (b"J\xff\xff\xff\xff", b"K\x02\x85", b"K\x01\x85"),  # negative offset
        (b"K\x03", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"),  # negative stride
        (b"K\x00", b"K\x02K\x02\x86", b"K\x01\x85"),  # two sizes, one stride
        (b"K\x00", b"X\x01\x00\x00\x00a\x85", b"K\x01\x85"),
        (b"K\x00", b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x85", b"K\x00\x85"),
    ],
)
def test_tensors_must_lie_in_their_storage(offset, size, stride):
    data = tensor_pickle(offset, size, stride)
    with pytest.raises(pickle.UnpicklingError):
        nncomp.load(archive(data, data_0=b"\0" * 16))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80\x02(K\x01K\x02u.", "damaged|misplaced"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02K\x01", "damaged|ends too early"),
        (b"\x80\x02]q\x00h\x07.", "damaged"),
        (b"", "damaged|ends too early"),
        (b"\x80\x02ctorch\nSize\n.", "function Size, not data"),
        (b"\x80\x02K\x01)R.", "calls a int"),
        (b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.", "sets attributes of a list"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.", "unexpected attr"),
        (b"\x80\x02(ctorch\nSize\nK\x01o.", "opcode OBJ"),
        (b"(S'x'\nios\nsystem\n.", "opcode INST"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "persistent id"),
        (b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.", "nested"),
        (b"\x80\x02}]K\x01s.", "damaged"),
    ],
)
def test_damaged_pickles_are_refused(data, reason):
    with pytest.raises(pickle.UnpicklingError, match=reason):
        nncomp.load(archive(data))


def test_every_truncation_of_a_file_is_an_error(tmp_path):
    file = io.BytesIO()
    nncomp.save({"w": nncomp.arange(50.0)}, file)
    whole = file.getvalue()
    for length in range(0, len(whole), 37):
        with pytest.raises((RuntimeError, pickle.UnpicklingError)):
            nncomp.load(io.BytesIO(whole[:length]))
    assert nncomp.load(io.BytesIO(whole))["w"][49].item() == 49.0


def test_every_changed_byte_is_harmless(tmp_path):
    """A flipped byte is noticed, or gives other data, but never another kind of failure."""
    file = io.BytesIO()
    nncomp.save({"w": nncomp.arange(6.0).reshape(2, 3), "n": [1, "two", 3.5]}, file)
    whole, errors = file.getvalue(), 0
    for at in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        try:
            nncomp.load(io.BytesIO(bytes(changed)))
        except (RuntimeError, pickle.UnpicklingError):
            errors += 1
    assert errors > 20


def test_changed_pickles_are_harmless():
    """The same for the pickle alone, which the checksum of the zip does not protect here."""
    data = pickle.dumps({"a": [1, 2.5, "x", (1, 2)], "b": {"c": None}}, 2)
    errors = 0
    for at in range(len(data)):
        for flip in (0x01, 0x20, 0xFF):
            changed = bytearray(data)
            changed[at] ^= flip
            try:
                PickleReader({}, lambda reference: reference).load(bytes(changed))
            except pickle.UnpicklingError:
                errors += 1
    assert errors > len(data) // 2


def test_other_files_get_a_sentence(tmp_path):
    (tmp_path / "text").write_bytes(b"not a checkpoint")
    with pytest.raises(RuntimeError, match="not a file that save"):
        nncomp.load(tmp_path / "text")
    (tmp_path / "old").write_bytes(pickle.dumps([1], 2))
    with pytest.raises(RuntimeError, match="bare pickle"):
        nncomp.load(tmp_path / "old")
    with zipfile.ZipFile(tmp_path / "zip", "w") as other:
        other.writestr("a.txt", "x")
    with pytest.raises(RuntimeError, match="without data.pkl"):
        nncomp.load(tmp_path / "zip")
    with pytest.raises(FileNotFoundError):
        nncomp.load(tmp_path / "none")
    with pytest.raises(RuntimeError, match="no part 'data/0'"):
        nncomp.load(archive(tensor_pickle(b"K\x00", b"K\x03\x85", b"K\x01\x85")))
    with pytest.raises(RuntimeError, match="CPU"):
        nncomp.load(archive(b"\x80\x02]."), map_location="cuda")
    assert nncomp.load(archive(b"\x80\x02]."), map_location="cpu") == []
    with pytest.raises(TypeError, match="unexpected keyword"):
        nncomp.save([1], io.BytesIO(), compress=True)
