"""Rewriting by rules that read as equations.

    @RULES.rule("x * 1 -> x")
    def mul_one(x):
        return x * 1, x

One function gives both sides over the same wildcards. A wildcard in operand position matches any
tensor, in attribute position any attribute value; on the right an attribute may also be a function
of wildcards. `when` guards a rule. Numbers are constants of the type of the operand beside them;
as a whole right side, of the type of the result. `rewrite` applies rules until none fits any more.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .graph import Graph, Loc, Node, build_node, rebuild, with_operands
from .op import OPS, Op, attribute_key
from .operators import Operators
from .types import DType, TensorType

COMMUTATIVE = frozenset({"add", "mul", "bitwise_and", "bitwise_or", "bitwise_xor", "eq"})
MAX_SWEEPS = 100


class RewriteError(RuntimeError):
    """A rule that changes the type of a node, or rules that never settle."""


class Of(NamedTuple):
    """A property of the node that a pattern stands for: `shape` or `dtype`."""

    pattern: Pattern
    field: str


class Pattern(Operators):
    """An operation on patterns; a wildcard called `name` when `op` is None."""

    __slots__ = ("op", "inputs", "attrs", "name")

    def __init__(self, op: Op | None, inputs=(), attrs=None, name: str = ""):
        self.op, self.inputs, self.attrs, self.name = op, tuple(inputs), dict(attrs or {}), name

    @property
    def shape(self) -> Of:
        return Of(self, "shape")

    @property
    def dtype(self) -> Of:
        return Of(self, "dtype")

    @staticmethod
    def apply_op(op: Op, inputs: tuple, attrs: dict[str, Any]) -> Pattern:
        patterns = [x for x in inputs if isinstance(x, Pattern)]
        lifted = (x if isinstance(x, Pattern) else literal(patterns[-1], x) for x in inputs)
        return Pattern(op, lifted, attrs)


def constant(value, shape, dtype) -> Pattern:
    """The pattern of a `full` node; each argument may be a wildcard."""
    return Pattern(OPS["full"], (), dict(value=value, shape=shape, dtype=dtype))


def literal(x: Pattern, value) -> Pattern:
    """A constant of the type of x; `value` may be a wildcard or a function of wildcards."""
    return constant(value, x.shape, x.dtype)


class Rule:
    """An equation between graphs; `apply` gives the right side for a node that is a left side.

    `tol` is the relative error the rule may make on ordinary numbers; 0 means the same bits for
    every input, nan, infinities and both zeros included.
    """

    def __init__(self, name: str, sides: Callable, when: Callable | None = None, tol: float = 0.0):
        self.name, self.tol = name, tol
        names = _parameters(sides)
        unknown = set(_parameters(when) if when else ()) - set(names)
        if unknown:
            raise RewriteError(f"the guard of rule {name!r} reads {unknown}, not among {names}")
        self.lhs, self.rhs = sides(*(Pattern(None, name=p) for p in names))
        self.when = _by_name(when) if when else None
        self.root: str = self.lhs.op.name
        self.operands = {x.op for x in self.lhs.inputs if x.op is not None}

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    def apply(self, node: Node) -> Node | None:
        if not self.operands.issubset([x.op for x in node.inputs]):
            return None
        for bound in match(self.lhs, node, {}):
            if self.when is None or self.when(bound):
                return self._checked(node, self._build(node, bound))
        return None

    def _build(self, node: Node, bound: dict) -> Node:
        rhs = self.rhs
        if isinstance(rhs, (bool, int, float)):
            return full_node(rhs, node.type, node.loc)
        return instantiate(rhs, bound, node.loc, {})

    def _checked(self, node: Node, new: Node) -> Node:
        if new.type != node.type:
            raise RewriteError(f"rule {self.name!r} turns {node.type} into {new.type}")
        return new


class Computed:
    """A rule whose right side must be computed: `function(node)` gives a Node or None.

    `examples` are printed graphs that the rule changes; they are its tests.
    """

    def __init__(self, name: str, root: str, function, examples: tuple[str, ...], tol: float = 0.0):
        self.name, self.root, self.function, self.tol = name, root, function, tol
        self.examples = examples

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    def apply(self, node: Node) -> Node | None:
        new = self.function(node)
        if new is not None and new.type != node.type:
            raise RewriteError(f"rule {self.name!r} turns {node.type} into {new.type}")
        return new


class Rules(list):
    """A list of rules with decorators that append to it."""

    def as_set(self, before: Rules | tuple = (), after: Rules | tuple = ()) -> RuleSet:
        """These rules between those of two other lists, which are always the same two."""
        rules = [*before, *self, *after]
        if getattr(self, "_known", None) != rules:
            self._known, self._set = rules, RuleSet((r.root, r) for r in rules)
        return self._set

    def rule(self, name: str, when: Callable | None = None, tol: float = 0.0):
        """Decorator for a function of wildcards that returns (left side, right side)."""

        def add(sides: Callable) -> Rule:
            self.append(Rule(name, sides, when, tol))
            return self[-1]

        return add

    def computed(self, name: str, root: str, *examples: str, tol: float = 0.0):
        """Decorator for a function from a node of op `root` to its replacement or None."""

        def add(function: Callable) -> Computed:
            self.append(Computed(name, root, function, examples, tol))
            return self[-1]

        return add


# -- matching -------------------------------------------------------------------------------------


def match(pattern: Pattern, node: Node, bound: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All ways to bind the wildcards so that `pattern` is `node`, in both orders if commutative."""
    if pattern.op is None:
        if pattern.name not in bound:
            yield {**bound, pattern.name: node}
        elif bound[pattern.name] is node:
            yield bound
        return
    if node.op is not pattern.op or len(node.inputs) != len(pattern.inputs):
        return
    attributes = _match_attrs(pattern.attrs, node.attrs, bound)
    if attributes is None:
        return
    yield from _match_operands(pattern.inputs, node.inputs, attributes)
    if pattern.op.name in COMMUTATIVE:
        yield from _match_operands(pattern.inputs, node.inputs[::-1], attributes)


def _match_operands(patterns, nodes, bound) -> Iterator[dict]:
    if not patterns:
        yield bound
        return
    for found in match(patterns[0], nodes[0], bound):
        yield from _match_operands(patterns[1:], nodes[1:], found)


def _match_attrs(wanted: dict, attrs, bound: dict) -> dict | None:
    """`bound` with attribute wildcards added; None when an attribute differs."""
    for key, want in wanted.items():
        have = attrs.get(key)
        if isinstance(want, Of):
            like = bound.get(want.pattern.name)
            if like is not None and getattr(like.type, want.field) != have:
                return None
            continue  # of an operation: follows from the type rules
        if isinstance(want, Pattern):
            if want.name not in bound:
                bound = {**bound, want.name: have}
                continue
            want = bound[want.name]
        if not _same_value(want, have):
            return None
    return bound


def _same_value(a, b) -> bool:
    """Equal numbers of the same sign (0 is not -0.0), or attributes with one key."""
    numbers = (bool, int, float)
    if isinstance(a, numbers) and isinstance(b, numbers):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return attribute_key({"": a}) == attribute_key({"": b})


def instantiate(pattern: Pattern, bound: dict, loc: Loc, made: dict[int, Node]) -> Node:
    """The node that `pattern` stands for; `made` shares what occurs twice in one right side."""
    if pattern.op is None:
        return bound[pattern.name]
    if id(pattern) not in made:
        operands = [instantiate(x, bound, loc, made) for x in pattern.inputs]
        attrs = {k: _attribute(v, bound, loc, made) for k, v in pattern.attrs.items()}
        if pattern.op.name == "full":
            attrs["value"] = normal_value(attrs["value"], attrs["dtype"])
        made[id(pattern)] = build_node(pattern.op, operands, attrs, loc)
    return made[id(pattern)]


def full_node(value, type: TensorType, loc: Loc | None = None) -> Node:
    """A constant of `type`."""
    attrs = dict(value=normal_value(value, type.dtype), shape=type.shape, dtype=type.dtype)
    return build_node(OPS["full"], (), attrs, loc)


def normal_value(value: bool | int | float, dtype: DType) -> bool | int | float:
    """The value as the Python type of the dtype's kind, unless that would change it."""
    if dtype.kind == "b":
        return value != 0
    if dtype.kind == "f":
        return float(value)
    return int(value) if value == value and abs(value) < 2**53 else value


def _attribute(value, bound, loc, made):
    if isinstance(value, Of):
        return getattr(instantiate(value.pattern, bound, loc, made), value.field)
    if isinstance(value, Pattern):
        return bound[value.name]
    return _by_name(value)(bound) if callable(value) else value


@functools.lru_cache(maxsize=4096)
def _parameters(function: Callable) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _by_name(function: Callable) -> Callable[[dict], Any]:
    """`function` of some wildcards as a function of all bindings."""
    names = _parameters(function)
    return lambda bound: function(*(bound[n] for n in names))


# -- the engine -----------------------------------------------------------------------------------


class RuleSet:
    """Rules by the op of their root. Nodes where none of them fits are marked with `bit`, so that
    the next sweep, and the next pass with these rules, goes on at once."""

    made = 0

    def __init__(self, rules: Iterable[tuple[str, Any]], marks: bool = True):
        self.by_root: dict[str, list] = {}
        for root, rule in rules:
            self.by_root.setdefault(root, []).append(rule)
        self.bit = 1 << RuleSet.made if marks else 0
        RuleSet.made += marks

    @staticmethod
    def of(rules: Iterable | RuleSet) -> RuleSet:
        """A set as it is, or of rules that are used once and leave no marks."""
        if isinstance(rules, RuleSet):
            return rules
        return RuleSet(((r.root, r) for r in rules), marks=False)


def rewrite(graph: Graph, rules: Iterable | RuleSet, limit: list[int] | None = None) -> Graph:
    """`graph` with `rules` applied, operands first, until none fits; bodies included.

    The graph itself when nothing fits. `limit` is a one-element list with the number of rewrites
    still allowed, counted down: halving it finds the one rewrite that breaks a model.
    """
    rules = RuleSet.of(rules)
    by_root, bit = rules.by_root, rules.bit if limit is None else 0
    last: list = [None]

    def visit(node: Node, operands: tuple[Node, ...]) -> Node:
        node = with_operands(node, operands)
        if node.settled & bit:
            return node
        node = with_bodies(node, lambda body: sweep(body))
        while (new := first_match(node)) is not None:
            node = new
        node.settled |= bit
        return node

    def first_match(node: Node) -> Node | None:
        for r in by_root.get(node.name, ()):
            if limit is not None and limit[0] <= 0:
                return None
            new = r.apply(node)
            if new is not None and new is not node:
                last[0] = r
                if limit is not None:
                    limit[0] -= 1
                return new
        return None

    def sweep(graph: Graph) -> Graph:
        for _ in range(MAX_SWEEPS):
            new = rebuild(graph, visit)
            if new is graph:
                return graph
            graph = new
        raise RewriteError(f"the rules do not settle on {graph.name}; last applied: {last[0]}")

    return sweep(graph)


def with_bodies(node: Node, change: Callable[[Graph], Graph]) -> Node:
    """The node with `change` applied to each graph among its attributes."""
    for value in node.attrs.values():
        if isinstance(value, Graph):
            break
    else:
        return node
    bodies = {k: v for k, v in node.attrs.items() if isinstance(v, Graph)}
    new = {k: change(v) for k, v in bodies.items()}
    if all(new[k] is bodies[k] for k in bodies):
        return node
    return Node(node.op, node.inputs, {**node.attrs, **new}, node.type, node.loc)
