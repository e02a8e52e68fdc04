"""A line search for the strong Wolfe conditions (Nocedal and Wright, 2006, algorithms 3.5, 3.6).

`at(t)` evaluates the function at step length t. The bracketing phase grows t until a minimum is
between two points; the zoom phase shrinks that interval by cubic interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

DECREASE, CURVATURE, LONGEST = 1e-4, 0.9, 25


class Point(NamedTuple):
    """A step length, the value there, the gradient there, and the slope along the direction."""

    t: float
    f: float
    g: Any
    slope: float


def cubic_minimum(
    a: Point, b: Point, bounds: tuple[float, float] | None = None
) -> float:
    """Where the cubic through two points with slopes is least (equation 3.59), in ``bounds``."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    if a.t > b.t:
        a, b = b, a
    first = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t) if a.t != b.t else math.nan
    square = first * first - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    second = math.sqrt(square)
    width = b.slope - a.slope + 2 * second
    if width == 0:
        return (low + high) / 2.0
    place = b.t - (b.t - a.t) * ((b.slope + second - first) / width)
    return min(max(place, low), high)


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, scale: float, smallest: float
) -> tuple[Point, int]:
    """(the accepted point, number of evaluations) along a direction that goes down at ``start``.

    ``scale`` is the largest element of the direction: the search ends when the interval times
    ``scale`` is below ``smallest``.
    """
    point, bracket, used = _bracketed(at, start, t)
    if point is not None:
        return point, used
    return _zoomed(at, start, bracket, used, scale, smallest)


def _bracketed(
    at: Callable[[float], Point], start: Point, t: float
) -> tuple[Point | None, list[Point], int]:
    """(an accepted point or None, otherwise two points around a minimum, evaluations)."""
    previous, new = start, at(t)
    for tries in range(LONGEST):
        if new.f > start.f + DECREASE * new.t * start.slope or (
            tries > 1 and new.f >= previous.f
        ):
            return None, [previous, new], tries + 1
        if abs(new.slope) <= -CURVATURE * start.slope:
            return new, [], tries + 1
        if new.slope >= 0:
            return None, [previous, new], tries + 1
        bounds = new.t + 0.01 * (new.t - previous.t), new.t * 10
        previous, new = new, at(cubic_minimum(previous, new, bounds))
    return None, [start, new], LONGEST + 1


def _zoomed(
    at: Callable[[float], Point],
    start: Point,
    bracket: list[Point],
    used: int,
    scale: float,
    smallest: float,
) -> tuple[Point, int]:
    """Shrink the interval until its better end is accepted or it is too small."""
    stuck = False
    low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
    while used <= LONGEST:
        if abs(bracket[1].t - bracket[0].t) * scale < smallest:
            break
        t, stuck = _inside(cubic_minimum(*bracket), bracket, stuck)
        new = at(t)
        used += 1
        if new.f > start.f + DECREASE * t * start.slope or new.f >= bracket[low].f:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
            continue
        done = abs(new.slope) <= -CURVATURE * start.slope
        if not done and new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
        if done:
            break
    return bracket[low], used


def _inside(t: float, bracket: list[Point], stuck: bool) -> tuple[float, bool]:
    """``t`` kept away from the ends of the interval if it came near them twice."""
    left, right = sorted((bracket[0].t, bracket[1].t))
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if not stuck and left < t < right:
        return t, True
    return (right - margin if abs(t - right) < abs(t - left) else left + margin), False


__all__ = ["Point", "cubic_minimum", "strong_wolfe"]
