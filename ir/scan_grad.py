"""The gradient of a loop: the loop once more, keeping what is needed, then a loop backwards.

Each turn's carries are kept, and where the gradient needs them the results of its contractions and
of functions that take many instructions; everything else is computed anew. The passes merge the
loop that keeps with the one that was there already. A gradient of a constant that is a matrix
product per turn, p^T q, as that of recurrent weights, leaves the loop: it is one product over all
turns at once. So does a sum per turn, as that of a bias, of what leaves the loop anyway.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

from .grad import backprop, fresh_name, is_float, zeros
from .graph import Graph, Node, build_node, input_node, toposort
from .op import OPS

# operations that cost more than to keep their results
KEPT = ("matmul", "conv", "conv_transpose", "sigmoid", "tanh", "erf", "exp", "log", "sin", "cos")


class Product(NamedTuple):
    """p^T q, both (rows of one turn, ...), that belongs to the gradient of a constant."""

    p: Node
    q: Node


class Total(NamedTuple):
    """The sum of `part` over `axes`, that belongs to the gradient of a constant."""

    part: Node
    axes: tuple[int, ...]


class Backward(NamedTuple):
    """One turn backwards.

    Carries: cotangents of the float carries, then `sums`. Consts: those. Slices: cotangents of
    the float ys, the turn's carries, the results in `kept`, the turn's xs. `state`, `totals` and
    `slices` are the results; `products` and `added` are the parts of constants' gradients that stay
    outside.
    """

    cotangents: list[Node | None]
    sums: dict[Node, Node]  # const -> the carry that adds up its gradient
    kept: dict[Node, Node]  # node of the body -> input that holds its value
    state: list[Node]
    totals: list[Node]
    slices: list[Node]
    products: dict[Node, list[Product]]  # by const
    added: dict[Node, list[Total]]  # by const


def scan_vjp(g, y, xs, body: Graph, carries: int, consts: int, length: int, reverse: bool):
    """Gradients of `scan`; `g`, `y`, `xs` are the cotangents, results and operands.

    They may be Nodes or Tensors. Entries of `g` may be None. Integer operands get None.
    """
    scan, n = OPS["scan"], carries + consts
    sizes = dict(length=length, consts=consts)
    g = [_zeros_of(r) if part is None else part for part, r in zip(g, y, strict=True)]
    turn = _backward(body, carries, consts)
    results = body.outputs[carries:]  # what is a result of every turn need not be kept once more
    keeping = keeping_body(body, carries, tuple(x for x in turn.kept if x not in results))
    again = scan(*xs, body=keeping, carries=carries, reverse=reverse, **sizes)
    history = list(again[len(body.outputs) : len(body.outputs) + carries])
    history += [again[keeping.outputs.index(x, carries)] for x in turn.kept]
    float_g = [x for x, node in zip(g, body.outputs, strict=True) if is_float(node.type)]
    count = sum(is_float(node.type) for node in body.outputs[:carries])
    operand_of = dict(zip(body.inputs, xs, strict=True))
    slices = [*float_g[count:], *history, *xs[n:]]
    graph, places = _graph_of(turn, body, carries, consts)
    found = scan(
        *float_g[:count],
        *(_zeros_of(operand_of[x]) for x in turn.sums),
        *xs[carries:n],
        *slices,
        body=graph,
        carries=count + len(turn.sums),
        reverse=not reverse,
        **sizes,
    )
    found = list(found if isinstance(found, tuple) else (found,))
    stacked = dict(zip(graph.inputs[len(graph.inputs) - len(slices) :], slices, strict=True))
    stacked |= {node: found[k] for node, k in places.items()}
    floats = [x for x in body.inputs[:carries] if is_float(x.type)]
    gradients = dict(zip([*floats, *turn.sums], found, strict=False))
    for x, products in turn.products.items():
        for p, q in products:
            part = _product_of_all(stacked[p], stacked[q])
            gradients[x] = gradients[x] + part if x in gradients else part
    for x, totals in turn.added.items():
        for part, axes in totals:
            sums = _sum_of_all(stacked[part], axes, x.shape)
            gradients[x] = gradients[x] + sums if x in gradients else sums
    floats = [x for x in body.inputs[n:] if is_float(x.type)]
    gradients |= dict(zip(floats, found[count + len(turn.sums) :], strict=False))
    return tuple(gradients[x] if is_float(x.type) else None for x in body.inputs)


def keeping_body(body: Graph, carries: int, kept: tuple[Node, ...] = ()) -> Graph:
    """`body` that also puts out the carries it started from, and the nodes in `kept`."""
    outputs = (*body.outputs, *body.inputs[:carries], *kept)
    return Graph(f"{body.name}_keep", body.inputs, outputs)


def _backward(body: Graph, carries: int, consts: int) -> Backward:
    n, taken = carries + consts, set(body.input_names)

    def inputs(prefix: str, nodes) -> list[Node]:
        return [input_node(fresh_name(f"{prefix}{i}", taken), x.type) for i, x in enumerate(nodes)]

    cotangents = [node if is_float(node.type) else None for node in inputs("g", body.outputs)]
    nodes = [x for x in body.nodes if x.name in KEPT and is_float(x.type)]
    kept = dict(zip(nodes, inputs("kept", nodes), strict=True))
    wanted = [x for x in body.inputs if is_float(x.type)]
    found = backprop(body.outputs, cotangents, wanted, kept)
    gradient = {x: found.get(x) or zeros(x.type) for x in wanted}
    sums, totals, products, added = {}, [], {}, {}
    state = [gradient[x] for x in body.inputs[:carries] if x in gradient]
    slices = [gradient[x] for x in body.inputs[n:] if x in gradient]
    floats = [x for x in body.inputs[carries:n] if x in gradient]
    split = {x: _split(found.get(x)) for x in floats}
    outside = {y for _, pairs in split.values() for pair in pairs for y in pair} | set(slices)
    for x, (rest, products[x]) in split.items():
        added[x] = [t for y in rest if (t := _total(y)) and t.part in outside]
        inside = [y for y in rest if (t := _total(y)) is None or t.part not in outside]
        if inside or not (products[x] or added[x]):
            (sums[x],) = inputs("sum", [x])
            totals.append(reduce(add, inside, sums[x]))
    parts = [x for pairs in products.values() for pair in pairs for x in pair]
    used = set(toposort((*state, *totals, *slices, *parts)))
    kept = {node: held for node, held in kept.items() if held in used}
    return Backward(cotangents, sums, kept, state, totals, slices, products, added)


def _total(x: Node) -> Total | None:
    """What x, reshaped or not, is the sum of."""
    while x.name == "reshape":
        x = x.inputs[0]
    return Total(x.inputs[0], tuple(x.attrs["axes"])) if x.name == "sum" else None


def _split(total: Node | None) -> tuple[list[Node], list[Product]]:
    """A gradient as (the terms that are no products, the products)."""
    terms, rest, products = [] if total is None else [total], [], []
    while terms:
        term = terms.pop()
        if term.name == "add":
            terms.extend(term.inputs)
        elif term.name == "matmul" and len(term.shape) == 2:
            p, q = term.inputs
            products.append(Product(_transposed(p), q))
        elif _is_transpose(term) and term.inputs[0].name == "matmul":
            p, q = term.inputs[0].inputs
            products.append(Product(q, _transposed(p)))
        else:
            rest.append(term)
    return rest, products


def _is_transpose(x: Node) -> bool:
    """Whether x is a matrix transposed; a permute may also leave the axes as they are."""
    return x.name == "permute" and tuple(x.attrs["dims"]) == (1, 0)


def _transposed(x: Node) -> Node:
    if _is_transpose(x):
        return x.inputs[0]
    return build_node(OPS["permute"], (x,), {"dims": (1, 0)}, x.loc)


def _graph_of(turn: Backward, body: Graph, carries: int, consts: int):
    """The body of the loop backwards, and where it puts out slices and factors of products."""
    n = carries + consts
    cotangents = [c for c in turn.cotangents[:carries] if c is not None]
    fixed = [*cotangents, *turn.sums.values(), *body.inputs[carries:n]]
    cotangents = [c for c in turn.cotangents[carries:] if c is not None]
    slices = [*cotangents, *body.inputs[:carries], *turn.kept.values(), *body.inputs[n:]]
    results = [*turn.state, *turn.totals, *turn.slices]
    begin = len(turn.state) + len(turn.totals)
    places = {node: begin + k for k, node in enumerate(turn.slices)}
    for products in turn.products.values():
        for factor in (x for pair in products for x in pair):
            if factor not in slices and factor not in places:
                places[factor] = len(results)
                results.append(factor)
    return Graph(f"{body.name}_vjp", [*fixed, *slices], results), places


def _product_of_all(p, q):
    """The sum over all turns of p^T q, for stacked p (turns, rows, m) and q (turns, rows, n)."""
    matmul, permute, reshape = (OPS[name] for name in ("matmul", "permute", "reshape"))
    p, q = (reshape(x, shape=(x.shape[0] * x.shape[1], x.shape[2])) for x in (p, q))
    return matmul(permute(p, dims=(1, 0)), q)


def _sum_of_all(x, axes, shape):
    """The sum over all turns of what is summed in each, for stacked x (turns, ...)."""
    total = OPS["sum"](x, axes=(0, *(i + 1 for i in axes)))
    return OPS["reshape"](total, shape=shape)


def _zeros_of(x):
    from .ops import zeros_like

    return zeros_like(x)
