"""Recurrent layers, cells and packed sequences, compared with torch and compiled."""

from __future__ import annotations

import pytest
from both import agree, cases, fill, numbers
from same_compiled import same_compiled

import nncomp
from nncomp import nn
from nncomp.trace_error import TraceError


def run(kind, *args, shape=(5, 2, 3), state=None, mode=True, **options):
    """Return a scenario: a recurrent layer, its outputs and all gradients."""

    def scenario(t):
        layer = fill(t, getattr(t.nn, kind)(*args, **options)).train(mode)
        x = t.tensor(numbers(*shape)).requires_grad_()
        hx = None
        if state is not None:
            hx = [t.tensor(numbers(*s, start=50 + i)).requires_grad_() for i, s in enumerate(state)]
        given = None if hx is None else hx[0] if len(hx) == 1 else tuple(hx)
        output, final = layer(x, given)
        final = final if isinstance(final, tuple) else (final,)
        score = (output * t.tensor(numbers(*output.shape, start=5))).sum()
        for part in final:
            score = score + (part * t.tensor(numbers(*part.shape, start=9))).sum()
        score.backward()
        return [
            repr(layer), layer.state_dict(), output, final, x.grad,
            [p.grad for p in layer.parameters()], [h.grad for h in hx or ()],
            len(layer.all_weights), layer._flat_weights_names,
        ]  # fmt: skip

    return scenario


LAYERS = {
    "rnn": run("RNN", 3, 4),
    "rnn relu": run("RNN", 3, 4, 2, "relu", False, bidirectional=True),
    "rnn relu keyword": run("RNN", 3, 4, nonlinearity="relu", num_layers=2),
    "rnn state": run("RNN", 3, 4, state=[(1, 2, 4)]),
    "lstm": run("LSTM", 3, 4),
    "lstm state": run("LSTM", 3, 4, state=[(1, 2, 4), (1, 2, 4)]),
    "lstm stack": run("LSTM", 3, 4, 2, bidirectional=True, batch_first=True, bias=False,
                      state=[(4, 5, 4), (4, 5, 4)]),
    "lstm projection": run("LSTM", 3, 4, 2, proj_size=2, bidirectional=True,
                           state=[(4, 2, 2), (4, 2, 4)]),
    "lstm unbatched": run("LSTM", 3, 4, 2, shape=(5, 3), state=[(2, 4), (2, 4)]),
    "lstm unbatched batch_first": run("LSTM", 3, 4, batch_first=True, shape=(5, 3)),
    "lstm dropout eval": run("LSTM", 3, 4, 2, dropout=0.5, mode=False),
    "gru": run("GRU", 3, 4),
    "gru stack": run("GRU", 3, 4, 3, bidirectional=True, state=[(6, 2, 4)]),
    "gru no bias": run("GRU", 3, 4, 2, False, True),
    "gru one step": run("GRU", 3, 4, shape=(1, 2, 3)),
}  # fmt: skip


@cases(LAYERS)
def test_layer_agrees_with_torch(case):
    agree(case, ok=True)


def cell(kind, *args, shape=(2, 3), state=None, **options):
    def scenario(t):
        layer = fill(t, getattr(t.nn, kind)(*args, **options))
        x = t.tensor(numbers(*shape)).requires_grad_()
        hx = [t.tensor(numbers(*s, start=i)).requires_grad_() for i, s in enumerate(state or ())]
        y = layer(x, (tuple(hx) if len(hx) == 2 else hx[0]) if hx else None)
        ys = y if isinstance(y, tuple) else (y,)
        sum((part * part).sum() for part in ys).backward()
        return [repr(layer), layer.state_dict(), ys, x.grad, [h.grad for h in hx],
                [p.grad for p in layer.parameters()]]  # fmt: skip

    return scenario


CELLS = {
    "rnn": cell("RNNCell", 3, 4, state=[(2, 4)]),
    "rnn relu": cell("RNNCell", 3, 4, False, "relu"),
    "lstm": cell("LSTMCell", 3, 4, state=[(2, 4), (2, 4)]),
    "lstm unbatched": cell("LSTMCell", 3, 4, bias=False, shape=(3,), state=[(4,), (4,)]),
    "gru": cell("GRUCell", 3, 4, state=[(2, 4)]),
    "gru unbatched": cell("GRUCell", 3, 4, shape=(3,)),
}


@cases(CELLS)
def test_cell_agrees_with_torch(case):
    agree(case, ok=True)




ERRORS = {
    "mode": lambda t: t.nn.RNNBase("X", 3, 4),
    "nonlinearity": lambda t: t.nn.RNN(3, 4, nonlinearity="gelu"),
    "dropout": lambda t: t.nn.GRU(3, 4, dropout=2),
    "bias": lambda t: t.nn.GRU(3, 4, bias=1),
    "batch_first": lambda t: t.nn.GRU(3, 4, batch_first="no"),
    "input_size": lambda t: t.nn.GRU(0, 4),
    "input_size float": lambda t: t.nn.GRU(3.0, 4),
    "hidden_size": lambda t: t.nn.GRU(3, -4),
    "num_layers": lambda t: t.nn.GRU(3, 4, 0),
    "proj gru": lambda t: t.nn.GRU(3, 4, proj_size=2),
    "proj size": lambda t: t.nn.LSTM(3, 4, proj_size=4),
    "proj negative": lambda t: t.nn.LSTM(3, 4, proj_size=-1),
    "dims": lambda t: t.nn.GRU(3, 4)(t.zeros(2, 2, 2, 3)),
    "dims rnn": lambda t: t.nn.RNN(3, 4)(t.zeros(3)),
    "width": lambda t: t.nn.RNN(3, 4)(t.zeros(5, 2, 4)),
    "dtype": lambda t: t.nn.RNN(3, 4)(t.zeros(5, 2, 3).double()),
    "state": lambda t: t.nn.RNN(3, 4)(t.zeros(5, 2, 3), t.zeros(1, 3, 4)),
    "state lstm": lambda t: t.nn.LSTM(3, 4)(t.zeros(5, 2, 3), (t.zeros(1, 2, 4), t.zeros(2, 2, 4))),
    "state dims": lambda t: t.nn.GRU(3, 4)(t.zeros(5, 3), t.zeros(1, 1, 4)),
    "state dims lstm": lambda t: t.nn.LSTM(3, 4)(t.zeros(5, 2, 3), (t.zeros(1, 4), t.zeros(1, 4))),
    "no steps": lambda t: t.nn.GRU(3, 4)(t.zeros(0, 2, 3)),
    "cell batch": lambda t: t.nn.LSTMCell(3, 4)(t.zeros(2, 3), (t.zeros(1, 4), t.zeros(3, 4))),
    "cell dims": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 3), t.zeros(2, 1, 4)),
    "cell input": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 2)),
    "cell hidden": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 3), t.zeros(2, 5)),
    "cell nonlinearity": lambda t: t.nn.RNNCell(3, 4, nonlinearity="x")(t.zeros(2, 3)),
    "pack order": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [1, 3]),
    "pack count": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [1]),
    "pack zero": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [1, 0]),
    "pack empty": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 0, 1), []),
    "pad side": lambda t: t.nn.utils.rnn.pad_sequence([t.zeros(2)], padding_side="up"),
    "pad nothing": lambda t: t.nn.utils.rnn.pad_sequence([]),
}


@cases(ERRORS)
def test_error_agrees_with_torch(case):
    agree(case, ok=False)


def packed(kind, *args, sort=False, state=(), **options):
    """Return a scenario with sequences of lengths 2, 4, 1."""

    def scenario(t):
        rnn = t.nn.utils.rnn
        layer = fill(t, getattr(t.nn, kind)(*args, **options))
        x = t.tensor(numbers(4, 3, 3)).requires_grad_()
        lengths = [4, 2, 1] if sort else t.tensor([2, 4, 1])
        given = rnn.pack_padded_sequence(x, lengths, enforce_sorted=sort)
        hx = [t.tensor(numbers(*s, start=30 + i)).requires_grad_() for i, s in enumerate(state)]
        out, final = layer(given, (tuple(hx) if len(hx) == 2 else hx[0]) if hx else None)
        final = final if isinstance(final, tuple) else (final,)
        padded, sizes = rnn.pad_packed_sequence(out, padding_value=-2.0, total_length=6)
        total = (padded * padded).sum() + sum((part * part).sum() for part in final)
        total.backward()
        return [out.data, out.batch_sizes, out.sorted_indices, padded, sizes, final, x.grad,
                [h.grad for h in hx], [p.grad for p in layer.parameters()],
                repr(given.batch_sizes)]  # fmt: skip

    return scenario


PACKED = {
    "rnn": packed("RNN", 3, 4),
    "lstm sorted": packed("LSTM", 3, 4, sort=True),
    "lstm": packed("LSTM", 3, 4, 2, bidirectional=True, proj_size=2,
                   state=[(4, 3, 2), (4, 3, 4)]),
    "gru": packed("GRU", 3, 4, 2, bidirectional=True, state=[(4, 3, 4)]),
}  # fmt: skip


@cases(PACKED)
def test_packed_sequences_agree_with_torch(case):
    agree(case, ok=True)


def test_sequence_helpers_agree_with_torch():
    def scenario(t):
        rnn = t.nn.utils.rnn
        parts = [t.tensor(numbers(n, 2, start=n)) for n in (3, 1, 2)]
        left = rnn.pad_sequence(parts, batch_first=True, padding_value=7.0, padding_side="left")
        packed = rnn.pack_sequence(parts, enforce_sorted=False)
        again = rnn.PackedSequence(packed.data * 2, *packed[1:])
        padded = rnn.pad_sequence(parts)
        return [
            left, packed, packed.double().data.dtype == t.float64, packed.is_cuda,
            rnn.unpack_sequence(again), rnn.unpad_sequence(padded, t.tensor([3, 1, 2])),
            rnn.invert_permutation(t.tensor([2, 0, 1])), packed.to(t.float32) is packed,
            rnn.pad_packed_sequence(packed, batch_first=True), len(packed),
        ]  # fmt: skip

    agree(scenario, ok=True)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_compiled_layer_is_the_eager_layer(kind):
    layer = fill(nncomp, getattr(nn, kind)(3, 4, 2, bidirectional=True, dropout=0.3))
    same_compiled(layer, nncomp.tensor(numbers(6, 2, 3)))


def test_compiled_cells_are_the_eager_cells():
    layer = fill(nncomp, nn.LSTMCell(3, 4))
    same_compiled(layer, nncomp.tensor(numbers(2, 3)))


def test_graph_does_not_grow_with_the_sequence():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    sizes = {n: len(nncomp.trace(layer, nncomp.zeros(n, 2, 3)).nodes) for n in (2, 200)}
    assert sizes[2] == sizes[200] < 200


def test_known_lengths_can_be_compiled():
    layer = fill(nncomp, nn.GRU(3, 4, bidirectional=True))
    rnn = nn.utils.rnn

    def model(x):
        packed = rnn.pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False)
        packed = rnn.PackedSequence(packed.data * 2.0, *packed[1:])
        output, final = layer(packed)
        return rnn.pad_packed_sequence(output)[0], final

    same_compiled(model, nncomp.tensor(numbers(4, 3, 3)))


def test_unknown_lengths_cannot_be_traced():
    rnn = nn.utils.rnn
    with pytest.raises(TraceError, match="as a list of Python integers"):
        nncomp.trace(rnn.pack_padded_sequence, nncomp.zeros(4, 2, 3), nncomp.tensor([4, 2]))
