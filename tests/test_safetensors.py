"""safetensors files: both ways with safetensors.torch, shared memory, parts, damaged files."""

from __future__ import annotations

import io
import json
import os
import stat

import numpy as np
import pytest
import safetensors

import nncomp
from nncomp import nn
from nncomp import safetensors as st
from nncomp.file_replacement import replacing

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
          "float64")  # fmt: skip
SHAPES = ((), (0, 3), (5,), (2, 3, 4))


def tensors(m) -> dict:
    """The same tensors in either namespace, of every dtype and several shapes."""
    made = {}
    for dtype in DTYPES:
        for shape in SHAPES:
            count = int(np.prod(shape))
            flat = m.arange(count).reshape(shape) - (0 if dtype == "uint8" else 3)
            made[f"{dtype}{list(shape)}"] = flat.to(getattr(m, dtype))
    return made


def leaves(found: dict) -> dict:
    return {
        name: (repr(x.dtype), tuple(x.shape), x.double().tolist()) for name, x in found.items()
    }


class Tied(nn.Module):
    """An embedding whose weight is the output layer's too."""

    def __init__(self, m=nncomp):
        super().__init__()
        self.decoder = nn.Linear(4, 6, bias=False)
        self.embedding = nn.Embedding(6, 4)
        self.embedding.weight = self.decoder.weight
        self.norm = nn.BatchNorm1d(4)


def test_round_trip_of_every_dtype(tmp_path):
    path = tmp_path / "x.safetensors"
    st.save_file(tensors(nncomp), path, {"format": "pt", "note": "größe"})
    assert leaves(st.load_file(path)) == leaves(tensors(nncomp)) == leaves(nncomp.load(path))
    assert leaves(st.load(path.read_bytes())) == leaves(tensors(nncomp))
    assert leaves(st.load(st.save(tensors(nncomp)))) == leaves(tensors(nncomp))
    with st.safe_open(path, framework="pt", device="cpu") as file:
        assert file.metadata() == {"format": "pt", "note": "größe"}
        assert sorted(file.keys()) == sorted(file.offset_keys()) == sorted(tensors(nncomp))
        for dtype in DTYPES:
            part = file.get_slice(f"{dtype}[2, 3, 4]")
            whole = tensors(nncomp)[f"{dtype}[2, 3, 4]"]
            assert part.get_shape() == [2, 3, 4] and part.get_dtype() in st.CODES
            assert part[1].tolist() == whole[1].tolist() and part[0].dtype is whole.dtype
            assert part[:, 1:, 2].tolist() == whole[:, 1:, 2].tolist()


def test_loaded_tensors_can_be_changed(tmp_path):
    nncomp.save({"w": nncomp.ones(3, dtype=nncomp.bfloat16)}, tmp_path / "x.safetensors")
    for found in (nncomp.load(tmp_path / "x.safetensors"),
                  st.load((tmp_path / "x.safetensors").read_bytes())):  # fmt: skip
        found["w"][1] = 5
        assert found["w"].tolist() == [1, 5, 1]
    assert nncomp.load(tmp_path / "x.safetensors")["w"].tolist() == [1, 1, 1]


def test_the_suffix_chooses_when_saving_and_the_content_when_loading(tmp_path):
    state = nn.Linear(2, 3).state_dict()
    nncomp.save(state, str(tmp_path / "a.safetensors"))
    os.rename(tmp_path / "a.safetensors", tmp_path / "a.bin")
    assert leaves(nncomp.load(tmp_path / "a.bin")) == leaves(state)
    assert leaves(nncomp.load(io.BytesIO((tmp_path / "a.bin").read_bytes()))) == leaves(state)
    nncomp.save(state, tmp_path / "b.pt")
    os.rename(tmp_path / "b.pt", tmp_path / "b.safetensors")
    assert leaves(nncomp.load(tmp_path / "b.safetensors")) == leaves(state)
    nncomp.save(state, os.fsencode(tmp_path / "c.safetensors"))
    assert leaves(nncomp.load(os.fsencode(tmp_path / "c.safetensors"))) == leaves(state)


def test_every_length_of_header_is_recognized():
    """The first byte of the length may look like the start of a pickle (0x80)."""
    firsts = set()
    for length in range(300):
        data = st.save({"w": nncomp.ones(1)}, {"n": "x" * length})
        firsts.add(data[0])
        assert nncomp.load(io.BytesIO(data))["w"].tolist() == [1]
    assert 0x80 in firsts


def test_both_ways_with_safetensors_torch(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    st.save_file(tensors(nncomp), tmp_path / "ours.safetensors", {"a": "b"})
    assert leaves(theirs.load_file(tmp_path / "ours.safetensors")) == leaves(tensors(torch))
    theirs.save_file(tensors(torch), tmp_path / "theirs.safetensors", {"a": "b"})
    assert leaves(nncomp.load(tmp_path / "theirs.safetensors")) == leaves(tensors(nncomp))
    ours = (tmp_path / "ours.safetensors").read_bytes()
    assert ours == (tmp_path / "theirs.safetensors").read_bytes()

    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    theirs.save_model(net, tmp_path / "net.safetensors")
    mine = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert st.load_model(mine, tmp_path / "net.safetensors") == ([], [])
    assert leaves(mine.state_dict()) == leaves(net.state_dict())


def test_models_with_tied_parameters(tmp_path):
    path, model = tmp_path / "tied.safetensors", Tied()
    with pytest.raises(RuntimeError, match=r"share memory.*decoder.weight.*embedding.weight"):
        nncomp.save(model.state_dict(), path)
    st.save_model(model, path, {"by": "me"})
    with st.safe_open(path) as file:
        assert file.metadata() == {"by": "me", "embedding.weight": "decoder.weight"}
        assert "embedding.weight" not in file.keys()
    other = Tied()
    assert st.load_model(other, path) == ([], [])
    assert leaves(other.state_dict()) == leaves(model.state_dict())
    assert other.embedding.weight is other.decoder.weight


def test_torch_reads_tied_parameters_and_we_theirs(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")

    def net(m):
        made = m.nn.ModuleDict({"z": m.nn.Linear(4, 6, bias=False), "a": m.nn.Embedding(6, 4)})
        made["a"].weight = made["z"].weight
        return made

    ours, other = net(nncomp), net(torch)
    st.save_model(ours, tmp_path / "ours.safetensors")
    assert theirs.load_model(other, tmp_path / "ours.safetensors") == (set(), [])
    assert leaves(other.state_dict()) == leaves(ours.state_dict())
    torch.nn.init.ones_(other["z"].weight)
    theirs.save_model(other, tmp_path / "theirs.safetensors")
    assert st.load_model(ours, tmp_path / "theirs.safetensors") == ([], [])
    assert ours["a"].weight.sum() == 24
    with st.safe_open(tmp_path / "theirs.safetensors") as file:
        assert file.metadata() == {"z.weight": "a.weight"}
    # A file that kept the other name is read too.
    st.save_file({"z.weight": nncomp.zeros(6, 4)}, tmp_path / "z.safetensors")
    assert st.load_model(ours, tmp_path / "z.safetensors") == ([], [])
    assert ours["a"].weight.sum() == 0


def test_load_model_names_what_does_not_fit(tmp_path):
    path = tmp_path / "x.safetensors"
    st.save_file({"weight": nncomp.ones(3, 2), "more": nncomp.ones(1)}, path)
    layer = nn.Linear(2, 3)
    with pytest.raises(RuntimeError, match='Missing.*"bias"\n.*Unexpected.*"more"'):
        st.load_model(layer, path)
    assert st.load_model(layer, path, strict=False) == (["bias"], ["more"])
    assert layer.weight.sum() == 6
    with pytest.raises(RuntimeError, match="size mismatch|shape"):
        st.load_model(nn.Linear(3, 3), path, strict=False)


def test_parts_of_memory(tmp_path):
    """Disjoint parts of one tensor may be saved; overlapping ones need one that covers all."""
    base = nncomp.arange(12.0)
    st.save_file({"a": base[:6], "b": base[6:]}, tmp_path / "x.safetensors")
    assert st.load_file(tmp_path / "x.safetensors")["b"].tolist() == list(range(6, 12))
    with pytest.raises(RuntimeError, match="share memory"):
        st.save({"a": base[:7], "b": base[6:]})
    with pytest.raises(ValueError, match="'a' is not"):
        st.save({"a": base.reshape(3, 4).t()})
    model = nn.Module()
    model.register_buffer("a", base[:7])
    model.register_buffer("b", base[5:])
    with pytest.raises(RuntimeError, match=r"none covers all.*'a', 'b'"):
        st.save_model(model, tmp_path / "y.safetensors")
    model.register_buffer("c", base)
    st.save_model(model, tmp_path / "y.safetensors")
    with st.safe_open(tmp_path / "y.safetensors") as file:
        assert file.keys() == ["c"] and file.metadata() == {"a": "c", "b": "c"}
    turned = nn.Module()
    turned.register_buffer("t", base.reshape(3, 4).t())
    st.save_model(turned, tmp_path / "t.safetensors")
    assert st.load_file(tmp_path / "t.safetensors")["t"].tolist() == turned.t.tolist()
    with pytest.raises(ValueError, match="'t' is not"):
        st.save_model(turned, tmp_path / "t.safetensors", force_contiguous=False)


def test_results_that_only_borrow_memory_are_independent(tmp_path):
    """Eager operations may look into their operand's memory until somebody writes."""
    x = nncomp.randn(64, 64)
    state = {"x": x, "flipped": nncomp.flip(x, (0, 1)), "part": nn.functional.pad(x, (-32, 0))}
    assert all(state[name]._borrowed is not None for name in ("flipped", "part"))
    for name in ("s.safetensors", "s.pt"):
        nncomp.save(state, tmp_path / name)
        found = nncomp.load(tmp_path / name)
        assert leaves(found) == leaves(state)
        found["x"].zero_()
        assert leaves(found) == leaves({**state, "x": nncomp.zeros(64, 64)})


@pytest.mark.parametrize(
    ("obj", "error", "match"),
    [
        ([nncomp.ones(1)], ValueError, "dict of names and tensors, got list"),
        ({"a": 1}, ValueError, "'a' is a int"),
        ({"a": {"b": nncomp.ones(1)}}, ValueError, "'a' is a dict"),
        ({1: nncomp.ones(1)}, ValueError, "name must be a string"),
        ({"__metadata__": nncomp.ones(1)}, ValueError, "__metadata__"),
    ],
)
def test_what_a_file_cannot_hold(obj, error, match, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(error, match=match):
        nncomp.save(obj, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.safetensors"]


def test_metadata_are_strings():
    with pytest.raises(TypeError, match="strings, got 'a': 1"):
        st.save({}, {"a": 1})
    assert st.load(st.save({})) == {}


def test_a_failing_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    st.save_file({"w": nncomp.ones(2)}, path)

    def full(specs, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half")
        raise safetensors.SafetensorError("I/O error: no space left")

    monkeypatch.setattr(st, "serialize_file", full)
    with pytest.raises(RuntimeError, match="not written: I/O error"):
        st.save_file({"w": nncomp.zeros(2)}, path)
    assert nncomp.load(path)["w"].tolist() == [1, 1]
    assert os.listdir(tmp_path) == ["x.safetensors"]
    with pytest.raises(FileNotFoundError):
        st.save_file({"w": nncomp.zeros(2)}, tmp_path / "none" / "x.safetensors")


def test_permissions_and_links_are_kept(tmp_path):
    os.umask(old := os.umask(0))
    path, link = tmp_path / "x.safetensors", tmp_path / "link.safetensors"
    st.save_file({"w": nncomp.ones(2)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~old
    path.chmod(0o640)
    link.symlink_to(path)
    st.save_file({"w": nncomp.zeros(2)}, link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and link.is_symlink()
    assert nncomp.load(path)["w"].tolist() == [0, 0]


def test_replacing_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(str(tmp_path / "a")) as name:
        open(name, "w").close()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_every_truncation_is_an_error(tmp_path):
    path = tmp_path / "x.safetensors"
    whole = st.save({"w": nncomp.arange(20.0), "v": nncomp.ones(3)}, {"a": "b"})
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        for read in (st.load_file, nncomp.load):
            with pytest.raises(RuntimeError, match="x.safetensors.*cut off or damaged"):
                read(path)
        with pytest.raises(RuntimeError, match="cut off or damaged"):
            st.load(whole[:length])
    with pytest.raises(RuntimeError, match="damaged"):
        st.load(whole + b"x")


def test_every_changed_byte_is_harmless(tmp_path):
    """A flipped byte is noticed or gives other data, never another kind of failure."""
    whole = st.save({"w": nncomp.arange(6.0), "v": nncomp.ones(3)}, {"a": "b"})
    path, errors = tmp_path / "x.safetensors", 0
    for at in range(len(whole)):
        for flip in (0x01, 0xFF):
            changed = bytearray(whole)
            changed[at] ^= flip
            path.write_bytes(bytes(changed))
            try:
                assert all(x.numel() < 100 for x in nncomp.load(path).values())
            except (RuntimeError, TypeError):
                errors += 1
    assert errors > len(whole)


def handmade(entries: dict, data: bytes) -> bytes:
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data


def test_other_dtypes_and_names_get_a_sentence(tmp_path):
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    data = handmade({"w": entry}, b"\0\0")
    with pytest.raises(TypeError, match="'w' of the safetensors data has the dtype F8_E4M3"):
        st.load(data)
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(TypeError, match="'w' of '.*x.safetensors' has the dtype F8_E4M3"):
        nncomp.load(path)
    with st.safe_open(path) as file, pytest.raises(KeyError, match="no tensor 'v'"):
        file.get_tensor("v")
    with pytest.raises(FileNotFoundError):
        st.load_file(tmp_path / "none.safetensors")
    with pytest.raises(IsADirectoryError):
        st.load_file(tmp_path)
    with pytest.raises(RuntimeError, match="CPU"):
        st.load_file(path, device="cuda")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**63]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
    ],
)
def test_headers_that_lie(entry):
    with pytest.raises(RuntimeError, match="damaged"):
        st.load(handmade({"w": entry}, b"\0\0\0\0"))
