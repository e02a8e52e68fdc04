"""Weights that a compiled program holds packed: their memory is given up, their values never."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
from nncomp.ir.parser import parse_graph
from nncomp.ir.unpack import unpack, unpack_steps

import nncomp
from nncomp import nn, released


def _net() -> nn.Module:
    nncomp.manual_seed(1)
    net = nn.Sequential(nn.Linear(300, 217), nn.ReLU(), nn.Linear(217, 130))
    return net.eval().requires_grad_(False)


def _is_released(x) -> bool:
    return "_data" not in x.__dict__


def _bits(x) -> bytes:
    return np.array(x.__dict__["_data"], order="C").tobytes()


def _compiled(net, rows: int = 3):
    """The compiled net after two calls, its input and its result."""
    compiled, x = nncomp.compile(net), nncomp.randn(rows, 300)
    compiled(x)
    return compiled, x, compiled(x)


def test_weights_are_given_up_and_come_back_bit_for_bit():
    net = _net()
    odd = np.array([np.nan, -0.0, np.inf, 1e-42, -1e-45], np.float32)
    odd[:1].view(np.uint32)[0] = 0x7F812345  # a signalling NaN with a payload
    with nncomp.no_grad():
        net[0].weight[0, :5] = nncomp.tensor(odd.tolist())
    net[0].weight.__dict__["_data"][0, :5] = odd
    before = [_bits(p) for p in net.parameters()]
    _compiled(net)
    assert [_is_released(p) for p in net.parameters()] == [True, False, True, False]
    for p, expected in zip(net.parameters(), before, strict=True):
        p.sum()  # whatever asks for values
        assert not _is_released(p) and _bits(p) == expected


def test_results_before_and_after_a_look_are_the_same_and_nothing_is_packed_again():
    net = _net()
    compiled, x, first = _compiled(net)
    state = compiled._compiler.last.prepared._state
    eager = net(x)
    assert not _is_released(net[0].weight)
    second = compiled(x)
    assert compiled._compiler.last.prepared._state is state
    assert nncomp.equal(first, second) and nncomp.allclose(first, eager, atol=1e-5)


def test_a_write_takes_effect():
    net = _net()
    compiled, x, first = _compiled(net)
    with nncomp.no_grad():
        net[2].weight.mul_(2.0)
        net[2].bias.mul_(2.0)
    assert nncomp.allclose(compiled(x), 2 * first, atol=1e-5)
    assert not _is_released(net[2].weight)  # who asks once will ask again
    net[2].weight.data = nncomp.zeros(130, 217)
    assert nncomp.equal(compiled(x), net[2].bias.expand(3, 130))


def _view(w):
    return w.view(-1)


def _address(w):
    return w.data_ptr()


def _array(w):
    return w.numpy()


def _alias(w):
    return w.detach()


@pytest.mark.parametrize("look", [_view, _address, _array, _alias])
def test_memory_that_someone_sees_stays(look):
    net = _net()
    seen = look(net[0].weight)
    compiled, x, first = _compiled(net)
    assert not _is_released(net[0].weight) and _is_released(net[2].weight)
    if not isinstance(seen, int):
        with nncomp.no_grad():
            net[0].bias.zero_()
            seen[...] = 0
        assert nncomp.equal(compiled(x), net[2].bias.expand(3, 130))
    else:
        assert net[0].weight.data_ptr() == seen


def test_a_weight_that_the_program_reads_itself_stays():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(400, 96)
            self.other = nn.Linear(96, 400)

        def forward(self, tokens):
            x = self.table(tokens)
            return x @ self.table.weight.t() + self.other(x)

    net = Tied().requires_grad_(False)
    tokens = nncomp.tensor([[1, 399, 7, 0]])
    compiled = nncomp.compile(net)
    result = compiled(tokens)
    assert not _is_released(net.table.weight) and _is_released(net.other.weight)
    assert nncomp.allclose(result, net(tokens), atol=1e-4)


def test_programs_of_other_shapes_use_what_was_given_up():
    net = _net()
    compiled, _, _ = _compiled(net)
    x = nncomp.randn(40, 300)
    result = compiled(x)
    assert len(compiled._compiler._made) == 2 and _is_released(net[0].weight)
    assert nncomp.allclose(result, net(x), atol=1e-5)


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle", "train", "cast"])
def test_everything_else_sees_the_weights(how, tmp_path):
    net = _net()
    before = [p.tolist() for p in net.parameters()]
    _compiled(net)
    assert _is_released(net[0].weight)
    if how == "state_dict":
        found = list(net.state_dict().values())
    elif how == "deepcopy":
        found = list(copy.deepcopy(net).parameters())
    elif how == "pickle":
        nncomp.save(net.state_dict(), tmp_path / "w.pt")
        found = list(nncomp.load(tmp_path / "w.pt").values())
    elif how == "cast":
        found = list(net.double().parameters())
    else:
        net.requires_grad_(True).train()
        step = nncomp.compile_train_step(net, nn.MSELoss(), nncomp.optim.SGD(net.parameters(), 0.0))
        step(nncomp.randn(3, 300), nncomp.randn(3, 130))
        found = list(net.parameters())
    assert [x.tolist() for x in found] == before


def test_many_threads_ask_at_once():
    net = _net()
    expected = _bits(net[0].weight)
    _compiled(net)
    gate, found = threading.Barrier(4), []

    def ask():
        gate.wait()
        found.append(net[0].weight._data)

    workers = [threading.Thread(target=ask) for _ in range(4)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert len(found) == 4 and all(a is found[0] for a in found)
    assert found[0].tobytes() == expected


def test_packing_in_parts_gives_up_weight_by_weight(monkeypatch):
    nncomp.manual_seed(2)
    sizes = [1024, 1100, 1030, 1024]
    net = nn.Sequential(*map(nn.Linear, sizes, sizes[1:])).requires_grad_(False)
    seen = []
    real = released.Released.drop
    weights = [m.weight for m in net]
    monkeypatch.setattr(
        released.Released,
        "drop",
        lambda self, back: real(self, back) and not seen.append([_is_released(w) for w in weights]),
    )
    compiled, x = nncomp.compile(net), nncomp.randn(2, 1024)
    result = compiled(x)
    runner = compiled._compiler.last.runner
    assert len(runner.prepared.parts) == 3
    assert [sum(released) for released in seen] == [1, 2, 3]
    assert nncomp.allclose(result, net(x), atol=1e-4)


BACK = """graph f(a: f32[6,4], b: f32[3,4], c: f32[5]) {
  permute_0 = permute(a, dims=(1,0))
  flip_0 = flip(permute_0, axes=(0,))
  concat_0 = concat(a, b, axis=0)
  permute_1 = permute(concat_0, dims=(1,0))
  pad_0 = pad(permute_1, low=(1,0), high=(0,3), interior=(0,0), value=0)
  reshape_0 = reshape(pad_0, shape=(5,2,6))
  mul_0 = mul(c, 2.0)
  return flip_0, reshape_0, mul_0
}"""


def test_the_way_back_through_every_movement():
    from nncomp.ir.interpret import interpret

    graph = parse_graph(BACK)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.type.shape).astype(np.float32) for n in graph.inputs]
    results = interpret(graph, *arrays)
    found = unpack_steps(graph)
    assert sorted(found) == [0, 1]  # c is not moved but multiplied
    for number, (result, steps) in found.items():
        back = unpack(results[result], steps)
        assert back.tobytes() == arrays[number].tobytes() and back.flags.c_contiguous


ORDER = """graph f(a: f32[1000,300], b: f32[300,1500], c: f32[90,8], d: f32[700,2000]) {
  permute_3 = permute(c, dims=(1,0))
  exp_1 = exp(permute_3)
  matmul_2 = matmul(c, exp_1)
  exp_0 = exp(b)
  permute_0 = permute(a, dims=(1,0))
  permute_1 = permute(exp_0, dims=(1,0))
  matmul_0 = matmul(a, exp_0)
  matmul_1 = matmul(permute_1, permute_0)
  permute_2 = permute(d, dims=(1,0))
  return matmul_2, matmul_0, matmul_1, permute_2
}"""


def test_parts_in_another_order_compute_the_same():
    from nncomp.backends.cpu import prepare_parts
    from nncomp.backends.cpu.codegen import program_modules
    from nncomp.backends.cpu.executable import build
    from nncomp.backends.cpu.stages import Stages
    from nncomp.backends.cpu.target import host_target
    from nncomp.ir.interpret import interpret

    graph = parse_graph(ORDER)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.type.shape).astype(np.float32) for n in graph.inputs]
    stages = Stages(graph, (), host_target(), runs_once=True)
    assert len(stages.parts) > 1 and stages.program.arena > 0
    groups = prepare_parts._groups(stages.program.steps)
    assert sorted(map(len, groups))[0] == 1 < sorted(map(len, groups))[-1]
    parts = groups[::-1]
    modules, _ = program_modules(stages.program, host_target(), parts=parts, runs_once=True)
    last = prepare_parts.read_last(parts, len(arrays))
    assert sorted(i for part in last for i in part) == [0, 1, 2, 3]
    types = [node.type for node in graph.outputs]
    program = build(stages.program, modules, host_target(), types)
    told: list[int] = []

    def tell(part, results, give_up):
        told.append(part)

    written = prepare_parts.first_written(parts)
    assert sorted(i for part in written for i in part) == list(range(len(types)))
    results = prepare_parts.run_parts(program, list(arrays), written, tell)
    assert told == list(range(len(parts)))
    whole, expected = program(arrays), interpret(graph, *arrays)
    for got, once, value in zip(results, whole, expected, strict=True):
        assert got.tobytes() == once.tobytes()
        assert np.allclose(got, value, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("kernel", "stays"), [(1, False), (3, True)], ids=["1x1", "Winograd"])
def test_batch_norm_leaves_a_large_weight_as_it_is(kernel, stays):
    nncomp.manual_seed(3)
    conv = nn.Conv2d(160, 192, kernel, padding=kernel // 2, bias=False)
    small = nn.Conv2d(192, 32, 1, bias=False)
    net = nn.Sequential(conv, nn.BatchNorm2d(192), nn.ReLU(), small, nn.BatchNorm2d(32))
    for norm in (net[1], net[4]):
        for x in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            x.data.uniform_(0.5, 1.5)
    net.eval().requires_grad_(False)
    compiled, x = nncomp.compile(net), nncomp.randn(1, 160, 12, 12)
    result = compiled(x)
    prepared = compiled._compiler.last.runner.stages.prepared.graph
    scaled = [n for n in prepared.nodes if n.name == "mul" and len(n.shape) == 4]
    assert [n.shape[0] for n in scaled] == [32]  # only what is small is folded
    assert ("winograd_weight" in {n.name for n in prepared.nodes}) == stays
    assert _is_released(conv.weight) != stays
    assert nncomp.allclose(result, net(x), atol=1e-3, rtol=1e-3)
