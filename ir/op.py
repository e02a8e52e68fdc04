"""What an op is: one class, read by eager mode, tracer, autodiff, interpreter, fusion and backends.

The fields of an op always come in this order:

    doc      one sentence, with the shapes
    type     result type(s) from input types and attributes; raises OpError with a sentence
    eval     numpy meaning; the reference for every test
    vjp      gradients of the inputs, written in ops, so it works eagerly and on graphs alike
    element  one element of the result as scalar code: the lowering that fusion composes

Inputs are positional tensors, attributes keyword-only, static and hashable. An op is called with
the operands themselves: `add(x, y)` builds a graph node if x is a Node and runs if x is a Tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .types import DType, TensorType, bool_

OPS: dict[str, Op] = {}


class OpError(TypeError):
    """An op got operands or attributes it has no meaning for."""


class Op:
    """Base of all ops; subclasses are families that fill in what the family knows."""

    name: str
    differentiable = True
    type: Any
    eval: Any
    vjp: Any
    element: Any = None  # None: the backend has a kernel of its own for it

    if TYPE_CHECKING:  # @op makes an instance to call of each class; a checker sees the class

        def __new__(cls, *operands: Any, **attrs: Any) -> Any: ...

    def __call__(self, *inputs, **attrs):
        for x in inputs:
            world = getattr(type(x), "apply_op", None)
            if world is not None:
                return world(self, inputs, attrs)
        raise OpError(
            f"{self.name}() needs at least one Tensor or Node, got "
            f"{[type(x).__name__ for x in inputs]}"
        )

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self):
        return (OPS.__getitem__, (self.name,))


def op(cls: type) -> Op:
    """Class decorator: makes the one instance of an op and registers it under the class's name.

    Functions in the class body are written without `self`, so that a definition reads as a table.
    """
    for key, value in list(vars(cls).items()):
        if key in ("type", "eval", "vjp", "element", "scalar", "fold_scalars") and callable(value):
            setattr(cls, key, staticmethod(value))
    name = cls.__name__.rstrip("_")
    instance = cls()
    instance.name = name
    if name in OPS:
        raise ValueError(f"op {name} is defined twice")
    OPS[name] = instance
    return instance


def same_type(name: str, types: tuple[TensorType, ...]) -> TensorType:
    """The type all operands share; OpError when they differ (ops never broadcast or promote)."""
    if any(t != types[0] for t in types):
        raise OpError(f"{name}: operands must have one type, got {', '.join(map(str, types))}")
    return types[0]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise OpError(message)


# -- families -------------------------------------------------------------------------------------


class Elementwise(Op):
    """Result element i depends on element i of each operand: same shape in and out.

    `scalar(k, *values)` is the meaning for one element, in kernel-level scalar ops.
    """

    dtypes = "fiub"  # kinds it accepts
    scalar: Any

    def operand_type(self, types) -> TensorType:
        """The one type of all operands; OpError when they differ or their number is wrong."""
        count = self.scalar.__code__.co_argcount - 1
        if len(types) != count:
            raise OpError(f"{self.name} takes {count} operands, got {len(types)}")
        return same_type(self.name, types)

    def type(self, *types):
        t = self.operand_type(types)
        if t.dtype.kind not in self.dtypes:
            raise OpError(f"{self.name} is not defined for {t.dtype.name}")
        return t

    def element(self, k, idx, *xs):
        return self.scalar(k, *(x(idx) for x in xs))


class Comparison(Elementwise):
    """Elementwise with a bool result; no gradient."""

    differentiable = False

    def type(self, *types):
        return TensorType(self.operand_type(types).shape, bool_)

    def vjp(self, g, y, *xs):
        return (None,) * len(xs)


class Movement(Op):
    """Moves elements without changing them: views, padding, concatenation."""


class Reduction(Op):
    """Combines the elements along `axes` (sorted tuple of ints); those axes disappear."""

    combine: str  # kernel-level combiner: add, mul, maximum

    def type(self, x, *, axes):
        check_axes(self.name, axes, len(x.shape))
        return TensorType(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)

    def element(self, k, idx, x, *, axes):
        def body(inner):
            outer, inner = iter(idx), iter(inner)
            return x(tuple(next(inner if i in axes else outer) for i in range(len(x.shape))))

        return k.reduce(self.combine, tuple(x.shape[i] for i in axes), body, x.dtype)


class Contraction(Op):
    """matmul and conv: backends choose the algorithm; `element` is the plain sum."""


class Creation(Op):
    """Has no tensor operand; call through `full_like` / `iota_like` to say whose world it is in."""


def check_axes(name: str, axes, rank: int) -> None:
    ok = tuple(sorted(set(axes))) == tuple(axes) and all(0 <= a < rank for a in axes)
    require(ok, f"{name}: axes must be sorted, distinct and in [0, {rank}), got {axes}")


def apply_like(like, operation: Op, **attrs):
    """Apply an op without operands in the world (eager, traced or graph) of the value `like`."""
    return type(like).apply_op(operation, (), attrs)


def attribute_key(attrs: dict[str, Any]) -> tuple:
    """A hashable key of attributes that keeps 0.0, -0.0, 0 and False apart."""

    def key(v):
        if isinstance(v, float):
            return ("float", v.hex())
        if isinstance(v, (bool, int, str, DType)) or v is None:
            return (type(v).__name__, v)
        if isinstance(v, tuple):
            return ("tuple", *map(key, v))
        return (type(v).__name__, v)

    return tuple((name, key(attrs[name])) for name in sorted(attrs))
