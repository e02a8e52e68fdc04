"""Attention and transformers, compared with torch and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from both import agree, cases, fill, numbers
from same_compiled import same_compiled

import nncomp
from nncomp import nn

L, S, N, E = 4, 5, 2, 6
CAUSAL = np.triu(np.ones((L, L), bool), 1)
SOME = numbers(L, S) > 1.0
PADDED = np.arange(S) >= np.array([[4], [3]])
SHIFTS = numbers(N * 2, L, S, start=40)


def gradients(t, outputs, tensors):
    """Run backward from all outputs; the gradients of all tensors."""
    scores = [(y * t.tensor(numbers(*y.shape, start=3))).sum() for y in outputs if y is not None]
    sum(scores[1:], scores[0]).backward()
    return [x.grad for x in tensors]


def attend(q, k, v, mask=None, **options):
    def scenario(t):
        q_, k_, v_ = (
            t.tensor(numbers(*shape, start=20 * i)).requires_grad_()
            for i, shape in enumerate((q, k, v))
        )
        given = None if mask is None else t.tensor(mask)
        y = t.nn.functional.scaled_dot_product_attention(q_, k_, v_, given, **options)
        return [y, gradients(t, [y], [q_, k_, v_])]

    return scenario


PRODUCTS = {
    "plain": attend((2, 3, L, E), (2, 3, S, E), (2, 3, S, 7)),
    "3d": attend((3, L, E), (3, S, E), (3, S, E)),
    "scale": attend((2, L, E), (2, S, E), (2, S, E), scale=0.3),
    "causal": attend((2, L, E), (2, S, E), (2, S, E), is_causal=True),
    "causal tall": attend((2, S, E), (2, L, E), (2, L, E), is_causal=True),
    "bool mask": attend((2, 3, L, E), (2, 3, S, E), (2, 3, S, E), ~SOME),
    "row without a key": attend((2, L, E), (2, S, E), (2, S, E), np.arange(L)[:, None] > 1),
    "float mask": attend((4, L, E), (4, S, E), (4, S, E), SHIFTS),
    "groups": attend((2, 6, L, E), (2, 2, S, E), (2, 2, S, E), enable_gqa=True),
}


@cases(PRODUCTS)
def test_scaled_dot_product_agrees_with_torch(case):
    agree(case, ok=True)


def test_dropout_of_attention_keeps_the_mean():
    q, k = nncomp.zeros(1, 200, 4), nncomp.zeros(1, 50, 4)
    nncomp.manual_seed(0)
    y = nn.functional.scaled_dot_product_attention(q, k, nncomp.ones(1, 50, 1), dropout_p=0.4)
    assert abs(float(y.mean()) - 1.0) < 0.03
    assert float(y.std()) > 0.05


def mha(*args, key=(S, N, E), value=(S, N, E), query=(L, N, E), same=False, call=None, **options):
    """Return a scenario; ``call`` gives keyword arguments of forward for a namespace."""

    def scenario(t):
        layer = fill(t, t.nn.MultiheadAttention(*args, **options))
        shapes = (query,) if same else (query, key, value)
        tensors = [
            t.tensor(numbers(*shape, start=20 * i)).requires_grad_()
            for i, shape in enumerate(shapes)
        ]
        y, weights = layer(*(tensors * 3 if same else tensors), **(call(t) if call else {}))
        grads = gradients(t, [y, weights], [*tensors, *layer.parameters()])
        return [repr(layer), layer.state_dict(), y, weights, grads]

    return scenario


HEADS = {
    "plain": mha(E, 2),
    "self": mha(E, 2, same=True),
    "no bias": mha(E, 3, bias=False, call=lambda t: {"need_weights": False}),
    "batch first": mha(E, 2, batch_first=True, query=(N, L, E), key=(N, S, E), value=(N, S, E)),
    "unbatched": mha(E, 2, query=(L, E), key=(S, E), value=(S, E)),
    "unbatched mask": mha(
        E, 2, query=(L, E), key=(S, E), value=(S, E), batch_first=True,
        call=lambda t: {"key_padding_mask": t.tensor(PADDED[0]), "attn_mask": t.tensor(SOME)},
    ),
    "other sizes": mha(E, 2, kdim=3, vdim=4, key=(S, N, 3), value=(S, N, 4)),
    "extra keys": mha(E, 2, add_bias_kv=True, add_zero_attn=True),
    "extra keys masks": mha(
        E, 2, add_bias_kv=True, add_zero_attn=True,
        call=lambda t: {"key_padding_mask": t.tensor(PADDED), "attn_mask": t.tensor(SOME)},
    ),
    "heads": mha(E, 2, call=lambda t: {"average_attn_weights": False}),
    "float masks": mha(
        E, 2, call=lambda t: {"attn_mask": t.tensor(SHIFTS), "need_weights": False}
    ),
    "padding": mha(E, 2, call=lambda t: {"key_padding_mask": t.tensor(PADDED)}),
    "causal": mha(
        E, 2, same=True,
        call=lambda t: {"attn_mask": t.tensor(CAUSAL), "is_causal": True, "need_weights": False},
    ),
    "causal weights": mha(
        E, 2, same=True, call=lambda t: {"attn_mask": t.tensor(CAUSAL), "is_causal": True}
    ),
}  # fmt: skip


@cases(HEADS)
def test_multi_head_attention_agrees_with_torch(case):
    agree(case, ok=True)


def wrong(query=(L, N, E), key=(S, N, E), value=None, **options):
    def scenario(t):
        layer = t.nn.MultiheadAttention(E, 2)
        given = {k: t.zeros(*v, dtype=t.bool) for k, v in options.items() if v is not True}
        flags = {k: v for k, v in options.items() if v is True}
        return layer(t.zeros(*query), t.zeros(*key), t.zeros(*(value or key)), **given, **flags)

    return scenario


ERRORS = {
    "sizes": lambda t: t.nn.MultiheadAttention(0, 2),
    "heads": lambda t: t.nn.MultiheadAttention(5, 2),
    "rank": wrong((L, N, N, E)),
    "key rank": wrong(key=(S, E)),
    "unbatched key rank": wrong(query=(L, E)),
    "padding rank": wrong(key_padding_mask=(S,)),
    "mask rank": wrong(attn_mask=(S,)),
    "mask 2d": wrong(attn_mask=(L, L)),
    "mask 3d": wrong(attn_mask=(1, L, S)),
    "mask unbatched": wrong((L, E), (S, E), attn_mask=(1, L, S)),
    "width": wrong((L, N, E + 1)),
    "key and value": wrong(value=(L, N, E)),
    "hint alone": wrong(is_causal=True),
    "causal and mask": lambda t: t.nn.functional.scaled_dot_product_attention(
        t.zeros(1, 2, 3), t.zeros(1, 2, 3), t.zeros(1, 2, 3), t.zeros(2, 2), is_causal=True
    ),
    "activation": lambda t: t.nn.TransformerEncoderLayer(4, 2, activation="tanh"),
    "batches": lambda t: t.nn.Transformer(4, 2, 1, 1, 4)(t.zeros(3, 2, 4), t.zeros(3, 1, 4)),
    "features": lambda t: t.nn.Transformer(4, 2, 1, 1, 4)(t.zeros(3, 2, 4), t.zeros(3, 2, 5)),
}


@cases(ERRORS)
def test_error_agrees_with_torch(case):
    agree(case, ok=False)


def transformer(build, *shapes, mode=True, call=None):
    def scenario(t):
        layer = fill(t, build(t)).train(mode)
        tensors = [
            t.tensor(numbers(*shape, start=20 * i)).requires_grad_()
            for i, shape in enumerate(shapes)
        ]
        y = layer(*tensors, **(call(t) if call else {}))
        grads = gradients(t, [y], [*tensors, *layer.parameters()])
        return [repr(layer), list(layer.state_dict()), y, grads]

    return scenario


def encoder(t, **options):
    return t.nn.TransformerEncoderLayer(E, 2, 8, 0.0, **options)


def decoder(t, **options):
    return t.nn.TransformerDecoderLayer(E, 2, 8, 0.0, **options)


def no_peeking(t):
    return t.nn.Transformer.generate_square_subsequent_mask(L)


TRANSFORMERS = {
    "encoder layer": transformer(encoder, (L, N, E)),
    "encoder layer gelu": transformer(
        lambda t: encoder(t, activation="gelu", norm_first=True, bias=False), (L, N, E)
    ),
    "encoder layer module": transformer(
        lambda t: encoder(t, activation=t.nn.SiLU(), batch_first=True, layer_norm_eps=0.1),
        (N, S, E), call=lambda t: {"src_key_padding_mask": t.tensor(PADDED)},
    ),
    "encoder layer eval": transformer(
        lambda t: t.nn.TransformerEncoderLayer(E, 2, 8), (L, N, E), mode=False,
        call=lambda t: {"src_mask": t.tensor(CAUSAL)},
    ),
    "encoder": transformer(
        lambda t: t.nn.TransformerEncoder(encoder(t), 2, t.nn.LayerNorm(E)), (L, N, E),
        call=lambda t: {"mask": no_peeking(t), "is_causal": True},
    ),
    "decoder layer": transformer(
        decoder, (L, N, E), (S, N, E),
        call=lambda t: {"tgt_mask": no_peeking(t), "memory_key_padding_mask": t.tensor(PADDED)},
    ),
    "decoder": transformer(
        lambda t: t.nn.TransformerDecoder(decoder(t, norm_first=True), 2), (L, N, E), (S, N, E)
    ),
    "unbatched": transformer(lambda t: t.nn.Transformer(E, 2, 1, 2, 8, 0.0), (S, E), (L, E)),
    "transformer": transformer(
        lambda t: t.nn.Transformer(E, 2, 1, 1, 8, 0.0, batch_first=True), (N, S, E), (N, L, E),
        call=lambda t: {"tgt_mask": no_peeking(t), "src_key_padding_mask": t.tensor(PADDED),
                        "memory_key_padding_mask": t.tensor(PADDED)},
    ),
}  # fmt: skip


@cases(TRANSFORMERS)
def test_transformer_agrees_with_torch(case):
    agree(case, ok=True, tol=1e-4)


def test_layers_of_an_encoder_are_copies():
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    layers = nn.TransformerEncoder(layer, 2).layers
    assert layers[0].linear1.weight is not layers[1].linear1.weight
    assert layers[0].linear1.weight is not layer.linear1.weight
    bound = (6 / (3 * 4 + 4)) ** 0.5
    weight = nn.MultiheadAttention(4, 2).in_proj_weight
    assert 0.7 * bound < float(weight.abs().max()) <= bound


@pytest.mark.parametrize("mask", [None, CAUSAL])
def test_compiled_attention_is_the_eager_attention(mask):
    layer = fill(nncomp, nn.MultiheadAttention(E, 2, dropout=0.3))
    mask = None if mask is None else nncomp.tensor(mask)
    same_compiled(lambda x: layer(x, x, x, attn_mask=mask), nncomp.tensor(numbers(L, N, E)))


def test_compiled_transformer_is_the_eager_transformer():
    layer = fill(nncomp, nn.Transformer(E, 2, 1, 1, 8, batch_first=True))
    source, target = nncomp.tensor(numbers(N, S, E)), nncomp.tensor(numbers(N, L, E, start=7))
    same_compiled(layer, source, target)
