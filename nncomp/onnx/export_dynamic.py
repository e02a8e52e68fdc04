"""Sizes that an exported file leaves open: the model is recorded for several, and compared.

All recordings must give the same ONNX nodes. Where they differ it is in constants (shapes mostly);
each differing number must be one polynomial of the open sizes, without squares, and becomes nodes
that compute it from the shapes of the inputs. One more recording checks the polynomials.

    batch = 2: Reshape(x, [2, 12])    batch = 3: Reshape(x, [3, 12])
    written:   Reshape(x, Concat(Shape(x)[0:1], [12]))
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..ir.types import int64
from .export_builder import OnnxExportError
from .protobuf import array_of_constant, tensor_proto, third_party

MOST = 4  # symbols: 2 ** MOST recordings
ELSEWHERE = (11, 14, 17)  # sizes to try where those near the given ones do not work; odd and even


class Symbol(NamedTuple):
    """An open size: its name, the input and axis that tell it, and its size in the arguments."""

    name: str
    source: str
    axis: int
    given: int


class Open(NamedTuple):
    """The open sizes and where they occur: {input: {axis: name}}."""

    symbols: tuple[Symbol, ...]
    axes: dict[str, dict[int, str]]


def open_sizes(
    axes: Mapping[str, Any], names: Sequence[str], shapes: Sequence[Sequence[int]],
    outputs: Sequence[str],
) -> Open:  # fmt: skip
    """`dynamic_axes` as data; ValueError for names and axes that do not exist.

    Entries of outputs are accepted and not needed: their sizes follow.
    """
    known = dict(zip(names, shapes, strict=True))
    found: dict[str, dict[int, str]] = {}
    symbols: dict[str, Symbol] = {}
    for name, entry in axes.items():
        if name in outputs and name not in known:
            continue
        if name not in known:
            raise ValueError(f"dynamic_axes: {name!r} is no input; inputs are {', '.join(names)}")
        rank = len(known[name])
        for axis, label in _labels(name, entry).items():
            if not -rank <= axis < rank:
                raise ValueError(f"dynamic_axes: {name!r} has {rank} axes, got axis {axis}")
            place = axis % rank
            found.setdefault(name, {})[place] = label
            symbol = symbols.setdefault(label, Symbol(label, name, place, known[name][place]))
            if symbol.given != known[name][place]:
                raise ValueError(
                    f"dynamic_axes: {label!r} is {symbol.given} in {symbol.source!r} and "
                    f"{known[name][place]} in {name!r}"
                )
    if len(symbols) > MOST:
        raise ValueError(f"dynamic_axes: at most {MOST} names of sizes, got {len(symbols)}")
    return Open(tuple(symbols.values()), found)


def by_input(shapes: Any, arguments: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """`dynamic_shapes` as `dynamic_axes`: one entry per input in order, or by forward's names.

    An entry is {axis: name, Dim or None}, a list of such for all axes, or None.
    """
    if not isinstance(shapes, Mapping):
        if len(shapes) != len(names):
            raise ValueError(
                f"dynamic_shapes must have one entry for each of {', '.join(names)}, got "
                f"{len(shapes)}"
            )
        shapes = dict(zip(names, shapes, strict=True))
    known = dict(zip(arguments, names, strict=True))
    found = {}
    for name, entry in shapes.items():
        if entry is not None:
            rows = entry.items() if isinstance(entry, Mapping) else enumerate(entry)
            found[known.get(name, name)] = {a: label for a, label in rows if label is not None}
    return found


def _labels(name: str, entry: Any) -> dict[int, str]:
    """{axis: name of its size} from a dict of names or Dims, or a list of axes."""
    if not isinstance(entry, Mapping):
        entry = dict.fromkeys(entry)
    return {
        axis: label if isinstance(label, str) else getattr(label, "__name__", f"{name}_{axis}")
        for axis, label in entry.items()
    }


def with_open_sizes(record: Callable[[Mapping[str, int]], Any], sizes: Open) -> Any:
    """The ModelProto for all sizes; `record` gives it for {name: size}, from fresh arguments."""
    problem: Exception | None = None
    for choice in _choices(sizes.symbols):
        try:
            programs = _recordings(record, sizes.symbols, choice)
            return Merge(sizes, choice, programs).program()
        except (RuntimeError, ValueError, TypeError) as error:
            problem = problem or error
    raise OnnxExportError(f"cannot leave sizes open: {problem}") from problem


def _choices(symbols: Sequence[Symbol]) -> Iterator[list[tuple[int, int, int]]]:
    """Three sizes for each symbol; 1 is left out, as it broadcasts."""
    near = [max(s.given, 2) for s in symbols]
    yield [(n, n + 1, n + 2) for n in near]
    yield [(max(n, 4), max(n, 4) - 1, max(n, 4) - 2) for n in near]
    yield [(a + i, b + i, c + i) for i in range(len(near)) for a, b, c in (ELSEWHERE,)]


def _recordings(
    record: Callable, symbols: Sequence[Symbol], choice: Sequence[tuple[int, int, int]]
) -> list[Any]:
    """One ModelProto per combination of the first two sizes, and one for the third sizes."""
    names = [s.name for s in symbols]
    combinations = list(itertools.product(*(c[:2] for c in choice)))
    combinations.append(tuple(c[2] for c in choice))
    return [record(dict(zip(names, sizes, strict=True))) for sizes in combinations]


def polynomial(values: Sequence[int], choice: Sequence[tuple[int, int, int]]) -> dict | None:
    """{indices of symbols in a product: integer factor} that gives all values; None without one.

    Interpolation symbol by symbol through the first 2 ** n values, which the last one checks.
    """
    *grid, check = (Fraction(v) for v in values)
    table = np.array(grid, object).reshape((2,) * len(choice))
    for i, (a, b, _) in enumerate(choice):
        low, high = np.take(table, 0, i), np.take(table, 1, i)
        slope = (high - low) / Fraction(b - a)
        table = np.stack([low - slope * a, slope], i)
    terms = {}
    for powers, factor in np.ndenumerate(table):
        if factor:
            terms[tuple(i for i, p in enumerate(powers) if p)] = factor
    at_check = sum(
        (f * int(np.prod([choice[i][2] for i in term], dtype=object)) for term, f in terms.items()),
        Fraction(0),
    )
    whole = all(f.denominator == 1 for f in terms.values())
    return {t: int(f) for t, f in terms.items()} if whole and at_check == check else None


class Merge:
    """Builds one model out of the recordings."""

    def __init__(self, sizes: Open, choice: Sequence[tuple[int, int, int]], programs: list[Any]):
        self.sizes, self.choice, self.programs = sizes, choice, programs
        self.made: list[Any] = []
        self.known: dict[Any, str] = {}
        self.taken = {n for node in programs[0].graph.node for n in (*node.input, *node.output)}

    def program(self) -> Any:
        """The merged ModelProto."""
        base = self.programs[0]
        graphs = [p.graph for p in self.programs]
        if any(list(g.initializer) != list(graphs[0].initializer) for g in graphs):
            raise OnnxExportError("a tensor that forward makes of data depends on the sizes")
        kept = self.same_nodes(graphs, graphs)
        del base.graph.node[:]
        base.graph.node.extend([*self.made, *kept])
        for info in base.graph.input:
            for axis, name in self.sizes.axes.get(info.name, {}).items():
                info.type.tensor_type.shape.dim[axis].dim_param = name
        for infos in zip(*(g.output for g in graphs), strict=True):
            self._open_output(infos)
        return base

    def same_nodes(self, graphs: Sequence[Any], whole: Sequence[Any]) -> list[Any]:
        """The nodes, where recordings agree; constants that differ become computed values."""
        if len({len(g.node) for g in graphs}) != 1:
            raise OnnxExportError("forward takes another way for other sizes")
        kept = []
        for nodes in zip(*(g.node for g in graphs), strict=True):
            first = nodes[0]
            if any(_form(n) != _form(first) for n in nodes):
                raise OnnxExportError(f"{_named(first)} is another operation for other sizes")
            if first.op_type == "Constant":
                arrays = [array_of_constant(n) for n in nodes]
                if all(a.shape == arrays[0].shape and (a == arrays[0]).all() for a in arrays):
                    kept.append(first)
                else:
                    self._compute(first, arrays, whole[0])
                continue
            self._same_attributes(nodes)
            kept.append(first)
        return kept

    def _same_attributes(self, nodes: Sequence[Any]) -> None:
        for attributes in zip(*(n.attribute for n in nodes), strict=True):
            if attributes[0].HasField("g"):
                graphs = [a.g for a in attributes]
                self.same_nodes(graphs, graphs)
            elif any(a != attributes[0] for a in attributes):
                raise OnnxExportError(
                    f"{_named(nodes[0])}: attribute {attributes[0].name} depends on the sizes, and "
                    "ONNX has it as a fixed number"
                )

    # -- numbers that depend on sizes -------------------------------------------------------------

    def _compute(self, node: Any, arrays: list[np.ndarray], graph: Any) -> None:
        """Nodes that give the output of a Constant for any size."""
        name, first = node.output[0], arrays[0]
        if first.ndim > 1 or any(a.shape != first.shape for a in arrays):
            raise OnnxExportError(f"a constant of {_reader(graph, name)} depends on the sizes")
        parts: list[str] = []
        plain: list[int] = []
        inferred = 0
        for i in range(first.size):
            column = [a.reshape(-1)[i].item() for a in arrays]
            if len(set(column)) == 1:
                plain.append(column[0])
                continue
            terms = polynomial(column, self.choice)
            if terms is None:
                inferred += 1
                if not _is_reshape(graph, name) or inferred > 1:
                    raise OnnxExportError(
                        f"{_reader(graph, name)} needs the numbers {column}, which are no products "
                        f"and sums of the sizes {', '.join(s.name for s in self.sizes.symbols)}"
                    )
                plain.append(-1)  # what is left over
                continue
            parts += [self.vector(plain)] if plain else []
            plain = []
            parts.append(self._sum(terms))
        parts += [self.vector(plain)] if plain else []
        joined = parts[0] if len(parts) == 1 else self.emit("Concat", *parts, axis=0)
        if first.ndim == 0:
            joined = self.emit("Squeeze", joined, self.vector([0]))
        last = dict(to=type_number_of(node)) if first.dtype != np.int64 else None
        self.emit("Cast" if last else "Identity", joined, name=name, **(last or {}))

    def _sum(self, terms: Mapping[tuple[int, ...], int]) -> str:
        """A polynomial as a vector of one number."""
        total = ""
        for term, factor in terms.items():
            value = self.vector([factor]) if factor != 1 or not term else ""
            for i in term:
                size = self._size(self.sizes.symbols[i])
                value = self.emit("Mul", value, size) if value else size
            total = self.emit("Add", total, value) if total else value
        return total

    def _size(self, symbol: Symbol) -> str:
        key = ("size", symbol.name)
        if key not in self.known:
            bounds = dict(start=symbol.axis, end=symbol.axis + 1)
            self.known[key] = self.emit("Shape", symbol.source, **bounds)
        return self.known[key]

    def vector(self, values: Sequence[int]) -> str:
        """A constant of int64."""
        key = tuple(values)
        if key not in self.known:
            value = tensor_proto(np.array(values, np.int64), int64)
            self.known[key] = self.emit("Constant", value=value)
        return self.known[key]

    def emit(self, op_type: str, *inputs: str, name: str = "", **attrs: Any) -> str:
        number = len(self.made)
        while not name or (name in self.taken and name.startswith("size_")):
            name, number = f"size_{number}", number + 1
        self.taken.add(name)
        self.made.append(
            third_party().helper.make_node(op_type, list(inputs), [name], name=name, **attrs)
        )
        return name

    def _open_output(self, infos: Sequence[Any]) -> None:
        """The sizes of an output by name where they depend on open ones."""
        for dims in zip(*(x.type.tensor_type.shape.dim for x in infos), strict=True):
            values = [d.dim_value for d in dims]
            if len(set(values)) == 1:
                continue
            terms = polynomial(values, self.choice)
            dims[0].Clear()
            if terms is not None:
                dims[0].dim_param = _text(terms, [s.name for s in self.sizes.symbols])


def _text(terms: Mapping[tuple[int, ...], int], names: Sequence[str]) -> str:
    """A polynomial as people write it."""
    parts = []
    for term, factor in terms.items():
        words = [names[i] for i in term]
        words = [str(factor), *words] if factor != 1 or not words else words
        parts.append("*".join(words))
    return " + ".join(parts)


def type_number_of(node: Any) -> int:
    """The element type of a Constant."""
    return next(a.t.data_type for a in node.attribute if a.name == "value")


def _form(node: Any) -> tuple:
    """What must be the same for all sizes."""
    attributes = tuple(a.name for a in node.attribute)
    return node.op_type, tuple(node.input), tuple(node.output), attributes


def _named(node: Any) -> str:
    return f"{node.op_type} {node.name!r}"


def _readers(graph: Any, name: str) -> list[Any]:
    return [node for node in graph.node if name in node.input]


def _reader(graph: Any, name: str) -> str:
    found = _readers(graph, name)
    return _named(found[0]) if found else "the graph"


def _is_reshape(graph: Any, name: str) -> bool:
    """True if the constant is the shape of Reshapes and nothing else."""
    found = _readers(graph, name)
    return bool(found) and all(n.op_type == "Reshape" and n.input[1] == name for n in found)


