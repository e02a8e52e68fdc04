"""Algebra of movement and reductions: the second half of the rules of `simplify`.

Chains of one movement become one movement, movements without effect go away, and a reduction over
axes that hold one element (or copies of one element) becomes a reshape (or a product).
"""

from __future__ import annotations

import math

from ..graph import Node
from ..ops import amax, cast, concat, expand, flip, pad, permute, prod, reshape, slice, sum
from ..rewrite import Rules, full_node

RULES = Rules()


# -- one movement ---------------------------------------------------------------------------------


@RULES.rule("reshape(x, x.shape) -> x", when=lambda x, s: x.shape == tuple(s))
def reshape_same(x, s):
    return reshape(x, shape=s), x


@RULES.rule("permute(x, 0 1 2 ...) -> x", when=lambda d: tuple(d) == tuple(range(len(d))))
def permute_same(x, d):
    return permute(x, dims=d), x


def moves_only_ones(x, d) -> bool:
    long = [i for i in d if x.shape[i] != 1]
    return long == sorted(long)


@RULES.rule("permute(x, d) -> reshape(x) when only axes of length 1 move", when=moves_only_ones)
def permute_ones(x, d):
    return permute(x, dims=d), reshape(x, shape=lambda x, d: tuple(x.shape[i] for i in d))


@RULES.rule("expand(x, x.shape) -> x", when=lambda x, s: x.shape == tuple(s))
def expand_same(x, s):
    return expand(x, shape=s), x


def keeps_all(x, a, b, s) -> bool:
    rows = zip(x.shape, a, b, s, strict=True)
    return all(i == 0 and j == n and (k == 1 or n <= 1) for n, i, j, k in rows)


@RULES.rule("slice(x, everything) -> x", when=keeps_all)
def slice_all(x, a, b, s):
    return slice(x, start=a, stop=b, step=s), x


def adds_nothing(x, low, high, gap) -> bool:
    gaps = all(i == 0 or n <= 1 for n, i in zip(x.shape, gap, strict=True))
    return gaps and not any(low) and not any(high)


@RULES.rule("pad(x, nothing) -> x", when=adds_nothing)
def pad_nothing(x, low, high, gap, v):
    return pad(x, low=low, high=high, interior=gap, value=v), x


@RULES.rule(
    "flip(x, axes of length 1) -> x", when=lambda x, a: all(x.shape[i] <= 1 for i in a)
)
def flip_ones(x, a):
    return flip(x, axes=a), x


@RULES.rule("concat(x) -> x")
def concat_one(x, a):
    return concat(x, axis=a), x


# -- two movements --------------------------------------------------------------------------------


@RULES.rule("reshape(reshape(x, a), b) -> reshape(x, b)")
def reshape_reshape(x, a, b):
    return reshape(reshape(x, shape=a), shape=b), reshape(x, shape=b)


@RULES.rule("permute(permute(x, a), b) -> permute(x, a[b])")
def permute_permute(x, a, b):
    both = permute(x, dims=lambda a, b: tuple(a[i] for i in b))
    return permute(permute(x, dims=a), dims=b), both


@RULES.rule("expand(expand(x, a), b) -> expand(x, b)")
def expand_expand(x, a, b):
    return expand(expand(x, shape=a), shape=b), expand(x, shape=b)


def inner_start(a, s, c):
    return tuple(i + k * m for i, k, m in zip(a, s, c, strict=True))


def inner_stop(a, b, s, c, d):
    """The end of slice c:d of slice a:b:s; no further than the axis, no less than the start."""
    rows = zip(a, b, s, c, d, strict=True)
    return tuple(max(min(i + k * max(m, n), j), i + k * m) for i, j, k, m, n in rows)


def start_is_inside(a, b, s, c) -> bool:
    return all(i <= j for i, j in zip(inner_start(a, s, c), b, strict=True))


@RULES.rule("slice(slice(x)) -> slice(x)", when=start_is_inside)
def slice_slice(x, a, b, s, c, d, t):
    inner = slice(x, start=a, stop=b, step=s)
    both = slice(
        x,
        start=inner_start,
        stop=inner_stop,
        step=lambda s, t: tuple(i * j for i, j in zip(s, t, strict=True)),
    )
    return slice(inner, start=c, stop=d, step=t), both


@RULES.rule("flip(flip(x, a), b) -> flip(x, a xor b)")
def flip_flip(x, a, b):
    both = flip(x, axes=lambda a, b: tuple(sorted(set(a) ^ set(b))))
    return flip(flip(x, axes=a), axes=b), both


def undoes_pad(x, low, gap, a, b, s) -> bool:
    rows = zip(x.shape, low, gap, a, b, s, strict=True)
    return all(
        n > 0 and i == lo and k == g + 1 and (n - 1) * k < j - i <= n * k
        for n, lo, g, i, j, k in rows
    )


@RULES.rule("slice(pad(x), what was x) -> x", when=undoes_pad)
def slice_pad(x, low, high, gap, v, a, b, s):
    padded = pad(x, low=low, high=high, interior=gap, value=v)
    return slice(padded, start=a, stop=b, step=s), x


@RULES.rule("cast(expand(x), d) -> expand(cast(x, d))")
def cast_expand(x, s, d):
    return cast(expand(x, shape=s), dtype=d), expand(cast(x, dtype=d), shape=s)


@RULES.computed(
    "slice(concat(xs), one of xs) -> slice(x)",
    "slice",
    """graph f(x: f32[2,3], y: f32[2,4]) {
      concat_0 = concat(x, y, axis=1)
      slice_0 = slice(concat_0, start=(0,3), stop=(2,7), step=(1,2))
      return slice_0
    }""",
    """graph f(x: f32[2], y: f32[0], z: f32[3]) {
      concat_0 = concat(x, y, z, axis=0)
      slice_0 = slice(concat_0, start=(3,), stop=(5,), step=(1,))
      return slice_0
    }""",
)
def slice_concat(node: Node) -> Node | None:
    source = node.inputs[0]
    if source.name != "concat":
        return None
    axis, begin = source.attrs["axis"], 0
    start, stop = node.attrs["start"], node.attrs["stop"]
    for x in source.inputs:
        end = begin + x.shape[axis]
        if begin <= start[axis] < end and start[axis] < stop[axis] <= end:
            moved = [
                tuple(v - begin if i == axis else v for i, v in enumerate(bound))
                for bound in (start, stop)
            ]
            return slice(x, start=moved[0], stop=moved[1], step=node.attrs["step"])
        begin = end
    return None


MOST_PADS = 16  # operands of a sum that are looked at together


# tol: -0.0 + 0.0 is 0.0
@RULES.computed(
    "pad(x) + pad(y) + ..., each zero where another is not -> concat(x, y, ...)",
    "add",
    """graph f(x: f32[2,3], y: f32[2,4]) {
      pad_0 = pad(x, low=(0,4), high=(0,0), interior=(0,0), value=0)
      pad_1 = pad(y, low=(0,0), high=(0,3), interior=(0,0), value=0)
      add_0 = add(pad_0, pad_1)
      return add_0
    }""",
    """graph f(x: f32[2], y: f32[1], z: f32[3]) {
      pad_0 = pad(x, low=(1,), high=(3,), interior=(0,), value=0)
      pad_1 = pad(y, low=(0,), high=(5,), interior=(0,), value=0)
      pad_2 = pad(z, low=(3,), high=(0,), interior=(0,), value=0)
      add_0 = add(pad_0, pad_1)
      add_1 = add(pad_2, add_0)
      return add_1
    }""",
    tol=1e-6,
)
def add_pads(node: Node) -> Node | None:
    """Gradients of slices that share nothing and leave nothing out, as those of chunks."""
    pads = _added_pads(node)
    if not pads:
        return None
    axes = {i for x in pads for i, n in enumerate(x.shape) if x.inputs[0].shape[i] != n}
    if len(axes) != 1:
        return None
    (axis,) = axes
    pads.sort(key=lambda x: x.attrs["low"][axis])
    end = 0
    for x in pads:
        if x.attrs["low"][axis] != end:
            return None
        end += x.inputs[0].shape[axis]
    return concat(*(x.inputs[0] for x in pads), axis=axis) if end == node.shape[axis] else None


def _added_pads(node: Node) -> list[Node]:
    """The operands of a sum of pads with zeros around what is padded; empty for other sums."""
    found, terms = [], [node]
    while terms:
        x = terms.pop()
        if x.name == "add":
            terms.extend(x.inputs)
        elif x.name == "pad" and not any(x.attrs["interior"]) and x.attrs["value"] == 0:
            found.append(x)
        else:
            return []
        if len(found) + len(terms) > MOST_PADS:
            return []
    return found if all(x.inputs[0].type.size for x in found) else []


# -- reductions -----------------------------------------------------------------------------------


def reduces_ones(x, a) -> bool:
    return all(x.shape[i] == 1 for i in a)


def without_axes(x, a):
    return tuple(n for i, n in enumerate(x.shape) if i not in a)


# tol: the sum of one -0.0 is 0.0 where sums start from zero
@RULES.rule("sum(x, axes of length 1) -> reshape(x)", when=reduces_ones, tol=1e-6)
def sum_ones(x, a):
    return sum(x, axes=a), reshape(x, shape=without_axes)


@RULES.rule("prod(x, axes of length 1) -> reshape(x)", when=reduces_ones)
def prod_ones(x, a):
    return prod(x, axes=a), reshape(x, shape=without_axes)


@RULES.rule("amax(x, axes of length 1) -> reshape(x)", when=reduces_ones)
def amax_ones(x, a):
    return amax(x, axes=a), reshape(x, shape=without_axes)


EXACT_COUNTS = {"f16": 2**11, "bf16": 2**8, "f32": 2**24, "f64": 2**53}


def merged_axes(x, a, b):
    """The axes `b` of what is left of x without the axes `a`, together with `a`."""
    rest = [i for i in range(len(x.shape)) if i not in a]
    return tuple(sorted({*a, *(rest[i] for i in b)}))


@RULES.rule("sum(sum(x, a), b) -> sum(x, a and b)", tol=1e-5)
def sum_sum(x, a, b):
    return sum(sum(x, axes=a), axes=b), sum(x, axes=merged_axes)


@RULES.rule("amax(amax(x, a), b) -> amax(x, a and b)")
def amax_amax(x, a, b):
    return amax(amax(x, axes=a), axes=b), amax(x, axes=merged_axes)


@RULES.computed(
    "sum(expand(x)) -> sum(x) * n",
    "sum",
    """graph f(x: f32[2,1]) {
      expand_0 = expand(x, shape=(2,4))
      sum_0 = sum(expand_0, axes=(1,))
      return sum_0
    }""",
    """graph f(x: i64[1,3,1]) {
      expand_0 = expand(x, shape=(5,3,2))
      sum_0 = sum(expand_0, axes=(0,1))
      return sum_0
    }""",
    tol=1e-5,
)
def sum_expand(node: Node) -> Node | None:
    """Axes that hold copies are not summed but counted."""
    source = node.inputs[0]
    if source.name != "expand":
        return None
    x, axes = source.inputs[0], node.attrs["axes"]
    copied = [i for i in axes if x.shape[i] == 1 and source.shape[i] != 1]
    if not copied:
        return None
    count = math.prod(source.shape[i] for i in copied)
    if count > EXACT_COUNTS.get(node.dtype.short, count):
        return None
    kept = tuple(1 if i in copied else n for i, n in enumerate(source.shape))
    total = sum(expand(x, shape=kept), axes=axes)
    return total * full_node(count, total.type, node.loc)
