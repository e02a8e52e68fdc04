"""LBFGS: limited-memory quasi-Newton steps (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..autograd.modes import state as mode
from ..tensor import Tensor
from ..trace_error import trace_error
from ._line_search import Point, strong_wolfe
from ._state import check_rate
from .optimizer import Optimizer, check_not_negative

NOT_COMPILED = (
    "LBFGS calls the model several times in each step, as often as the values ask for, so that "
    "its step cannot be compiled; call optimizer.step(closure) in eager code"
)


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, 1989), with the line search "strong_wolfe" on demand.

    ``step(closure)`` runs up to ``max_iter`` iterations; ``closure`` clears the gradients, computes
    the loss, calls backward() and returns the loss. There can be one parameter group only.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        defaults = {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def init_state(self) -> None:
        """Refuse: a step cannot be traced."""
        raise NotImplementedError(NOT_COMPILED)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # ---- flat vectors ----

    def _flat_grad(self) -> Tensor:
        parts = [
            nncomp.zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.reshape(-1)
            for p in self._params
        ]
        return nncomp.cat(parts, 0)

    def _set(self, start: list[Tensor], t: float, direction: Tensor) -> None:
        """Put the parameters at ``start`` + t * direction."""
        place = 0
        for param, old in zip(self._params, start, strict=True):
            part = direction[place : place + param.numel()].view(param.shape)
            param.copy_(old + part * t)
            place += param.numel()

    def _copies(self) -> list[Tensor]:
        return [p.detach().clone() for p in self._params]

    # ---- the direction ----

    def _direction(self, state: dict[str, Any], grad: Tensor) -> Tensor:
        """Minus the gradient times the inverse Hessian that the last steps suggest."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return -grad
        change, step = grad - state["prev_flat_grad"], state["d"] * state["t"]
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        curvature = change.dot(step)
        if float(curvature) > 1e-10:
            if len(changes) == self.param_groups[0]["history_size"]:
                for history in (changes, steps, ro):
                    history.pop(0)
            changes.append(change)
            steps.append(step)
            ro.append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change)
        return self._two_loops(state, -grad)

    def _two_loops(self, state: dict[str, Any], q: Tensor) -> Tensor:
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        shares: list[Any] = [None] * self.param_groups[0]["history_size"]
        for i in reversed(range(len(changes))):
            shares[i] = steps[i].dot(q) * ro[i]
            q = q - changes[i] * shares[i]
        r = q * state["H_diag"]
        for i in range(len(changes)):
            r = r + steps[i] * (shares[i] - changes[i].dot(r) * ro[i])
        state["al"] = shares
        return r

    # ---- the step ----

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Minimize; return the loss that ``closure`` gave first."""
        if mode.tracer is not None:
            raise trace_error(NOT_COMPILED)
        if closure is None:
            raise TypeError("LBFGS.step() needs a closure that computes the loss and its gradient")

        def evaluate() -> Any:
            with nncomp.enable_grad():
                return closure()

        with nncomp.no_grad():
            return self._minimize(evaluate)

    def _minimize(self, evaluate: Callable[[], Any]) -> Any:
        group, state = self.param_groups[0], self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = evaluate()
        loss, grad, evals = float(first), self._flat_grad(), 1
        state["func_evals"] += 1
        if _largest(grad) <= group["tolerance_grad"]:
            return first
        for n_iter in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, grad)
            state.update(d=direction, prev_flat_grad=grad.clone(), prev_loss=loss)
            state["t"] = t = self._first_length(state, grad)
            slope = float(grad.dot(direction))
            if slope > -group["tolerance_change"]:
                break
            before = loss
            loss, grad, used = self._move(evaluate, Point(t, loss, grad, slope), n_iter)
            evals += used
            state["func_evals"] += used
            t = state["t"]
            small = group["tolerance_change"]
            if (
                evals >= group["max_eval"]
                or _largest(grad) <= group["tolerance_grad"]
                or _largest(direction * t) <= small
                or abs(loss - before) < small
            ):
                break
        return first

    def _first_length(self, state: dict[str, Any], grad: Tensor) -> float:
        lr = float(self.param_groups[0]["lr"])
        return min(1.0, 1.0 / float(grad.abs().sum())) * lr if state["n_iter"] == 1 else lr

    def _move(self, evaluate: Callable[[], Any], now: Point, n_iter: int) -> tuple:
        """Go along the direction; (loss, gradient, evaluations) at the new place."""
        group, state = self.param_groups[0], self.state[self._params[0]]
        direction, start = state["d"], self._copies()
        if group["line_search_fn"] is None:
            self._set(start, now.t, direction)
            if n_iter == group["max_iter"]:
                return now.f, now.g, 0
            return float(evaluate()), self._flat_grad(), 1

        def at(t: float) -> Point:
            self._set(start, t, direction)
            loss, grad = float(evaluate()), self._flat_grad()
            return Point(t, loss, grad, float(grad.dot(direction)))

        origin = Point(0.0, now.f, now.g, now.slope)
        found, used = strong_wolfe(at, origin, now.t, _largest(direction), 1e-9)
        self._set(start, found.t, direction)
        state["t"] = found.t
        return found.f, found.g, used


def _largest(x: Tensor) -> float:
    return float(x.abs().max())


__all__ = ["LBFGS"]
