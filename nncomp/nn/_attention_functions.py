"""Attention of nn.functional: the scaled dot product, and multi-head attention around it.

Masks are added to the scores as 0 or -inf. No mask's values are looked at, so a causal hint only
says that the mask need not be read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import nncomp

from ..functions.autocasting import lowered
from ..tensor import Tensor
from ._activation_functions import softmax, widened

_NEVER = float("-inf")


def _safe_softmax(scores: Tensor) -> Tensor:
    """softmax along the last dimension; 0 in rows that are -inf throughout."""
    top = scores.detach().amax(-1, keepdim=True)
    spread = nncomp.exp(scores - nncomp.where(top == _NEVER, 0.0, top))
    total = spread.sum(-1, keepdim=True)
    return spread / nncomp.where(total == 0, 1.0, total)


def _causal(rows: int, columns: int) -> Tensor:
    """True where column <= row."""
    return nncomp.ones(rows, columns, dtype=nncomp.bool).tril()


def _repeat_heads(x: Tensor, heads: int, name: str) -> Tensor:
    own = x.shape[-3]
    if heads % own:
        raise RuntimeError(
            f"scaled_dot_product_attention with enable_gqa: the {heads} heads of query must be a "
            f"multiple of the {own} heads of {name}"
        )
    return x if own == heads else nncomp.repeat_interleave(x, heads // own, -3)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T scale + mask) v (Vaswani et al., 2017).

    query (*, heads, L, E), key (*, heads, S, E), value (*, heads, S, Ev); ``attn_mask`` broadcasts
    to (*, heads, L, S) and is True where a key takes part, or added if it is float. ``scale`` is
    1 / sqrt(E) by default; ``enable_gqa`` repeats heads of key and value to those of query.
    """
    query, key, value, attn_mask = lowered(query, key, value, attn_mask)
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
            "is_causal=True"
        )
    if enable_gqa:
        heads = query.shape[-3]
        key, value = _repeat_heads(key, heads, "key"), _repeat_heads(value, heads, "value")
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = widened(nncomp.matmul(query * factor, key.transpose(-2, -1)))
    mask = _causal(*scores.shape[-2:]) if is_causal else attn_mask
    if mask is None:
        weights = nncomp.softmax(scores, -1)
    elif mask.dtype is nncomp.bool:
        weights = _safe_softmax(nncomp.where(mask, scores, _NEVER))
    else:
        weights = _safe_softmax(scores + mask)
    weights = weights.to(query.dtype)
    if dropout_p:
        weights = nncomp.dropout(weights, dropout_p, True)
    return nncomp.matmul(weights, value)


class _Sizes(NamedTuple):
    target: int
    batch: int
    source: int
    heads: int
    width: int  # of one head


def _check_ranks(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None,
    attn_mask: Tensor | None, heads: int,
) -> bool:  # fmt: skip
    """Raise torch's errors for wrong ranks; return whether there is a batch."""
    rank = query.dim()
    if rank not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{rank}-D query tensor"
        )
    kind = "batched" if rank == 3 else "unbatched"
    if key.dim() != rank or value.dim() != rank:
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `key` and `value` to be {rank}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != rank - 1:
        raise AssertionError(
            f"For {kind} ({rank}-D) `query`, expected `key_padding_mask` to be `None` or "
            f"{rank - 1}-D but found {key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} ({rank}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but "
                f"found {attn_mask.dim()}-D tensor instead"
            )
        expected = (heads, query.shape[0], key.shape[0])
        if rank == 2 and attn_mask.dim() == 3 and tuple(attn_mask.shape) != expected:
            raise AssertionError(
                f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}"
            )
    return rank == 3


def _additive(mask: Tensor | None, name: str, dtype: nncomp.dtype) -> Tensor | None:
    """A mask as numbers to add: -inf where a bool mask is True."""
    if mask is None or mask.is_floating_point():
        return mask
    if mask.dtype is not nncomp.bool:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    zero = nncomp.zeros(*mask.shape, dtype=dtype)
    return nncomp.where(mask, _NEVER, zero)


def _projected(
    inputs: tuple[Tensor, ...], weights: tuple[Tensor, ...] | Tensor, bias: Tensor | None
) -> list[Tensor]:
    """query, key and value, each times its weight; one product where the inputs are the same."""
    linear, width = nncomp.nn.functional.linear, inputs[0].shape[-1]
    query, key, value = inputs
    if isinstance(weights, Tensor):
        if query is key and key is value:
            return list(linear(query, weights, bias).chunk(3, -1))
        weights = tuple(weights.chunk(3, 0))
    biases = (None,) * 3 if bias is None else bias.split(width)
    rows = zip(inputs, weights, biases, strict=True)
    return [linear(x, w, b) for x, w, b in rows]


def _check_sizes(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int,
                 separate: bool) -> None:  # fmt: skip
    if query.shape[-1] != embed_dim:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim}, but got {query.shape[-1]}"
        )
    if embed_dim % heads:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {heads}")
    if separate and tuple(key.shape[:2]) != tuple(value.shape[:2]):
        raise AssertionError(
            f"key's sequence and batch dims {key.shape[:2]} do not match value's "
            f"{value.shape[:2]}"
        )
    if not separate and tuple(key.shape) != tuple(value.shape):
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")


def _mask_3d(mask: Tensor | None, sizes: _Sizes) -> Tensor | None:
    """``attn_mask`` as (1 or batch * heads, L, S); RuntimeError for another size."""
    if mask is None:
        return None
    expected: tuple[int, ...] = (sizes.target, sizes.source)
    if mask.dim() == 3:
        expected = (sizes.batch * sizes.heads, *expected)
    if tuple(mask.shape) != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}."
        )
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _check_padding(mask: Tensor, batch: int, source: int) -> None:
    for dim, expected in enumerate((batch, source)):
        if mask.shape[dim] != expected:
            raise RuntimeError(
                f"Expected key_padded_mask.shape[{dim}] to be {expected}, but got "
                f"{mask.shape[dim]}"
            )


def _one_more(mask: Tensor | None) -> Tensor | None:
    """A mask that lets one more key take part."""
    return None if mask is None else nncomp.constant_pad_nd(mask, (0, 1))


def _heads_first(x: Tensor, heads: int, width: int) -> Tensor:
    """(length, batch, heads * width) as (batch * heads, length, width)."""
    length, batch = x.shape[:2]
    return x.reshape([length, batch * heads, width]).transpose(0, 1)


def _with_zero_key(x: Tensor) -> Tensor:
    zero = nncomp.zeros(x.shape[0], 1, x.shape[2], dtype=x.dtype)
    return nncomp.cat([x, zero], 1)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, sizes: _Sizes,
    causal: bool, need_weights: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """(batch * heads, L, width), and the weights (batch, heads, L, S) if they are needed."""
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, dropout_p, causal), None
    scores = nncomp.matmul(q * (1.0 / math.sqrt(sizes.width)), k.transpose(-2, -1))
    weights = softmax(scores if mask is None else scores + mask, -1)
    if dropout_p:
        weights = nncomp.dropout(weights, dropout_p, True)
    shape = [sizes.batch, sizes.heads, sizes.target, k.shape[1]]
    return nncomp.matmul(weights, v), weights.reshape(shape)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads; query (L, N, E) and key, value (S, N, *), or without N.

    Bool masks are True where a key takes no part. Returns the output (L, N, E) and the weights
    (N, L, S), or (N, heads, L, S) unless ``average_attn_weights``.
    """
    batched = _check_ranks(query, key, value, key_padding_mask, attn_mask, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    if not batched:
        query, key, value = _batch_of_one(query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    sizes = _Sizes(query.shape[0], query.shape[1], key.shape[0], num_heads,
                   query.shape[2] // num_heads)  # fmt: skip
    weights = in_proj_weight
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    padding = _additive(key_padding_mask, "key_padding_mask", query.dtype)
    causal = is_causal and padding is None and not need_weights
    mask = None if causal else _additive(attn_mask, "attn_mask", query.dtype)
    mask = _mask_3d(mask, sizes)
    q, k, v = _projected((query, key, value), weights, in_proj_bias)
    if bias_k is not None:
        k, v = (nncomp.cat([x, _row(b, sizes)], 0) for x, b in ((k, bias_k), (v, bias_v)))
        mask, padding = _one_more(mask), _one_more(padding)
    q, k, v = (_heads_first(x, num_heads, sizes.width) for x in (q, k, v))
    k, v = (k if static_k is None else static_k), (v if static_v is None else static_v)
    if add_zero_attn:
        k, v = _with_zero_key(k), _with_zero_key(v)
        mask, padding = _one_more(mask), _one_more(padding)
    if padding is not None:
        mask = _joined(mask, padding, sizes, k.shape[1])
    y, shares = _attend(q, k, v, mask, dropout_p if training else 0.0, sizes, causal, need_weights)
    y = y.transpose(0, 1).reshape([sizes.target, sizes.batch, query.shape[2]])
    y = nncomp.nn.functional.linear(y, out_proj_weight, out_proj_bias)
    if shares is not None and average_attn_weights:
        shares = shares.mean(1)
    if batched:
        return y, shares
    return y.squeeze(1), (None if shares is None else shares.squeeze(0))


def _batch_of_one(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """With a batch of one at dimension 1; the same tensors stay the same."""
    made = {id(x): x.unsqueeze(1) for x in (query, key, value)}
    return made[id(query)], made[id(key)], made[id(value)]


def _row(bias: Tensor, sizes: _Sizes) -> Tensor:
    return bias.expand(1, sizes.batch, bias.shape[-1])


def _joined(mask: Tensor | None, padding: Tensor, sizes: _Sizes, source: int) -> Tensor:
    """Both masks added, (batch * heads, 1 or L, S)."""
    _check_padding(padding, sizes.batch, source)
    spread = padding.reshape([sizes.batch, 1, 1, source])
    spread = spread.expand(sizes.batch, sizes.heads, 1, source)
    spread = spread.reshape([sizes.batch * sizes.heads, 1, source])
    return spread if mask is None else mask + spread


__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]
