"""autograd.Function: operations with a gradient written by the user.

New style: static `forward(ctx, ...)`, or `forward(...)` with `setup_context`, and a static
`backward(ctx, ...)`, called by `apply`. Old style: an instance that is called, `ReLUF()(x)`. In
both the context is an instance of the class, so that methods find saved tensors and their own
attributes in one place.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..ir import ops
from . import engine
from .modes import state
from .saved import Saved, save
from .tape import FREED, Edge, TapeNode, edge_of, zeros_of


class Function:
    """Base of custom operations; a subclass defines `forward` and `backward`."""

    needs_input_grad: tuple[bool, ...] = ()
    _to_save: tuple = ()
    _saved: Any = None
    _dirty: tuple = ()
    _non_differentiable: tuple = ()
    _materialize = True
    _used = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results; recorded operations inside have no gradient of their own."""
        raise NotImplementedError("You must implement the forward function for custom Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Save what backward needs, if `forward` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradient of each argument of forward (None for those without)."""
        raise NotImplementedError(
            "You must implement the backward function for custom autograd.Function."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward on `args`; the results know how to find their gradient."""
        return _run(object.__new__(cls), args)

    def __call__(self, *args: Any) -> Any:
        """Run forward on `args`, with this instance as its context (old style)."""
        ctx = copy.copy(self) if self._used else self
        self._used = True
        return _run(ctx, args)

    # -- context ----------------------------------------------------------------------------------

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward, where `saved_tensors` gives them back."""
        for number, t in enumerate(tensors):
            if t is not None and not hasattr(t, "_type"):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {number} is of type "
                    f"{type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Accepted for torch's sake: forward-mode differentiation does not exist here."""

    @property
    def saved_tensors(self) -> tuple:
        """What save_for_backward kept; RuntimeError after the graph was freed."""
        if self._saved is FREED:
            raise RuntimeError(FREED)
        if self._saved is None:
            return self._to_save
        return tuple(None if s is None else s.unpack() for s in self._saved)

    saved_variables = saved_tensors
    to_save = saved_tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Say that forward wrote these inputs in place; each must be returned."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say that these results have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """With False, backward gets None instead of zeros for results that were not used."""
        self._materialize = value


class SavedTensor:
    """A tensor that a Function saved: a leaf itself, otherwise its data and where it came from."""

    __slots__ = ("type", "saved", "edge", "leaf")

    def __init__(self, x: Any, edge: Edge | None):
        self.type, self.edge = x._type, edge
        self.saved: Saved = save(x)
        self.leaf = x if x._grad_fn is None and x._base is None and edge is None else None

    def unpack(self) -> Any:
        """The tensor as it was; RuntimeError if it was written since."""
        if self.saved.counter[0] != self.saved.version:
            return self.saved.unpack(self.type, self.edge)._data
        return self.saved.unpack(self.type, self.edge) if self.leaf is None else self.leaf


def _run(ctx: Function, args: tuple) -> Any:
    """Run forward and put a FunctionNode behind its results."""
    tracer = state.tracer
    if tracer is not None:
        return tracer.function(ctx, args)
    node = function_node(ctx, args)
    output = call_forward(ctx, args)
    outputs = output if isinstance(output, tuple) else (output,)
    results = tuple(_result(y, i, ctx, node, args) for i, y in enumerate(outputs))
    keep_saved(ctx, node, outputs)
    return results if isinstance(output, tuple) else results[0]


def function_node(ctx: Function, args: tuple) -> FunctionNode | None:
    """The node for a call, or None if no gradient will be asked for."""
    ctx.needs_input_grad = tuple(hasattr(a, "_type") and a.requires_grad for a in args)
    if not (state.grad_enabled and any(ctx.needs_input_grad)):
        return None
    edges = [edge_of(a) if need else None for a, need in zip(args, ctx.needs_input_grad)]  # noqa: B905
    return FunctionNode(ctx, edges, args)


def call_forward(ctx: Function, args: tuple) -> Any:
    """What the user's forward returns; it runs without recording."""
    cls = type(ctx)
    before = state.grad_enabled
    state.grad_enabled = False
    try:
        if cls.setup_context is Function.setup_context:
            return cls.forward(ctx, *args)
        output = cls.forward(*args)
        cls.setup_context(ctx, args, output)
        return output
    finally:
        state.grad_enabled = before


def keep_saved(ctx: Function, node: Any, outputs: Sequence) -> None:
    """Turn the tensors given to save_for_backward into saved values; no cycle through results."""
    if node is None:
        ctx._saved = None
        return
    numbers = {id(y): i for i, y in enumerate(outputs)}

    def kept(t: Any) -> SavedTensor | None:
        if t is None:
            return None
        number = numbers.get(id(t))
        known = number is not None and node.result_types[number] is not None
        edge = (node, number) if known else (None if t.is_leaf else edge_of(t))
        return SavedTensor(t, edge)

    ctx._saved = [kept(t) for t in ctx._to_save]
    ctx._to_save = ()
    ctx._dirty = ctx._non_differentiable = ()


def _among(x: Any, tensors: Sequence) -> bool:
    return any(x is t for t in tensors)


def _result(y: Any, number: int, ctx: Function, node: Any, args: tuple) -> Any:
    """Result `number` of forward as the caller gets it."""
    from ..inplace import alias

    if not hasattr(y, "_type"):
        if node is not None:
            node.add_result(None)
        return y
    plain = node is None or y._type.dtype.kind != "f" or _among(y, ctx._non_differentiable)
    if _among(y, ctx._dirty):
        return _written(y, number, node, plain)
    if _among(y, args) or y.requires_grad:
        y = alias(y)
    if node is not None:
        node.add_result(None if plain else y._type)
    if not plain:
        y._grad_fn, y._output_nr, y._requires_grad = node, number, True
    return y


def _written(x: Any, number: int, node: Any, plain: bool) -> Any:
    """An input that forward wrote in place: its history goes through the node from now on."""
    from ..inplace import alias, rebase

    if node is not None:
        if x.is_leaf and x.requires_grad:
            raise RuntimeError(
                "a leaf Variable that requires grad has been used in an in-place operation."
            )
        node.add_result(None if plain else x._type)
    if x._counter is None:
        x._counter = [0]
    x._counter[0] += 1
    if not plain:
        value = alias(x)
        value._grad_fn, value._output_nr, value._requires_grad = node, number, True
        rebase(x, value)
    return x


class FunctionNode(TapeNode):
    """A recorded call of a Function."""

    __slots__ = ("ctx", "arg_types", "result_types")

    def __init__(self, ctx: Function, edges: list, args: tuple):
        super().__init__(edges, 0)
        self.ctx = ctx
        self.arg_types = [getattr(a, "_type", None) for a in args]
        self.result_types: list = []

    def add_result(self, type_: Any) -> None:
        """Note the type of the next result; None for one without gradient."""
        self.result_types.append(type_)
        self.n_results += 1

    def name(self) -> str:
        return f"{type(self.ctx).__name__}Backward"

    @property
    def saved_tensors(self) -> tuple:
        """What forward saved."""
        return self.ctx.saved_tensors

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """Which arguments require a gradient."""
        return self.ctx.needs_input_grad

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        ctx = self.ctx
        if ctx._materialize:
            grads = [
                zeros_of(t) if g is None and t is not None else g
                for g, t in zip(grads, self.result_types, strict=True)
            ]
        results = call_backward(ctx, [engine.readable(g) for g in grads])
        return check_gradients(self.name(), results, self.arg_types, wanted)

    def release(self) -> None:
        if self.ctx._saved:
            self.ctx._saved = FREED


def call_backward(ctx: Function, grads: Sequence) -> tuple:
    """What the user's backward (or vjp) returns, as a tuple."""
    cls = type(ctx)
    rule = cls.vjp if cls.backward is Function.backward else cls.backward
    results = rule(ctx, *grads)
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)


def check_gradients(name: str, grads: tuple, types: Sequence, wanted: Sequence[bool]) -> list:
    """One gradient per argument, in the type of the argument; torch's errors for anything else."""
    if len(grads) > len(types) and all(g is None for g in grads[len(types) :]):
        grads = grads[: len(types)]
    if len(grads) != len(types):
        raise RuntimeError(
            f"function {name} returned an incorrect number of gradients (expected {len(types)}, "
            f"got {len(grads)})"
        )
    checked = []
    for number, (g, type_, want) in enumerate(zip(grads, types, wanted, strict=True)):
        if g is not None and not hasattr(g, "_type"):
            raise RuntimeError(
                f"function {name} returned a gradient at position {number} that is no Tensor: "
                f"expected Variable or None (got {type(g).__name__})"
            )
        if g is not None and type_ is None:
            raise RuntimeError(
                f"function {name} returned a gradient different than None at position "
                f"{number + 1}, but the corresponding forward input was not a Variable"
            )
        checked.append(_fitted(name, number, g, type_) if want and g is not None else None)
    return checked


def _fitted(name: str, number: int, g: Any, type_: Any) -> Any:
    """`g` summed to the shape and cast to the dtype of the argument."""
    shape = g._type.shape
    if shape != type_.shape:
        lead = len(shape) - len(type_.shape)
        pairs = zip(shape[max(lead, 0) :], type_.shape, strict=False)
        if lead < 0 or any(m not in (1, n) for n, m in pairs):
            raise RuntimeError(
                f"Function {name} returned an invalid gradient at index {number} - got "
                f"{list(shape)} but expected shape compatible with {list(type_.shape)}"
            )
        kept = (1,) * lead + type_.shape
        pairs = enumerate(zip(shape, kept, strict=True))
        axes = tuple(i for i, (n, m) in pairs if n != m or i < lead)
        g = ops.reshape(ops.sum(g, axes=axes), shape=type_.shape)
    return g if g._type == type_ else ops.cast(g, dtype=type_.dtype)


class OnceNode(TapeNode):
    """Stands behind results of a backward that cannot be differentiated again."""

    __slots__ = ()

    def run(self, grads: list, wanted: Sequence[bool]) -> Sequence:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(rule: Callable) -> Callable:
    """Decorate `backward` that is not made of differentiable operations."""

    @functools.wraps(rule)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        before = state.grad_enabled
        state.grad_enabled = False
        try:
            results = rule(ctx, *grads)
        finally:
            state.grad_enabled = before
        if not before or not any(g is not None and g.requires_grad for g in grads):
            return results
        items = results if isinstance(results, tuple) else (results,)
        marked = tuple(g if g is None else _once(g, grads) for g in items)
        return marked if isinstance(results, tuple) else marked[0]

    return wrapped


def _once(g: Any, grads: Sequence) -> Any:
    from ..inplace import alias

    g = alias(g)
    edges = [edge_of(x) for x in grads if x is not None and x.requires_grad]
    g._grad_fn, g._requires_grad = OnceNode(edges), True
    return g


__all__ = ["Function", "once_differentiable"]
