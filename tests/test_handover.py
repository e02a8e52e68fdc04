"""The interval between Python threads while LLVM works in the background."""

from __future__ import annotations

import sys
import threading

import pytest
from nncomp.backends.cpu.handover import SECONDS, quick_handover
from nncomp.backends.cpu.object_maker import ObjectMaker
from nncomp.backends.cpu.target import host_target
from nncomp.backends.cpu.threads import get_num_threads


@pytest.fixture(autouse=True)
def usual():
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def interval() -> float:
    return pytest.approx(sys.getswitchinterval())


def test_it_is_short_until_the_last_block_ends():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with quick_handover():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(10)
    with quick_handover():
        assert interval() == SECONDS
    assert interval() == SECONDS
    leave.set()
    thread.join()
    assert interval() == 0.005


def test_it_comes_back_after_an_error():
    with pytest.raises(KeyError), quick_handover():
        raise KeyError
    assert interval() == 0.005


def test_a_shorter_one_and_one_set_meanwhile_stay():
    with quick_handover():
        sys.setswitchinterval(0.02)
    assert interval() == 0.02
    sys.setswitchinterval(2e-5)
    with quick_handover():
        assert interval() == 2e-5
    assert interval() == 2e-5


@pytest.mark.skipif(get_num_threads() < 2, reason="one thread compiles by itself")
def test_other_tasks_are_done_by_the_end_and_their_errors_are_not_its_own():
    done = []
    with ObjectMaker(host_target(), None) as maker:
        assert interval() == SECONDS
        maker.begin(lambda: done.append(1), lambda: 1 // 0)
        maker.objects([maker.add("define void @f() { ret void }")])
    assert done == [1] and interval() == 0.005
