"""einsum: a small parser, then one pairwise contraction after another, from left to right.

A contraction sums what only one operand has, then becomes permute + reshape + matmul, or a plain
product if nothing is summed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ir import ops
from .autocasting import lowered
from .base import is_tensor
from .linalg import _strict
from .promotion import expand_to, reshaped
from .views import diagonal, movedim

Labels = list[str]


def einsum(equation: Any, *operands: Any) -> Any:
    """Sum of products by Einstein notation: einsum("bij,bjk->bik", x, y); "..." is allowed.

    The form einsum(x, [0, 1], y, [1, 2], [0, 2]) works too.
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    inputs, output = _parse(equation, operands)
    sizes = _sizes(inputs, operands)
    terms = [_prepared(x, labels, sizes) for x, labels in zip(operands, inputs, strict=True)]
    while len(terms) > 1:
        later = {label for _, labels in terms[2:] for label in labels}
        terms[:2] = [_contract(terms[0], terms[1], later | set(output), sizes)]
    x, labels = terms[0]
    x, labels = _summed(x, labels, set(output))
    order = tuple(labels.index(label) for label in output)
    return x if order == tuple(range(len(order))) else ops.permute(x, dims=order)


def _from_lists(parts: Sequence[Any]) -> tuple[str, tuple]:
    def letters(numbers: Sequence[Any]) -> str:
        return "".join("..." if n is Ellipsis else _letter(n) for n in numbers)

    operands = tuple(x for x in parts[::2] if is_tensor(x))
    lists = [letters(p) for p in parts[1 : 2 * len(operands) : 2]]
    result = f"->{letters(parts[-1])}" if len(parts) % 2 else ""
    return ",".join(lists) + result, operands


def _letter(n: int) -> str:
    if not 0 <= n < 52:
        raise RuntimeError(f"einsum(): subscript {n} is not within the valid range [0, 52)")
    return chr(ord("A") + n) if n < 26 else chr(ord("a") + n - 26)


def _parse(equation: str, operands: Sequence[Any]) -> tuple[list[Labels], Labels]:
    """One list of labels per operand, and that of the result; "..." becomes labels .0, .1, ..."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} has {len(parts)} operands, but {len(operands)} "
            "were provided"
        )
    pairs = list(zip(parts, operands, strict=True))
    widths = [len(x.shape) - len(part.replace("...", "")) for part, x in pairs]
    for part, x, width in zip(parts, operands, widths, strict=True):
        if width < 0 or width > 0 and "..." not in part:
            raise RuntimeError(
                f"einsum(): the number of subscripts in {part!r} does not match the number of "
                f"dimensions ({len(x.shape)}) of the operand"
            )
    widest = max(widths, default=0)
    inputs = [_expanded(part, width, widest) for part, width in zip(parts, widths, strict=True)]
    if arrow:
        return inputs, _checked_output(_expanded(right, widest, widest), inputs)
    names = sorted(label for label in set(sum(inputs, [])) if label[0] != ".")
    once = [label for label in names if sum(row.count(label) for row in inputs) == 1]
    return inputs, [f".{i}" for i in range(widest)] + once


def _checked_output(output: Labels, inputs: list[Labels]) -> Labels:
    known = {label for row in inputs for label in row}
    for label in output:
        if label not in known:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input "
                "operand"
            )
        if output.count(label) > 1:
            raise RuntimeError(f"einsum(): output subscript {label} appears more than once")
    return output


def _expanded(part: str, width: int, widest: int) -> Labels:
    before, dots, after = part.partition("...")
    for letter in before + after:
        if not letter.isalpha():
            raise RuntimeError(
                f"einsum(): invalid subscript given: {letter!r}, subscripts must be in [a-zA-Z]"
            )
    middle = [f".{i}" for i in range(widest - width, widest)] if dots else []
    return [*before, *middle, *after]


def _sizes(inputs: list[Labels], operands: Sequence[Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for number, (labels, x) in enumerate(zip(inputs, operands, strict=True)):
        for label, n in zip(labels, x.shape, strict=True):
            known = sizes.get(label, 1)
            if known != 1 and n not in (1, known):
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {n} for operand {number} which does not "
                    f"broadcast with previously seen size {known}"
                )
            sizes[label] = n if n != 1 else known
    return sizes


def _prepared(x: Any, labels: Labels, sizes: dict[str, int]) -> tuple[Any, Labels]:
    """`x` with every label once (repeated ones mean the diagonal) and at its full size."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = movedim(diagonal(x, 0, first, second), -1, 0)
            del labels[second], labels[first]
            labels.insert(0, label)
    return expand_to(x, tuple(sizes[label] for label in labels)), labels


def _summed(x: Any, labels: Labels, keep: set[str]) -> tuple[Any, Labels]:
    axes = tuple(i for i, label in enumerate(labels) if label not in keep)
    if not axes:
        return x, labels
    return ops.sum(x, axes=axes), [label for label in labels if label in keep]


def _contract(left: tuple, right: tuple, keep: set[str], sizes: dict[str, int]) -> tuple:
    """The product of two terms, summed over the labels that neither `keep` nor the other has."""
    x, a = _summed(*left, keep | set(right[1]))
    y, b = _summed(*right, keep | set(left[1]))
    batch = [label for label in a if label in b and label in keep]
    inner = [label for label in a if label in b and label not in keep]
    free_a = [label for label in a if label not in b]
    free_b = [label for label in b if label not in a]

    def shape(labels: Labels) -> tuple[int, ...]:
        return tuple(sizes[label] for label in labels)

    def ordered(value: Any, own: Labels, wanted: Labels) -> Any:
        order = tuple(own.index(label) for label in wanted)
        return value if order == tuple(range(len(order))) else ops.permute(value, dims=order)

    result = [*batch, *free_a, *free_b]
    x, y = ordered(x, a, [*batch, *free_a, *inner]), ordered(y, b, [*batch, *inner, *free_b])
    n, k, m = math.prod(shape(free_a)), math.prod(shape(inner)), math.prod(shape(free_b))
    if inner:
        x, y = lowered(x, y)
    if inner and (free_a or free_b):
        lead = shape(batch)
        product = _strict(reshaped(x, (*lead, n, k)), reshaped(y, (*lead, k, m)))
        return reshaped(product, shape(result)), result
    if inner:
        axes = tuple(range(len(batch), len(batch) + len(inner)))
        return ops.sum(ops.mul(x, y), axes=axes), result
    x = reshaped(x, shape(batch) + shape(free_a) + (1,) * len(free_b))
    y = reshaped(y, shape(batch) + (1,) * len(free_a) + shape(free_b))
    return ops.mul(expand_to(x, shape(result)), expand_to(y, shape(result))), result


