"""Offsets in the arena: nothing alive overlaps, and halves of neighbours in time meet."""

import numpy as np
import pytest
from nncomp.ir.passes.arena import CACHED, GROWTH, arena_bytes, handed_over, lay_out
from nncomp.ir.passes.memory import Value
from nncomp.ir.types import TensorType, float32


def value(kilobytes: int, born: int, dies: int) -> Value:
    return Value(TensorType((kilobytes * 256,), float32), born=born, dies=dies)


def placed(values: list[Value]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (size, born, dies) and offsets."""
    table = np.array([(v.type.nbytes, v.born, v.dies) for v in values])
    return table, np.array([v.place.offset for v in values])


def chain(sizes: list[int]) -> list[Value]:
    """Values that each the next step reads."""
    return [value(size, i, i + 1) for i, size in enumerate(sizes)]


def check(values: list[Value], total: int) -> None:
    for k, a in enumerate(values):
        assert a.place.offset % 64 == 0 and 0 <= a.place.offset <= total - a.type.nbytes
        for b in values[:k]:
            if a.born <= b.dies and b.born <= a.dies:
                assert (
                    a.place.offset + a.type.nbytes <= b.place.offset
                    or b.place.offset + b.type.nbytes <= a.place.offset
                )


@pytest.mark.parametrize("seed", range(20))
def test_what_lives_at_once_never_overlaps(seed):
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(int(rng.integers(2, 60))):
        born = int(rng.integers(0, 40))
        values.append(value(int(rng.integers(1, 900)), born, born + int(rng.integers(0, 6))))
    check(values, lay_out(values))


def test_middles_of_a_chain_meet():
    values = chain([4704, 1176, 294, 1764, 1764, 294, 1764, 441, 98, 588, 588, 98])
    total = lay_out(values)
    check(values, total)
    table, offsets = placed(values)
    assert handed_over(table, offsets) < table[:, 0].sum() / 30
    lowest = 4704 + 1176 << 10
    assert total <= lowest + lowest // GROWTH


def test_what_follows_in_the_other_half_is_counted():
    table = np.array([(1 << 20, 0, 1), (1 << 20, 2, 3)])
    assert handed_over(table, np.array([0, 0])) == 0
    beside = handed_over(table, np.array([0, 512 << 10]))
    assert beside == pytest.approx(1 << 20, rel=0.02)  # half a value, and back in the next run


def test_memory_beyond_the_caches_is_not_spent():
    values = chain([4704 * 8, 1176 * 8, 294 * 8, 1764 * 8])
    assert lay_out(values) == (4704 + 1176) * 8 << 10
    assert (4704 + 1176) * 8 << 10 not in CACHED


def test_an_empty_arena_has_no_bytes():
    assert lay_out([]) == 0
    assert arena_bytes(np.zeros((0, 3), int), np.zeros(0, int)) == 0
