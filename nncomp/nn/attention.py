"""MultiheadAttention."""

from __future__ import annotations

from typing import Any

import nncomp

from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """The output projection of MultiheadAttention; a Linear under torch's name."""


class MultiheadAttention(Module):
    """Attention of ``num_heads`` heads, each of embed_dim / num_heads (Vaswani et al., 2017).

    ``in_proj_weight`` (3 embed_dim, embed_dim) projects query, key and value; with another ``kdim``
    or ``vdim`` there are three weights instead.
    """

    __constants__ = ["batch_first"]

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.dropout, self.batch_first = dropout, batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        options = {"device": device, "dtype": dtype}
        e, same = embed_dim, self._qkv_same_embed_dim
        self._add("q_proj_weight", None if same else (e, e), options)
        self._add("k_proj_weight", None if same else (e, self.kdim), options)
        self._add("v_proj_weight", None if same else (e, self.vdim), options)
        self._add("in_proj_weight", (3 * e, e) if same else None, options)
        self._add("in_proj_bias", (3 * e,) if bias else None, options)
        self.out_proj = NonDynamicallyQuantizableLinear(e, e, bias=bias, **options)
        self._add("bias_k", (1, 1, e) if add_bias_kv else None, options)
        self._add("bias_v", (1, 1, e) if add_bias_kv else None, options)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _add(self, name: str, size: tuple[int, ...] | None, options: dict) -> None:
        value = None if size is None else Parameter(nncomp.empty(*size, **options))
        self.register_parameter(name, value)

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(self, name)
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def __setstate__(self, state: dict) -> None:
        state.setdefault("_qkv_same_embed_dim", True)  # pickles of torch before 1.1
        super().__setstate__(state)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Map query (L, N, E), key (S, N, kdim) and value (S, N, vdim) to (L, N, E) and weights.

        With ``batch_first`` N comes first; without a batch there is no N.
        """
        turned = self.batch_first and query.dim() == 3
        if turned:
            made = {id(x): x.transpose(0, 1) for x in (query, key, value)}
            query, key, value = made[id(query)], made[id(key)], made[id(value)]
        output, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, training=self.training,
            key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight, k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight, average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )  # fmt: skip
        return (output.transpose(0, 1) if turned else output), weights


__all__ = ["MultiheadAttention"]
