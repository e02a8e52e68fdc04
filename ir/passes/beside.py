"""Two results that come from one product, neither from the other, are stored by its kernel.

    y = gelu(contract(..))           fused_0 = fused(.., kind="contract") {
    d = derivative(contract(..))  ->   y = ..
                                       d = .. } : (y, d)

Fusion finds results that other members of a kernel read. These two are found by the product that
both are elementwise functions of; apart, they would need all they share in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..graph import Node
from ..op import Elementwise
from ..panels import product_of
from .groups import Group

if TYPE_CHECKING:
    from .fuse import Fusion


def with_neighbour(fusion: Fusion, group: Group) -> Group:
    """`group`, which has just begun, with what an earlier group computes from the same product."""
    product = _product(group)
    if product is None:
        return group
    for other in fusion.groups:
        if other is group or _product(other) is not product or not _is_plain(other):
            continue
        if not _needs_later(fusion, other):
            joined = _joined(group, other)
            if joined is not None:
                _replace(fusion, group, other, joined)
                return joined
    return group


def _product(group: Group) -> Node | None:
    if group.kind != "map" or group.is_abreast or group.in_pieces:
        return None
    return product_of(group.inner) if isinstance(group.inner.op, Elementwise) else None


def _is_plain(group: Group) -> bool:
    """Whether its one result lies as it is computed, and has no reduction in it."""
    one = group.outputs == [group.inner]
    return one and group.center is None and group.row is None and not group.is_framed


def _needs_later(fusion: Fusion, group: Group) -> bool:
    """Whether it reads what a group stores that came after it."""
    return any(g.position > group.position for x in group.outside for g in fusion.homes.get(x, ()))


def _joined(group: Group, other: Group) -> Group | None:
    """A group with the root of `group` and the members of both; None if that is too much."""
    both = Group(group.root, group.alone, group.inner if group.inner is not group.root else None)
    if not all(both.join_view(n) for n in group.members if n is not group.root):
        return None
    return both if both.join_beside(other.root) and all(
        both.join(n) for n in other.members if n is not other.root
    ) else None  # fmt: skip


def _replace(fusion: Fusion, group: Group, other: Group, both: Group) -> None:
    """Put `both` where `group` is: at the end, behind all that reads either."""
    for old in (group, other):
        fusion.groups.remove(old)
        for n in old.members:
            fusion.homes[n].remove(old)
    for n in both.members:
        fusion.homes.setdefault(n, []).append(both)
    fusion.groups.append(both)
    for position, g in enumerate(fusion.groups):
        g.position = position
