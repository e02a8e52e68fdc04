"""The native thread pool: every thread runs once, barriers hold, forks and exits are clean."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest
from nncomp.backends.cpu import pool as pool_module
from nncomp.backends.cpu.jit import compile_many, link
from nncomp.backends.cpu.pool import Pool, get_pool, runtime_symbols, spread
from nncomp.backends.cpu.target import host_target

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pthreads")
linux = pytest.mark.skipif(sys.platform != "linux", reason="CPU affinity")

# Contexts are arrays of i64. `mark` adds 1 to context[tid] and stores nthreads in context[100].
# `meet` runs context[0] rounds of: write my round, barrier, check everybody's, barrier; it counts
# what it finds wrong in context[1]. `wait` spins until context[0] is set or turns run out.
PROGRAM = """
declare void @nncomp_barrier(ptr, i64)
declare void @nncomp_parallel(ptr, ptr, ptr, i64)

define void @mark(ptr %c, i64 %tid, i64 %n, ptr %b) {
  %p = getelementptr i64, ptr %c, i64 %tid
  %x = load i64, ptr %p
  %y = add i64 %x, 1
  store i64 %y, ptr %p
  %q = getelementptr i64, ptr %c, i64 100
  %first = icmp eq i64 %tid, 0
  br i1 %first, label %tell, label %done
tell:
  store i64 %n, ptr %q
  br label %done
done:
  ret void
}

define void @meet(ptr %c, i64 %tid, i64 %n, ptr %b) {
entry:
  %rounds = load i64, ptr %c
  %wrong = getelementptr i64, ptr %c, i64 1
  %base = getelementptr i64, ptr %c, i64 8
  %mine = getelementptr i64, ptr %base, i64 %tid
  br label %round
round:
  %r = phi i64 [ 1, %entry ], [ %r.next, %after ]
  store i64 %r, ptr %mine
  call void @nncomp_barrier(ptr %b, i64 %n)
  br label %look
look:
  %i = phi i64 [ 0, %round ], [ %i.next, %looked ]
  %at = getelementptr i64, ptr %base, i64 %i
  %seen = load i64, ptr %at
  %good = icmp eq i64 %seen, %r
  br i1 %good, label %looked, label %bad
bad:
  %old = atomicrmw add ptr %wrong, i64 1 monotonic
  br label %looked
looked:
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %n
  br i1 %more, label %look, label %after
after:
  call void @nncomp_barrier(ptr %b, i64 %n)
  %r.next = add i64 %r, 1
  %left = icmp ule i64 %r.next, %rounds
  br i1 %left, label %round, label %done
done:
  ret void
}

define void @wait(ptr %c, i64 %tid, i64 %n, ptr %b) {
entry:
  %entered = getelementptr i64, ptr %c, i64 1
  store atomic i64 1, ptr %entered release, align 8
  br label %look
look:
  %turn = phi i64 [ 0, %entry ], [ %next, %again ]
  %flag = load atomic i64, ptr %c acquire, align 8
  %set = icmp ne i64 %flag, 0
  br i1 %set, label %good, label %again
again:
  %next = add i64 %turn, 1
  %left = icmp ult i64 %next, 2000000000
  br i1 %left, label %look, label %done
good:
  %found = getelementptr i64, ptr %c, i64 2
  store i64 1, ptr %found
  br label %done
done:
  ret void
}

; context: pool, function, context of the inner run
define void @nest(ptr %c, i64 %tid, i64 %n, ptr %b) {
  %first = icmp eq i64 %tid, 0
  br i1 %first, label %inner, label %done
inner:
  %p1 = getelementptr ptr, ptr %c, i64 1
  %p2 = getelementptr ptr, ptr %c, i64 2
  %pool = load ptr, ptr %c
  %f = load ptr, ptr %p1
  %x = load ptr, ptr %p2
  call void @nncomp_parallel(ptr %pool, ptr %f, ptr %x, i64 2)
  br label %done
done:
  ret void
}

; context[tid + 1] = smallest normal number * context[0]
define void @tiny(ptr %c, i64 %tid, i64 %n, ptr %b) {
  %half = load double, ptr %c
  %small = load volatile double, ptr @least
  %x = fmul double %small, %half
  %at = add i64 %tid, 1
  %p = getelementptr double, ptr %c, i64 %at
  store double %x, ptr %p
  ret void
}
@least = global double 0x0010000000000000
"""


@pytest.fixture(scope="module", autouse=True)
def clean(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NNCOMP_")]:
            patch.delenv(name)
        patch.setenv("NNCOMP_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "pool-cache"))
        yield


@pytest.fixture(scope="module")
def program(clean):
    return link(compile_many([PROGRAM], host_target()), runtime_symbols())


def numbers(count: int = 128, first: int = 0):
    array = (ctypes.c_int64 * count)()
    array[0] = first
    return array


def run(pool: Pool, program, name: str, context, nthreads: int) -> None:
    pool.run(program.address(name), ctypes.addressof(context), nthreads)


@pytest.mark.parametrize("nthreads", [1, 2, 3, 5])
def test_every_thread_runs_once(program, nthreads):
    context = numbers()
    for _ in range(200):
        run(get_pool(), program, "mark", context, nthreads)
    assert context[:nthreads] == [200] * nthreads
    assert context[nthreads : nthreads + 10] == [0] * 10
    assert context[100] == nthreads


def test_sleeping_workers_wake_and_sleeping_callers_too(program):
    pool, context = Pool(spin_us=0.0), numbers()
    for _ in range(300):
        run(pool, program, "mark", context, 3)
    time.sleep(0.01)
    run(pool, program, "mark", context, 3)
    assert context[:4] == [301, 301, 301, 0]


def test_one_thread_starts_no_worker(program):
    pool, context = Pool(), numbers()
    run(pool, program, "mark", context, 1)
    run(pool, program, "mark", context, 0)
    assert (context[0], context[100]) == (2, 1)
    assert pool.worker_cpus() == []
    with pytest.raises(ValueError, match="null function address"):
        pool.run(0, None, 1)


@pytest.mark.parametrize(("nthreads", "rounds"), [(1, 100), (2, 20000), (4, 2000), (9, 300)])
def test_barrier_lets_nobody_through_early(program, nthreads, rounds):
    context = numbers(first=rounds)
    run(get_pool(), program, "meet", context, nthreads)
    assert context[1] == 0
    assert context[8 : 8 + nthreads] == [rounds] * nthreads


def test_nested_run_is_serial(program):
    pool, inner = get_pool(), numbers()
    outer = (ctypes.c_void_p * 3)(pool.address, program.address("mark"), ctypes.addressof(inner))
    for _ in range(50):
        run(pool, program, "nest", outer, 2)
    assert (inner[0], inner[1], inner[100]) == (50, 0, 1)


def test_concurrent_runs_from_python_threads(program):
    pool = get_pool()
    contexts = [numbers(first=30) for _ in range(4)]
    counts = [numbers() for _ in range(4)]

    def work(meet, mark):
        for _ in range(100):
            run(pool, program, "meet", meet, 2)
            run(pool, program, "mark", mark, 2)

    pairs = list(zip(contexts, counts, strict=True))
    workers = [threading.Thread(target=work, args=pair) for pair in pairs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert not any(worker.is_alive() for worker in workers)
    for meet, mark in pairs:
        assert meet[1] == 0 and meet[8] == 30
        assert mark[0] == 100 and mark[1] <= 100


def test_python_goes_on_during_a_run_and_a_busy_pool_runs_serially(program):
    pool, context, other = get_pool(), numbers(), numbers()
    pool.grow(2)
    worker = threading.Thread(target=run, args=(pool, program, "wait", context, 2))
    worker.start()
    try:
        while not context[1]:
            time.sleep(0.001)
        run(pool, program, "mark", other, 2)  # the pool is taken: this thread does it alone
        assert (other[0], other[1], other[100]) == (1, 0, 1)
    finally:
        context[0] = 1
        worker.join()
    assert context[2] == 1  # it saw the flag that Python set meanwhile


@pytest.mark.skipif(host_target().arch not in ("x86_64", "aarch64"), reason="flush to zero")
@pytest.mark.parametrize("nthreads", [1, 2])
def test_denormals_are_zero_inside_only(program, nthreads):
    context = (ctypes.c_double * 8)(0.5, *[-1.0] * 7)
    outside = sys.float_info.min * context[0]
    run(get_pool(), program, "tiny", context, nthreads)
    assert list(context[1 : 1 + nthreads]) == [0.0] * nthreads
    assert sys.float_info.min * context[0] == outside > 0.0


def test_refused_threads_leave_fewer(program):
    pool, context = Pool(), numbers()
    real, calls = pool._start, []

    def start(*args):
        calls.append(args)
        return real(*args) if len(calls) == 1 else errno.EAGAIN

    pool._start = start
    with pytest.warns(RuntimeWarning, match="could not start another thread.*going on with 2"):
        run(pool, program, "mark", context, 4)
    assert context[:4] == [1, 1, 0, 0] and context[100] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(pool, program, "mark", context, 4)
    assert len(calls) == 2


def test_without_a_pool_the_caller_does_it_alone(program):
    context = numbers()
    parallel = pool_module._PARALLEL(runtime_symbols()["nncomp_parallel"])
    parallel(None, program.address("mark"), ctypes.addressof(context), 4)
    assert (context[0], context[1], context[100]) == (1, 0, 1)


def threads_of(folder: str = "/proc/self/task") -> set[int]:
    return {int(name) for name in os.listdir(folder)}


@linux
def test_workers_block_signals(program):
    before = threads_of()
    Pool(pin=False).grow(2)
    (worker,) = threads_of() - before
    with open(f"/proc/self/task/{worker}/status") as status:
        (line,) = (line for line in status if line.startswith("SigBlk"))
    assert int(line.split()[1], 16) >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@linux
def test_workers_keep_off_the_callers_cpu(program):
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("needs two CPUs")
    first, second = sorted(allowed)[:2]
    try:
        os.sched_setaffinity(0, {first, second})
        before = threads_of()
        pool, context = Pool(pin=True), numbers()
        run(pool, program, "mark", context, 2)
        (worker,) = threads_of() - before
        for mine, other in [(first, second), (second, first), (first, second)]:
            os.sched_setaffinity(0, {mine})
            run(pool, program, "mark", context, 2)
            assert pool.worker_cpus() == [other]
            assert os.sched_getaffinity(worker) == {other}
    finally:
        os.sched_setaffinity(0, allowed)
    assert context[:2] == [4, 4]


def test_pinning_and_spinning_follow_the_environment(monkeypatch):
    monkeypatch.setenv("NNCOMP_PIN", "0")
    pool = Pool()
    pool.grow(3)
    assert pool.worker_cpus() == [-1, -1]
    monkeypatch.setenv("NNCOMP_PIN", "maybe")
    with pytest.raises(ValueError, match="NNCOMP_PIN is 'maybe'; expected 0 or 1"):
        Pool()
    monkeypatch.setenv("NNCOMP_PIN", "1")
    for bad in ("-1", "nan", "long", "1e9"):
        monkeypatch.setenv("NNCOMP_SPIN_US", bad)
        with pytest.raises(ValueError, match=f"NNCOMP_SPIN_US is '{bad}'"):
            Pool()
    monkeypatch.setenv("NNCOMP_SPIN_US", "")
    assert pool_module._env_spin_us() == pool_module.DEFAULT_SPIN_US


def test_cpu_order_spreads_over_cores_first():
    def pairs(cpu):
        return [cpu % 4, cpu % 4 + 4]

    assert spread(list(range(8)), 1, pairs) == [2, 3, 0, 6, 7, 4, 5]
    assert spread([0, 1, 5], 5, pairs) == [0, 1]
    assert spread([0, 1], 0, lambda cpu: [cpu]) == [1]
    assert spread([2, 3], 0, pairs) == [2, 3]  # the caller is bound to a CPU outside the mask


def test_forked_child_makes_its_own_pool(program):
    """Forked while another thread is in the pool, the child runs, compiles and exits."""
    pool, held = get_pool(), numbers()
    run(pool, program, "mark", numbers(), 2)
    busy = threading.Thread(target=run, args=(pool, program, "wait", held, 2))
    busy.start()
    while not held[1]:
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            context = numbers()
            text = "define void @f(ptr %c, i64 %t, i64 %n, ptr %b) { ret void }"
            fresh = link(compile_many([text], host_target(), cache=None))
            get_pool().run(fresh.address("f"), None, 2)
            run(get_pool(), program, "mark", context, 2)
            code = 0 if context[:2] == [1, 1] and get_pool() is not pool else 2
        finally:
            os._exit(code)
    held[0] = 1
    busy.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    context = numbers()
    run(get_pool(), program, "mark", context, 2)  # the parent's pool still works
    assert context[:2] == [1, 1] and get_pool() is pool


EXIT = """
import threading, time
from nncomp.backends.cpu.jit import compile_many, link
from nncomp.backends.cpu.pool import get_pool, runtime_symbols
from nncomp.backends.cpu.target import host_target
text = '''
define void @f(ptr %c, i64 %t, i64 %n, ptr %b) { ret void }
define void @forever(ptr %c, i64 %t, i64 %n, ptr %b) {
  br label %1
1:
  %x = load volatile i64, ptr %b
  br label %1
}'''
library = link(compile_many([text], host_target()), runtime_symbols())
get_pool().run(library.address("f"), None, 3)
"""


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "time.sleep(0.05)",
        "del library",
        "threading.Thread(target=get_pool().run, args=(library.address('forever'), None, 2),"
        " daemon=True).start(); time.sleep(0.05)",
    ],
    ids=["spinning", "asleep", "unloaded", "running"],
)
def test_interpreter_exits_cleanly(ending):
    done = subprocess.run(
        [sys.executable, "-c", EXIT + ending], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
