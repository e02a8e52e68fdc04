"""From a node of a fused graph to its kernels and what each of them is called with.

Equal groups share one kernel, also where they only differ in where a contraction begins to read:
such offsets belong to the call, so that the turns of an unrolled loop run the same code. A long
`concat` is one call per piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from .abreast import is_abreast, lower_abreast
from .digest import sha256
from .frames import FRAMED, borders, is_frame, lower_border, lower_framed
from .graph import Graph, Node, input_node, rebuild
from .loops import Buffer, Kernel, Store
from .lower import lower_map, lower_node
from .op import attribute_key
from .panels import is_in_panels, lower_panels
from .pieces import Piece, concat_pieces, lower_piece, piece_body
from .types import TensorType

STORING_KINDS = ("map", "contract", "window")  # kernels that compute a value, then store it
LIMIT = 4096  # kernels remembered in this process


@dataclass(frozen=True)
class KernelCall:
    """A kernel and its arguments: (number among the node's operands and results, byte offset)."""

    kernel: Kernel
    arguments: tuple[tuple[int, int], ...]


_KERNELS: dict[tuple, Kernel] = {}


def calls_of(node: Node) -> tuple[KernelCall, ...]:
    """The kernel calls that compute a node of a fused graph."""
    count = len(node.inputs)
    if node.name != "fused":
        key = (node.name, attribute_key(dict(node.attrs)), tuple(x.type for x in node.inputs))
        return (_whole(_cached(key, node.name, lambda name: lower_node(node, name))),)
    body, kind = node.attrs["body"], node.attrs["kind"]
    pieces = concat_pieces(body) if kind == "map" else None
    if pieces:
        return tuple(_piece_call(body, piece, count) for piece in pieces)
    offsets: dict[int, int] = {}
    frame = body.outputs[0] if kind in FRAMED and is_frame(body.outputs[0]) else None
    if kind == "contract":
        body, offsets = _without_offsets(body)
        node = Node(node.op, node.inputs, {"body": body, "kind": kind}, node.type, node.loc)
    structure = (kind, structure_key(body))
    if is_in_panels(body, kind):
        kernel = _cached(structure, body.name, lambda name: lower_panels(body, kind, name))
    elif kind == "map" and is_abreast(body.outputs[0]):
        kernel = _cached(structure, body.name, lambda name: lower_abreast(body, name))
    elif frame is None:
        kernel = _cached(structure, body.name, lambda name: lower_node(node, name))
    else:
        kernel = _cached(structure, body.name, lambda name: lower_framed(body, kind, name))
    arguments = tuple((b.slot, offsets.get(b.slot, 0)) for b in kernel.buffers)
    return (KernelCall(kernel, arguments), *_border_calls(frame, count))


def _border_calls(frame: Node | None, count: int) -> Iterator[KernelCall]:
    """The calls that fill the frame around a result, the first of the node."""
    for border in borders(frame) if frame is not None else ():
        type, axis, low, high, value = border
        key = ("border", type, axis, low, high, attribute_key({"value": value}))
        kernel = _cached(key, "border", partial(lower_border, type, axis, low, high, value))
        yield KernelCall(kernel, ((count, 0),))


def _without_offsets(body: Graph) -> tuple[Graph, dict[int, int]]:
    """The body with a contraction that reads its operands from the beginning, and where it began
    (bytes by operand number). An operand that is read in other ways too stays as it is."""
    center = next(n for n in body.nodes if n.name == "contract")
    users, attrs, moved = body.users(), dict(center.attrs), {}
    for x, name in zip(center.inputs[:2], ("a_offset", "b_offset"), strict=True):
        if attrs[name] and users[x] == [center] and center.inputs.count(x) == 1:
            moved[body.inputs.index(x)] = attrs[name] * x.dtype.itemsize
            attrs[name] = 0
    if not moved:
        return body, moved

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        return Node(node.op, operands, attrs, node.type, node.loc) if node is center else None

    return rebuild(body, visit), moved


def copy_call(type: TensorType) -> KernelCall:
    x = input_node("x", type)
    body = Graph("copy", [x], [x])
    return _whole(_cached(("copy", type), "copy", lambda name: lower_map(body, name)))


def storing_twice(call: KernelCall, number: int, argument: int) -> KernelCall:
    """The call with result `number` of its kernel also written to a further result, `argument`."""
    old = call.kernel
    (store,) = stores_of(old, number)

    def make(name: str) -> Kernel:
        out = Buffer(f"y{old.outputs}", len(old.buffers), store.buffer.type)
        stores = (*old.stores, replace(store, buffer=out))
        buffers = (*old.buffers, out)
        return replace(old, name=name, buffers=buffers, outputs=old.outputs + 1, stores=stores)

    kernel = _cached(("twice", old.name, number), old.name.rsplit("_", 1)[0], make)
    return KernelCall(kernel, (*call.arguments, (argument, 0)))


def stores_of(kernel: Kernel, number: int) -> list[Store]:
    """The stores that write result `number` of a kernel; a concat has one per operand."""
    slot = kernel.buffers[len(kernel.buffers) - kernel.outputs + number].slot
    return [s for s in kernel.stores if s.buffer.slot == slot]


def _whole(kernel: Kernel) -> KernelCall:
    return KernelCall(kernel, tuple((b.slot, 0) for b in kernel.buffers))


def _piece_call(body: Graph, piece: Piece, count: int) -> KernelCall:
    """The kernel of one piece of a concat; it gets its part of the result as if that were all."""
    part, whole = piece_body(body, piece), body.outputs[0].type
    where = piece if part is body else piece.axis  # pieces alike share a kernel
    key = ("piece", structure_key(part), where, whole)
    kernel = _cached(key, "concat", lambda name: lower_piece(part, piece, whole, name))
    slots = [(body.inputs.index(n), 0) for n in part.inputs]
    return KernelCall(kernel, (*slots, (count, piece.offset)))


def _cached(key: tuple, hint: str, make: Callable[[str], Kernel]) -> Kernel:
    found = _KERNELS.get(key)
    if found is None:
        if len(_KERNELS) >= LIMIT:
            _KERNELS.clear()
        digest = sha256(repr(key).encode()).hexdigest()[:16]
        found = _KERNELS[key] = make(f"{hint}_{digest}")
    return found


def structure_key(graph: Graph) -> tuple:
    """What a graph computes, without names and source lines."""
    number = {n: i for i, n in enumerate(graph.inputs)}
    rows: list[tuple] = [tuple(n.type for n in graph.inputs)]
    for node in graph.nodes:
        number[node] = len(number)
        attrs = {
            k: structure_key(v) if isinstance(v, Graph) else v for k, v in node.attrs.items()
        }
        rows.append((node.name, attribute_key(attrs), tuple(number[x] for x in node.inputs)))
    return (*rows, tuple(number[x] for x in graph.outputs))
