"""load: inputs, control flow, weights; files that are damaged, hostile, or beyond what exists here.
"""

from __future__ import annotations

import copy
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")

import nncomp  # noqa: E402
from nncomp import nn  # noqa: E402
from nncomp.onnx import OnnxLoadError, OnnxRunError, export, load  # noqa: E402

helper, TensorProto = onnx.helper, onnx.TensorProto


def model_of(text: str):
    """A ModelProto from ONNX's text form, without its header."""
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> agraph {text}')


def weight(model, name, array) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))


def scaled(array=(1.0, 2.0, 3.0), dtype=np.float32):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> agraph (float[N, 3] x) => (float[N, 3] y) '
        "<float[3] w = {0, 0, 0}> { y = Mul(x, w) }"
    )
    del model.graph.initializer[:]
    weight(model, "w", np.asarray(array, dtype))
    return model


# -- calls ----------------------------------------------------------------------------------------


def test_inputs_by_order_and_by_name():
    model = load(model_of("(float[2] a, float[2] b) => (float[2] y) { y = Sub(a, b) }"))
    a, b = nncomp.tensor([5.0, 6.0]), nncomp.tensor([1.0, 2.0])
    for y in (model(a, b), model(a, b=b), model(b=b, a=a)):
        assert y.tolist() == [4.0, 4.0]
    assert model.input_names == ("a", "b") and model.output_names == ("y",)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing: x"),
        ((nncomp.zeros(2, 3),) * 2, {}, "takes 1 inputs"),
        ((nncomp.zeros(2, 3),), {"x": nncomp.zeros(2, 3)}, "twice: x"),
        ((nncomp.zeros(2, 3),), {"z": nncomp.zeros(2, 3)}, "twice: z"),
    ],
)
def test_calls_with_wrong_names_are_refused(args, kwargs, message):
    with pytest.raises(TypeError, match=message):
        load(scaled())(*args, **kwargs)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (nncomp.zeros(2, 4), r"must have the shape \(any, 3\), got \(2, 4\)"),
        (nncomp.zeros(3), r"must have the shape \(any, 3\), got \(3,\)"),
        (nncomp.zeros(2, 3, dtype=nncomp.float64), "must be float32, got float64"),
    ],
)
def test_operands_of_another_type_are_refused(x, message):
    with pytest.raises(OnnxRunError, match=message):
        load(scaled())(x)


def test_any_size_of_a_dynamic_axis_runs_and_compiles():
    model = load(scaled())
    compiled = nncomp.compile(model)
    for n in (1, 2, 5):
        assert compiled(nncomp.ones(n, 3)).tolist() == [[1.0, 2.0, 3.0]] * n


def test_shapes_that_come_from_inputs_are_static():
    text = """(float[N, 6] x) => (float[a, b] y) {
        s = Shape(x)  zero = Constant<value_ints = [0]>()  n = Gather(s, zero)
        two = Constant<value_ints = [2]>()  m = Mul(n, two)
        rest = Constant<value_ints = [-1]>()  shape = Concat<axis = 0>(m, rest)
        y = Reshape(x, shape)
    }"""
    compiled = nncomp.compile(load(model_of(text)))
    assert tuple(compiled(nncomp.randn(4, 6)).shape) == (8, 3)
    assert tuple(compiled(nncomp.randn(3, 6)).shape) == (6, 3)
    assert [n.name for n in compiled.graph.nodes] == ["reshape"]


def test_an_input_that_decides_about_shapes():
    model = load(model_of("(float[6] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }"))
    x = nncomp.arange(6.0)
    assert tuple(model(x, nncomp.tensor([2, 3])).shape) == (2, 3)
    compiled = nncomp.compile(model)
    assert tuple(compiled(x, (3, 2)).shape) == (3, 2)
    with pytest.raises(OnnxRunError, match=r"operand 1 \('s'\) must be known"):
        compiled(x, nncomp.tensor([2, 3]))


def test_errors_at_run_time_name_the_node():
    model = model_of("(float[2] a, float[3] b) => (float[3] y) { y = Add(a, b) }")
    model.graph.node[0].name = "/block/sum"
    with pytest.raises(OnnxRunError, match=r"Add \(opset 18, node '/block/sum'\)"):
        load(model)(nncomp.zeros(2), nncomp.zeros(3))


# -- control flow ---------------------------------------------------------------------------------

IF = """(float[2] x, bool c) => (float[2] y) {
    y = If(c) <
        then_branch = t () => (float[2] a) { a = Neg(x) },
        else_branch = e () => (float[2] b) { b = Exp(x) }
    >
}"""


def test_if_takes_the_branch_or_both():
    model, x = load(model_of(IF)), nncomp.tensor([1.0, 2.0], requires_grad=True)
    for run in (model, nncomp.compile(model)):
        assert run(x, nncomp.tensor(True)).tolist() == [-1.0, -2.0]
        np.testing.assert_allclose(run(x, nncomp.tensor(False)).detach(), np.exp([1.0, 2.0]), 1e-6)
    y = nncomp.compile(model)(x, nncomp.tensor(True))
    y.sum().backward()
    assert x.grad.tolist() == [-1.0, -1.0]


LOOP = """(float[2] x, int64 n) => (float[2] last, float[k, 2] all) {
    yes = Constant<value = bool {1}>()
    last, all = Loop(n, yes, x) <
        body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] u) {
            d = Identity(c)  f = Cast<to = 1>(i)  t = Add(s, f)  u = Mul(t, s)
        }
    >
}"""


def test_a_loop_of_known_length():
    model, x = load(model_of(LOOP)), nncomp.tensor([1.0, 2.0], requires_grad=True)
    for run in (model, nncomp.compile(model)):
        last, rows = run(x, 3)
        assert last.tolist() == [4.0, 5.0] and tuple(rows.shape) == (3, 2)
        x.grad = None
        last.sum().backward()
        assert x.grad.tolist() == [1.0, 1.0]
    with pytest.raises(OnnxRunError, match="Loop.*must be known"):
        nncomp.compile(model)(x, nncomp.tensor(3))


def test_a_scan_is_one_loop_of_the_graph(tmp_path):
    path = tmp_path / "model.onnx"
    lstm, x = nn.LSTM(3, 4), nncomp.randn(9, 2, 3)
    export(lstm, x, path)
    compiled = nncomp.compile(load(path))
    assert sum(n.name == "scan" for n in (compiled(x), compiled.graph)[1].nodes) == 1


# -- weights --------------------------------------------------------------------------------------


def test_names_that_are_no_attributes_get_others():
    names = ["a", "a.b", "forward", "x..y", "onnx::MatMul_7", "training.w", "a_b"]
    text = "(float[1] x) => (float[1] y) <" + ", ".join(f"float[1] w{i} = {{0}}" for i in range(7))
    model = model_of(text + "> { y = Sum(x, " + ", ".join(f"w{i}" for i in range(7)) + ") }")
    del model.graph.initializer[:]
    for i, name in enumerate(names):
        weight(model, name, np.array([2.0**i], np.float32))
        model.graph.node[0].input[i + 1] = name
    loaded = load(model)
    assert loaded(nncomp.zeros(1)).tolist() == [127.0]
    assert len(list(loaded.parameters())) == 7
    assert {"a", "onnx::MatMul_7"} <= set(loaded.state_dict())


def test_parameters_and_buffers():
    text = """(float[1, 2, 3] x) => (float[1, 2, 3] y)
        <float[2] s = {1, 2}, float[2] b = {3, 4}, float[2] m = {0, 1}, float[2] v = {1, 1},
         float f = {2}> { z = BatchNormalization(x, s, b, m, v)  y = Mul(z, f) }"""
    loaded = load(model_of(text))
    assert {n for n, _ in loaded.named_parameters()} == {"s", "b"}
    assert {n for n, _ in loaded.named_buffers()} == {"m", "v", "f"}


def test_padding_by_a_value_that_is_not_known():
    text = """(float[2] x, float v) => (float[5] y) {
        w = Constant<value_ints = [1, 2]>()  y = Pad(x, w, v)
    }"""
    model, x, v = load(model_of(text)), nncomp.ones(2), nncomp.tensor(7.0, requires_grad=True)
    for run in (model, nncomp.compile(model)):
        assert run(x, v).tolist() == [7.0, 1.0, 1.0, 7.0, 7.0]
    nncomp.compile(model)(x, v).sum().backward()
    assert v.grad.item() == 3.0


def test_a_loaded_model_follows_its_weights():
    model = load(scaled())
    compiled, x = nncomp.compile(model), nncomp.ones(1, 3)
    compiled(x)
    model.load_state_dict({"w": nncomp.tensor([4.0, 5.0, 6.0])})
    assert compiled(x).tolist() == model(x).tolist() == [[4.0, 5.0, 6.0]]
    other = copy.deepcopy(model)
    with nncomp.no_grad():
        other.w.zero_()
    assert model(x).sum() > 0 and other(x).sum() == 0


def test_a_loaded_model_does_not_keep_the_file(tmp_path):
    """Nothing of the protobuf message stays, so that weights are in memory once."""
    model, seen = load(scaled()), set()
    pending = [model._program]
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, (str, bytes, np.ndarray)):
            continue
        seen.add(id(value))
        assert "google" not in type(value).__module__ and "onnx_ml" not in type(value).__module__
        pending += list(getattr(value, "__dict__", {}).values())
        if isinstance(value, dict):
            pending += [*value, *value.values()]
        elif isinstance(value, (list, tuple, set)):
            pending += list(value)
    assert len(seen) > 10


def test_large_constants_are_buffers():
    table = np.arange(2000, dtype=np.float32)
    model = model_of("(float[2000] x) => (float[2000] y) { y = Add(x, t) }")
    node = helper.make_node("Constant", [], ["t"], value=onnx.numpy_helper.from_array(table))
    model.graph.node.insert(0, node)
    loaded = load(model)
    assert [n for n, _ in loaded.named_buffers()] == ["t"] and not list(loaded.parameters())
    assert (loaded(nncomp.zeros(2000)).numpy() == table).all()


def test_a_loaded_model_can_be_saved():
    model, file = load(scaled()), io.BytesIO()
    nncomp.save(model.state_dict(), file)
    file.seek(0)
    again = load(scaled((0.0, 0.0, 0.0)))
    again.load_state_dict(nncomp.load(file))
    assert again(nncomp.ones(1, 3)).tolist() == [[1.0, 2.0, 3.0]]


def quantized(kind, values, operator="DequantizeLinear"):
    """A model that scales stored numbers of a small type, two blocks of 3 in each row."""
    w = helper.make_tensor("w", kind, [2, 6], values)
    scale = onnx.numpy_helper.from_array(np.array([[0.5, 2.0], [1.0, 4.0]], np.float32), "s")
    nodes = [
        helper.make_node("Identity", ["w"], ["v"]),
        helper.make_node(operator, ["v", "s"], ["d"], axis=1, block_size=3),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    io_ = [helper.make_tensor_value_info(n, 1, [None, m]) for n, m in (("x", 2), ("y", 6))]
    graph = helper.make_graph(nodes, "small", io_[:1], io_[1:], [w, scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("INT4", [-8, -7, -1, 0, 1, 7, 2, -2, 3, -3, 4, -4]),
        ("UINT4", list(range(4, 16))),
        ("INT2", [-2, -1, 0, 1] * 3),
        ("UINT2", [0, 1, 2, 3] * 3),
        ("FLOAT8E4M3FN", [0.5, -448.0, 1.75, 0.0, 2.0, -3.5, 16.0, 0.125, 5.0, 6.0, 7.0, 8.0]),
        ("FLOAT8E5M2", [0.5, -448.0, 1.75, 0.0, 2.0, -3.5, 16.0, 0.125, 5.0, 6.0, 7.0, 8.0]),
    ],
)
def test_weights_of_small_types_are_widened(kind, values):
    number = getattr(TensorProto, kind)
    model = load(quantized(number, values))
    scales = np.repeat(np.array([[0.5, 2.0], [1.0, 4.0]]), 3, axis=1)
    expected = np.array(values).reshape(2, 6) * scales
    for run in (model, nncomp.compile(model)):
        assert run(nncomp.eye(2)).tolist() == expected.tolist()


def test_small_types_do_not_take_part_in_arithmetic():
    model = quantized(TensorProto.INT4, [1] * 12)
    model.graph.node[1].op_type = "Mul"
    del model.graph.node[1].attribute[:]
    with pytest.raises(OnnxLoadError, match="reads 'v' of type INT4; values of this type can only"):
        load(model)


# -- files that cannot be loaded ------------------------------------------------------------------


def test_unknown_operators_are_all_named():
    model = model_of(
        "(float[2] x) => (float[2] y) { a = NoSuchThing(x)  b = com.acme.Fancy(a)  y = Neg(b) }"
    )
    model.opset_import.append(helper.make_opsetid("com.acme", 3))
    model.graph.node[1].name = "second"
    pattern = r"NoSuchThing \(opset 18, node 'a'\); Fancy of com.acme \(opset 3, node 'second'\)"
    with pytest.raises(OnnxLoadError, match=pattern):
        load(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(float[2] x) => (float[2] y) { y = Add(x, z) }", "reads 'z', which nothing"),
        ("(float[2] x) => (float[2] y) { y = Neg(x)  y = Abs(x) }", "computes 'y', which is there"),
        ("(float[2] x) => (float[2] y) { z = Neg(x) }", "output 'y' .* is never computed"),
        ("(float[2] x) => (float[2] y) { y = com.acme.Neg(x) }", "imports no version"),
    ],
)
def test_graphs_that_do_not_hold_together(text, message):
    with pytest.raises(OnnxLoadError, match=message):
        load(model_of(text))


def damaged(change):
    model = scaled()
    change(model.graph.initializer[0])
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.dims.__setitem__(0, 4), "needs 16 bytes, got 12"),
        (lambda t: t.dims.__setitem__(0, -3), "sizes cannot be negative"),
        (lambda t: t.dims.__setitem__(0, 2**62), "needs .* bytes, got 12"),
        (lambda t: setattr(t, "data_type", 8), "STRING has no counterpart here"),
        (lambda t: setattr(t, "data_type", 99), "99 has no counterpart here"),
        (lambda t: t.ClearField("raw_data"), "needs 3 numbers, got 0"),
    ],
)
def test_weights_that_are_not_what_they_say(change, message):
    with pytest.raises(OnnxLoadError, match=message):
        load(damaged(change))


def outside(location, offset="0", length="12"):
    def change(tensor):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = dict(location=location, offset=offset, length=length)
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("../secret.bin",), "not inside of the model's folder"),
        (("/etc/passwd",), "not inside of the model's folder"),
        (("link.bin",), "not inside of the model's folder"),
        (("",), "not inside of the model's folder"),
        (("absent.bin",), "cannot be read"),
        (("weights.bin", "8"), "which has 12"),
        (("weights.bin", "-4"), "which has 12"),
        (("weights.bin", "0", "8"), "needs 12 bytes"),
        (("weights.bin", "zero"), "must be integers"),
    ],
)
def test_weights_elsewhere_are_not_read(entries, message, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 12)
    (folder / "weights.bin").write_bytes(b"\0" * 12)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "model.onnx"
    path.write_bytes(damaged(outside(*entries)).SerializeToString())
    with pytest.raises(OnnxLoadError, match=message):
        load(path)


def test_weights_beside_the_file_are_read(tmp_path):
    (tmp_path / "weights.bin").write_bytes(np.array([7, 1, 2, 3], np.float32).tobytes())
    path = tmp_path / "model.onnx"
    model = damaged(outside("weights.bin", "4"))
    path.write_bytes(model.SerializeToString())
    assert load(path)(nncomp.ones(1, 3)).tolist() == [[1.0, 2.0, 3.0]]
    with pytest.raises(OnnxLoadError, match="load the model by its path"):
        load(model)


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\x03\x04 something else", b"\0" * 100])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxLoadError, match="is empty|is no ONNX model"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.onnx")


def network() -> bytes:
    """A file with weights, shapes, a loop and several types."""
    nncomp.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(nn.LSTM(3, 4), nncomp.randn(5, 2, 3), path)
        return path.read_bytes()


WHOLE = network()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_refused(share, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(WHOLE[: int(len(WHOLE) * share)])
    with pytest.raises(OnnxLoadError):
        load(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1,
                max_size=8))  # fmt: skip
def test_flipped_bytes_never_do_more_than_raise(changes):
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    try:
        model = onnx.ModelProto.FromString(bytes(data))
    except Exception:  # noqa: BLE001  (protobuf's own error, which read_model turns around)
        return
    try:
        load(model)
    except OnnxLoadError:
        pass
