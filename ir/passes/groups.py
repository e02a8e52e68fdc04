"""A group of nodes that fusion makes one kernel of, and what may still join it.

A group knows its loops and at which positions of them it reads each node. So it can tell, before
anything is lowered, whether a node would be computed once per element, how often a broadcast one
would be repeated, and how much code the kernel has by now.
"""

from __future__ import annotations

from math import prod

from ..abreast import is_abreast
from ..cost import CHEAP, node_cost
from ..frames import FRAMED, is_frame
from ..graph import Node
from ..index import Index, Var
from ..lower import CENTERS, Reads, domain_of, is_full_position, scatter_places
from ..parts import is_in_parts
from ..pieces import is_long_concat
from ..types import TensorType

MAX_NODES = 48
MAX_BUFFERS = 22
MAX_CODE = 320  # vector instructions: some tens of kilobytes of text
# The same of an epilogue of several parts of a product: a longer one, as the cell of an LSTM, is as
# fast in a kernel of its own, where neighbours in memory follow each other.
PARTS_CODE = 64
SCRATCH = 4096  # elements of a row that a kernel can keep for itself
FREE_WORK = 8192  # operations on single elements that cost less than one more kernel
SCATTER = ("index_add", "index_put", "index_reduce")
REDUCTIONS = frozenset(
    "sum prod amax argmax cumsum max_pool argmax_pool fold "
    "matmul conv conv_transpose conv_weight".split()
)


def is_reduction(node: Node) -> bool:
    """One element reads many: worth computing once."""
    return node.op.element is not None and node.name in REDUCTIONS


class Group:
    """Nodes that become one kernel; `outputs` are those read outside, the root first.

    A root may be the panels of a `matrix`, over which the loops run then.
    """

    def __init__(self, root: Node, alone: frozenset[str] = frozenset(), matrix: Node | None = None):
        self.root, self.alone = root, alone
        self.members: dict[Node, None] = {}
        self.outside: dict[Node, None] = {}  # what members read that is no member
        self.outputs: list[Node] = [root]
        self.center: Node | None = None
        self.in_pieces = is_long_concat(root)
        self.row: frozenset[Var] | None = None  # loops that the reductions depend on
        self.kind = _kind(root)
        self.code = self.repeated = self.work = 0
        self.position = 0  # in the list of groups
        self.domain: tuple[Var, ...] = ()
        frame = root.inputs[0] if self.kind == "map" and is_frame(root) else None
        self.is_framed = frame is not None or matrix is not None
        self.is_abreast = self.kind == "map" and is_abreast(root)
        part = root.inputs[0] if self.is_abreast else root
        self.inner = matrix or frame or part  # what the loops run over
        if isinstance(root.type, TensorType):
            self.domain, self.idx = domain_of(self.inner.type.shape)
        self.reads = Reads(self.domain)
        self._begin()

    def _begin(self) -> None:
        root = self.root
        if self.kind == "scatter":
            for node, idx in scatter_places(root, self.idx):
                self.reads.at(node, idx)
        elif self.kind != "opaque":
            for x in root.inputs if self.is_abreast else (self.inner,):
                self.reads.at(x, self.idx)
        if root.name in CENTERS:
            self.center = root
        elif is_reduction(root):
            self.row = frozenset(self.domain)
        self._take(root)

    @property
    def extent(self) -> int:
        return self.root.type.size if self.kind != "opaque" else -1

    # -- joining -------------------------------------------------------------------------------

    def join_view(self, node: Node) -> bool:
        """Take in a copy of a view, if the kernel may read through it."""
        if self.reads_memory(node) or len(self.members) >= MAX_NODES:
            return False
        self._take(node)
        return True

    def join(self, node: Node, stored: bool = False) -> bool:
        """Try to compute `node` in this kernel; with `stored` as a further result of it."""
        if self.reads_memory(node) or not self._has_room(node, stored):
            return False
        if self.kind == "scatter" and (stored or is_reduction(node) or node.name in NO_SCATTER):
            return False
        if not self._fits_product(node):
            return False
        if node.name in SCATTER or (self.in_pieces and (stored or is_reduction(node))):
            return False
        if is_long_concat(node) and not self._can_be_cut(node, stored):
            return False
        if node.name in CENTERS:
            if not self._can_be_center(node, stored):
                return False
            self.center, self.kind = node, CENTERS[node.name]
        elif not self._accepts(node, stored):
            return False
        self.in_pieces = self.in_pieces or is_long_concat(node)
        self._take(node)
        if stored:
            self.outputs.append(node)
        return True

    def join_beside(self, node: Node) -> bool:
        """Take in `node`, which no member reads, as a further result over all loops."""
        self.reads.at(node, self.idx)
        return self.join(node, stored=True)

    def _take(self, node: Node) -> None:
        self.members[node] = None
        self.outside.pop(node, None)
        self.outside.update((x, None) for x in node.inputs if x not in self.members)
        if self.kind == "opaque" or node is self.center or node.name in SCATTER:
            return
        self.code += node_cost(node) * max(1, len(self.reads.places.get(node, ())))
        self.reads.follow(node)
        if is_reduction(node):
            seen = [idx for x in node.inputs for idx in self.reads.positions(x)]
            self.work = max(self.work, *map(self._turns, seen), 0)

    def reads_memory(self, node: Node) -> bool:
        """Whether a member must find this operand stored in memory."""
        if self.kind == "opaque" or not self.extent:
            return True
        return self.center is not None and node in self.center.inputs

    def _has_room(self, node: Node, stored: bool) -> bool:
        buffers = len(self.outside) + len(self.outputs) + len(node.inputs) + stored - 1
        code = node_cost(node) * len(self.reads.places.get(node, ()))
        return (
            len(self.members) < MAX_NODES
            and buffers <= MAX_BUFFERS
            and self.code + code <= MAX_CODE
        )

    def _fits_product(self, node: Node) -> bool:
        """Whether `node` and a member are not both reductions, if one of them is in `alone`; what
        such a one reads comes from memory, widened at most."""
        everything = frozenset(self.domain)
        if node.name in self.alone:
            return self.row is None and self.kind == "map" and self._place(node) == everything
        if not any(n.name in self.alone for n in self.members):
            return True
        used = frozenset(v for idx in self.reads.positions(node) for i in idx for v in i.vars)
        return not is_reduction(node) and (used <= everything or self._is_widened_factor(node))

    def _is_widened_factor(self, node: Node) -> bool:
        """A half that a product of floats reads: multiplying narrow numbers widens them anyway."""
        if node.name != "cast" or not any(n.name in self.alone for n in self.members):
            return False
        narrow, wide = node.inputs[0].dtype, node.dtype
        used = frozenset(v for idx in self.reads.positions(node) for i in idx for v in i.vars)
        is_half = narrow.kind == wide.kind == "f" and narrow.itemsize == 2
        return is_half and not used <= frozenset(self.domain)

    def _can_be_center(self, node: Node, stored: bool) -> bool:
        """A contraction, if this is its epilogue: the same elements, no reduction of its own."""
        if self.center is not None or self.row is not None or self.kind != "map":
            return False
        if self.in_pieces or (self.is_framed and CENTERS[node.name] not in FRAMED):
            return False
        if self.is_abreast:
            return False
        if any(node in u.inputs and u.name in CENTERS for u in self.members):
            return False
        outputs = [self.inner if o is self.root else o for o in self.outputs]
        if not all(o.type.size == self.inner.type.size for o in outputs):
            return False
        if not all(map(self._runs_along, outputs)):
            return False
        if self._place(node) == frozenset(self.domain):
            return self._runs_along(node)
        if stored or self.code > PARTS_CODE:
            return False
        return is_in_parts(node, self.reads.positions(node), self.domain)

    def _can_be_cut(self, node: Node, stored: bool) -> bool:
        """Whether the loops may be cut at the ends of a long concat's operands."""
        if stored or self.in_pieces or len(self.outputs) > 1 or self.kind != "map":
            return False
        if self.is_framed or self.is_abreast:
            return False
        if self.row is not None or self.code * len(node.inputs) > MAX_CODE:
            return False
        return self._place(node) == frozenset(self.domain)

    def _accepts(self, node: Node, stored: bool) -> bool:
        everything = frozenset(self.domain)
        if self._is_widened_factor(node):
            return True
        if not stored and not is_reduction(node):
            return self._can_repeat(node)
        place = self._place(node)
        if place is None or (is_reduction(node) and self.center is not None):
            return False
        if stored and place == everything and not self._runs_along(node):
            return False
        if is_reduction(node) or place != everything:
            if self.center is not None or self.row not in (None, place):
                return False
            if not is_reduction(node) and not self._may_be_row(place):
                return False
            self.row = place
        return True

    def _may_be_row(self, place: frozenset[Var]) -> bool:
        """Whether something shared may be computed at the outer loops `place`: they must be the
        first anyway, and a single number is not worth carrying in (and waiting for) this kernel."""
        prefix = self.domain[: len(place)]
        return bool(place) and (place == self.row or place == frozenset(prefix))

    # -- places and work -----------------------------------------------------------------------

    def _place(self, node: Node) -> frozenset[Var] | None:
        """The loops over which the group reads `node`, if it reads each element once there."""
        seen = self.reads.positions(node)
        if len(seen) != 1 or not is_full_position(seen[0], node.type.shape):
            return None
        place = frozenset(i.terms[0][0] for i in seen[0] if i.terms)
        return place if place <= frozenset(self.domain) else None

    def _runs_along(self, node: Node) -> bool:
        """Whether neighbours in `node` are neighbours in the root: others are slow to store."""
        seen = self.reads.positions(node)
        if len(seen) != 1:
            return False
        last = [i for i in seen[0] if i.terms][-1:]
        return not last or node.type.size < SCRATCH or last[0].vars == {self.domain[-1]}

    def _can_repeat(self, node: Node) -> bool:
        """Whether computing `node` wherever it is read costs less than storing it."""
        cost, seen = node_cost(node), self.reads.positions(node)
        extra = cost * (sum(map(self._turns, seen)) - node.type.size) - node.type.size
        if extra > 0 and self._fits_scratch(seen, node):
            extra = 0
        if self.repeated + extra > FREE_WORK + self._all_work() // 2:
            return False
        self.repeated += max(extra, 0)
        if self.row is None and self.center is None and cost > CHEAP:
            place = self._place(node)
            if place is not None and place < frozenset(self.domain) and node.type.size > 1:
                self.row = place  # keeps the loops in the order in which this was judged
        return True

    def _turns(self, idx: tuple[Index, ...]) -> int:
        """How often an expression at this position is computed."""
        used = frozenset().union(*(i.vars for i in idx)) if idx else frozenset()
        inner = prod(v.extent for v in used - frozenset(self.domain))
        if self.kind == "scatter":
            return prod(v.extent for v in used)
        row = self.row if self.row is not None else frozenset()
        if inner > 1 or used <= row:
            return inner * prod(v.extent for v in row)
        if self.center is not None:
            return self._turns_of_all()
        order = [v for v in self.domain if v in row] + [v for v in self.domain if v not in row]
        last = max((k for k, v in enumerate(order) if v in used), default=-1)
        return prod(v.extent for v in order[: last + 1])

    def _turns_of_all(self) -> int:
        return prod(v.extent for v in self.domain)

    def _all_work(self) -> int:
        """About how many operations on elements the kernel does anyway."""
        work = self._turns_of_all()
        if self.center is not None:
            work *= max(1, center_depth(self.center) // 16)
        return max(work, self.work)

    def _fits_scratch(self, seen: list[tuple[Index, ...]], node: Node) -> bool:
        """Read over and over within one row: backends keep such a row instead of repeating it."""
        if not self.row or self.row == frozenset(self.domain) or not node.shape:
            return False
        if any(not is_full_position(idx, node.shape) for idx in seen):
            return False
        lasting = [frozenset(i.terms[0][0] for i in idx if i.terms) & self.row for idx in seen]
        rest = node.type.size // prod(v.extent for v in self.row)
        return all(vars == self.row for vars in lasting) and rest <= SCRATCH

    # -- the finished group --------------------------------------------------------------------

    def ordered(self) -> list[Node]:
        """The members, operands first."""
        order: dict[Node, None] = {}
        stack = [(n, False) for n in reversed(self.outputs)]
        while stack:
            node, ready = stack.pop()
            if ready:
                order[node] = None
            elif node in self.members and node not in order:
                stack.append((node, True))
                stack.extend((x, False) for x in reversed(node.inputs))
        return list(order)

    def operands(self) -> list[Node]:
        """What the members read from outside, in a stable order."""
        return list(
            dict.fromkeys(x for n in self.ordered() for x in n.inputs if x not in self.members)
        )


NO_SCATTER = (*CENTERS, "concat")


def center_depth(center: Node) -> int:
    """How many terms one element of a contraction or a window has."""
    if center.name == "contract":
        return prod(e for e, *_ in center.attrs["k"]) * (2 if center.attrs.get("paired") else 1)
    if center.name in ("winograd", "winograd_line"):
        return 9 * center.inputs[1].shape[2]
    return prod(center.attrs.get("kernel") or center.inputs[1].shape[:-2])


def _kind(root: Node) -> str:
    if root.name in SCATTER:
        return "scatter"
    if root.name in CENTERS:
        return CENTERS[root.name]
    return "map" if root.op.element is not None and isinstance(root.type, TensorType) else "opaque"
