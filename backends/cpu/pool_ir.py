"""The thread pool's code, as LLVM IR text (`pool.py` runs it).

Pool, slots and barrier are plain memory with the byte offsets below. A slot belongs to one worker:
the caller sets `go` and the worker clears it; `asleep` tells the caller to ring its condition. The
caller writes the job before it sets `go`, and `pending` counts the workers still at it. No wake-up
is lost, because each side stores, then loads what the other one stores, in sequential order.
"""

from __future__ import annotations

from nncomp.backends.cpu.target import Target, host_target, is_linux, is_posix

BARRIER_BYTES = 256  # zero bytes are a barrier nobody waits at

# Byte offsets. What different threads write lies 128 bytes apart: CPUs fetch lines in pairs. A
# pthread mutex or condition takes up to 64 bytes on the systems known.
POOL = {
    "busy": 0, "run": 128, "context": 136, "nthreads": 144, "spins": 152, "workers": 160,
    "most_spins": 168, "cpus": 176, "home": 184, "pending": 256, "joining": 260, "barrier": 384,
    "mutex": 640, "cond": 768, "slots": 896,
}  # fmt: skip
SLOT = {"go": 0, "asleep": 4, "cpu": 8, "thread": 16, "owner": 24, "tid": 32, "mutex": 128,
         "cond": 256}  # fmt: skip
SLOT_BYTES = 384
_BARRIER = {"arrived": 0, "generation": 128, "patience": 132}

_LOCK, _UNLOCK = "call i32 @pthread_mutex_lock(ptr {})", "call i32 @pthread_mutex_unlock(ptr {})"


def pool_text(target: Target | None = None) -> str:
    """The pool's LLVM module for `target` (by default this machine).

    It defines `void nncomp_parallel(ptr pool, ptr run, ptr context, i64 nthreads)`,
    `void nncomp_barrier(ptr barrier, i64 nthreads)`, `void nncomp_spin(i64 turns)` and, where
    there are pthreads, `ptr nncomp_pool_new(i64 slots, i64 spins, i64 cpus)` and
    `i32 nncomp_pool_start(ptr pool, i32 cpu)`, which adds a worker and returns an errno. A null
    pool runs everything on the caller.
    """
    target = target or host_target()
    parts = [core_text(target, is_linux(target)), _SPIN]
    if is_posix(target):
        parts += [_new_text(), _start_text()]
        parts += [_pin_text(), _move_text()] if is_linux(target) else [_NO_PIN]
    return "\n".join([*parts, "attributes #0 = { nounwind }", ""])


def core_text(target: Target, follows: bool) -> str:
    """The part of a pool that runs programs: barrier, caller and workers.

    With `follows`, it calls `nncomp_move(pool, cpu)` when the caller is on another CPU.
    """
    arch = target.arch if target.arch in _PAUSE else ""
    parts = [_PAUSE[arch], _barrier_text(is_posix(target)), _parallel_text(target, arch, follows)]
    if is_posix(target):
        parts += [_POSIX, _worker_text(arch), _RING]
    return "\n".join(parts)


def _fields(base: str, table: dict[str, int], *names: str) -> str:
    """Lines that make `%base.name` the address of each named field."""
    lines = [f"  %{base}.{n} = getelementptr i8, ptr %{base}, i64 {table[n]}" for n in names]
    return "\n".join(lines)


def _spin_while(tag: str, address: str, stay: str, turns: str, found: str, late: str) -> str:
    """Look at the i32 at `address` while it is `stay` ("eq 0"), then jump to `found`.

    After `turns` looks, with a pause after each, jump to `late`.
    """
    relation, value = stay.split()
    return f"""  br label %{tag}.enter
{tag}.enter:
  br label %{tag}
{tag}:
  %{tag}.turn = phi i64 [ 0, %{tag}.enter ], [ %{tag}.next, %{tag}.pause ]
  %{tag}.now = load atomic i32, ptr {address} acquire, align 4
  %{tag}.same = icmp {relation} i32 %{tag}.now, {value}
  br i1 %{tag}.same, label %{tag}.check, label %{found}
{tag}.check:
  %{tag}.left = icmp ult i64 %{tag}.turn, {turns}
  br i1 %{tag}.left, label %{tag}.pause, label %{late}
{tag}.pause:
  call void @nncomp_pause()
  %{tag}.next = add i64 %{tag}.turn, 1
  br label %{tag}"""


def _pause(declare: str, call: str) -> str:
    return f"""{declare}
define internal void @nncomp_pause() alwaysinline nounwind {{
  {call}
  ret void
}}"""


_PAUSE = {
    "x86_64": _pause("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()")
    + "\ndeclare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)",
    "aarch64": _pause("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)")
    + "\ndeclare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)",
    "": _pause("", 'call void asm sideeffect "", "~{memory}"()'),
}

# Denormals to zero, rounding to nearest, no traps: a set value rather than the caller's bits plus
# two, so that the caller's rounding mode cannot make its own thread differ from the workers.
SET_MODE = {
    "x86_64": "  %mode = alloca i32, align 4\n  store i32 40896, ptr %mode\n"
    "  call void @llvm.x86.sse.ldmxcsr(ptr %mode)",
    "aarch64": "  call void @llvm.aarch64.set.fpcr(i64 16777216)",
    "": "",
}
SAVE_MODE = {
    "x86_64": "  %saved = alloca i32, align 4\n  call void @llvm.x86.sse.stmxcsr(ptr %saved)",
    "aarch64": "  %saved = call i64 @llvm.aarch64.get.fpcr()",
    "": "",
}
RESTORE_MODE = {
    "x86_64": "  call void @llvm.x86.sse.ldmxcsr(ptr %saved)",
    "aarch64": "  call void @llvm.aarch64.set.fpcr(i64 %saved)",
    "": "",
}

_SPIN = """define void @nncomp_spin(i64 %turns) #0 {
entry:
  br label %again
again:
  %turn = phi i64 [ 0, %entry ], [ %next, %again ]
  call void @nncomp_pause()
  %next = add i64 %turn, 1
  %left = icmp ult i64 %next, %turns
  br i1 %left, label %again, label %done
done:
  ret void
}"""


def _barrier_text(posix: bool) -> str:
    """The last thread to arrive opens the next generation; the others spin, then give way."""
    give_way = "call i32 @sched_yield()" if posix else "call void @nncomp_pause()"
    return f"""define void @nncomp_barrier(ptr %barrier, i64 %nthreads) #0 {{
  %alone = icmp sle i64 %nthreads, 1
  br i1 %alone, label %done, label %meet
meet:
{_fields("barrier", _BARRIER, *_BARRIER)}
  %generation = load atomic i32, ptr %barrier.generation monotonic, align 4
  %before = atomicrmw add ptr %barrier.arrived, i32 1 acq_rel
  %here = add i32 %before, 1
  %all = trunc i64 %nthreads to i32
  %last = icmp eq i32 %here, %all
  br i1 %last, label %open, label %wait
open:
  store atomic i32 0, ptr %barrier.arrived monotonic, align 4
  %next = add i32 %generation, 1
  store atomic i32 %next, ptr %barrier.generation release, align 4
  br label %done
wait:
  %patience = load i32, ptr %barrier.patience, align 4
  %turns = zext i32 %patience to i64
{_spin_while("spin", "%barrier.generation", "eq %generation", "%turns", "done", "late")}
late:
  {give_way}
  %now = load atomic i32, ptr %barrier.generation acquire, align 4
  %same = icmp eq i32 %now, %generation
  br i1 %same, label %late, label %done
done:
  ret void
}}"""


def _parallel_text(target: Target, arch: str, follows: bool) -> str:
    shared = _shared_text(follows) if is_posix(target) else "  br label %serial"
    return f"""define void @nncomp_parallel(ptr %pool, ptr %run, ptr %context, i64 %asked) #0 {{
  %barrier = alloca [{BARRIER_BYTES} x i8], align 8
{SAVE_MODE[arch]}
{SET_MODE[arch]}
  %single = icmp sle i64 %asked, 1
  %absent_pool = icmp eq ptr %pool, null
  %alone = or i1 %single, %absent_pool
  br i1 %alone, label %serial, label %shared
shared:
{shared}
serial:
{_fields("barrier", _BARRIER, *_BARRIER)}
  store i32 0, ptr %barrier.arrived
  store i32 0, ptr %barrier.generation
  store i32 0, ptr %barrier.patience
  call void %run(ptr %context, i64 0, i64 1, ptr %barrier)
  br label %return
return:
{RESTORE_MODE[arch]}
  ret void
}}"""


def _shared_text(follows: bool) -> str:
    """Take the pool, hand the job to the slots, do thread 0's part, join.

    Bound workers follow a caller that the system has moved.
    """
    follow = ""
    if follows:
        follow = """  %home = load i32, ptr %pool.home
  %pinned = icmp sge i32 %home, 0
  br i1 %pinned, label %look, label %post
look:
  %cpu = call i32 @sched_getcpu()
  %moved = icmp ne i32 %cpu, %home
  br i1 %moved, label %follow, label %post
follow:
  call void @nncomp_move(ptr %pool, i32 %cpu)"""
    return f"""{_fields("pool", POOL, *POOL)}
  %taking = cmpxchg ptr %pool.busy, i32 0, i32 1 acquire monotonic
  %taken = extractvalue {{ i32, i1 }} %taking, 1
  br i1 %taken, label %size, label %serial
size:
  %workers = load atomic i64, ptr %pool.workers acquire, align 8
  %most = add i64 %workers, 1
  %nthreads = call i64 @llvm.smin.i64(i64 %asked, i64 %most)
  %few = icmp eq i64 %nthreads, 1
  br i1 %few, label %refuse, label %start
refuse:
  store atomic i32 0, ptr %pool.busy release, align 4
  br label %serial
start:
{follow}
  br label %post
post:
{_post_text()}
  call void %run(ptr %context, i64 0, i64 %nthreads, ptr %pool.barrier)
{_spin_while("join", "%pool.pending", "ne 0", "%spins", "finish", "rest")}
rest:
  {_LOCK.format("%pool.mutex")}
  store atomic i32 1, ptr %pool.joining seq_cst, align 4
  br label %check
check:
  %away = load atomic i32, ptr %pool.pending seq_cst, align 4
  %open = icmp ne i32 %away, 0
  br i1 %open, label %sleep, label %rise
sleep:
  call i32 @pthread_cond_wait(ptr %pool.cond, ptr %pool.mutex)
  br label %check
rise:
  store atomic i32 0, ptr %pool.joining monotonic, align 4
  {_UNLOCK.format("%pool.mutex")}
  br label %finish
finish:
  store atomic i32 0, ptr %pool.busy release, align 4
  br label %return"""


def _post_text() -> str:
    """Write the job, then set `go` in the slots of threads 1 .. nthreads-1 and wake who sleeps."""
    patience = POOL["barrier"] + _BARRIER["patience"]
    return f"""  %cpus = load i64, ptr %pool.cpus
  %crowded = icmp ugt i64 %nthreads, %cpus
  %most_spins = load i64, ptr %pool.most_spins
  %spins = select i1 %crowded, i64 0, i64 %most_spins
  store atomic i64 %spins, ptr %pool.spins monotonic, align 8
  %pool.patience = getelementptr i8, ptr %pool, i64 {patience}
  %few_turns = trunc i64 %spins to i32
  store i32 %few_turns, ptr %pool.patience
  store ptr %run, ptr %pool.run
  store ptr %context, ptr %pool.context
  store i64 %nthreads, ptr %pool.nthreads
  %others = sub i64 %nthreads, 1
  %absent = trunc i64 %others to i32
  store atomic i32 %absent, ptr %pool.pending monotonic, align 4
  br label %call
call:
  %i = phi i64 [ 0, %post ], [ %i.next, %called ]
  %place = mul i64 %i, {SLOT_BYTES}
  %slot = getelementptr i8, ptr %pool.slots, i64 %place
{_fields("slot", SLOT, "go", "asleep", "mutex", "cond")}
  store atomic i32 1, ptr %slot.go seq_cst, align 4
  %asleep = load atomic i32, ptr %slot.asleep seq_cst, align 4
  %awake = icmp eq i32 %asleep, 0
  br i1 %awake, label %called, label %wake
wake:
  call void @nncomp_ring(ptr %slot.mutex, ptr %slot.cond)
  br label %called
called:
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %others
  br i1 %more, label %call, label %own
own:"""


def _worker_text(arch: str) -> str:
    """A worker's life: spin, sleep, work, and ring the caller if it was the last one out.

    A job without a function ends it.
    """
    return f"""define internal ptr @nncomp_worker(ptr %slot) #0 {{
{_fields("slot", SLOT, *SLOT)}
  %pool = load ptr, ptr %slot.owner
  %tid = load i64, ptr %slot.tid
{_fields("pool", POOL, *POOL)}
{SET_MODE[arch]}
  br label %wait
wait:
  %spins = load atomic i64, ptr %pool.spins monotonic, align 8
{_spin_while("idle", "%slot.go", "eq 0", "%spins", "work", "rest")}
rest:
  {_LOCK.format("%slot.mutex")}
  store atomic i32 1, ptr %slot.asleep seq_cst, align 4
  br label %check
check:
  %go = load atomic i32, ptr %slot.go seq_cst, align 4
  %quiet = icmp eq i32 %go, 0
  br i1 %quiet, label %sleep, label %rise
sleep:
  call i32 @pthread_cond_wait(ptr %slot.cond, ptr %slot.mutex)
  br label %check
rise:
  store atomic i32 0, ptr %slot.asleep monotonic, align 4
  {_UNLOCK.format("%slot.mutex")}
  br label %work
work:
  store atomic i32 0, ptr %slot.go monotonic, align 4
  %run = load ptr, ptr %pool.run
  %over = icmp eq ptr %run, null
  br i1 %over, label %leave, label %job
leave:
  ret ptr null
job:
  %context = load ptr, ptr %pool.context
  %nthreads = load i64, ptr %pool.nthreads
  call void %run(ptr %context, i64 %tid, i64 %nthreads, ptr %pool.barrier)
  %before = atomicrmw sub ptr %pool.pending, i32 1 seq_cst
  %last = icmp eq i32 %before, 1
  br i1 %last, label %tell, label %wait
tell:
  %joining = load atomic i32, ptr %pool.joining seq_cst, align 4
  %waited = icmp ne i32 %joining, 0
  br i1 %waited, label %ring, label %wait
ring:
  call void @nncomp_ring(ptr %pool.mutex, ptr %pool.cond)
  br label %wait
}}"""


_POSIX = """declare i64 @llvm.smin.i64(i64, i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i32 @posix_memalign(ptr, i64, i64)
declare i32 @sched_yield()
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)"""

_RING = f"""define internal void @nncomp_ring(ptr %mutex, ptr %cond) noinline nounwind {{
  {_LOCK.format("%mutex")}
  call i32 @pthread_cond_signal(ptr %cond)
  {_UNLOCK.format("%mutex")}
  ret void
}}"""


def _new_text() -> str:
    """A pool without workers, null where memory is short. It is never freed: workers look at it."""
    return f"""define ptr @nncomp_pool_new(i64 %slots, i64 %spins, i64 %cpus) #0 {{
  %place = alloca ptr, align 8
  %part = mul i64 %slots, {SLOT_BYTES}
  %size = add i64 %part, {POOL["slots"]}
  %failed = call i32 @posix_memalign(ptr %place, i64 128, i64 %size)
  %full = icmp ne i32 %failed, 0
  br i1 %full, label %none, label %made
none:
  ret ptr null
made:
  %pool = load ptr, ptr %place
  call void @llvm.memset.p0.i64(ptr %pool, i8 0, i64 %size, i1 false)
{_fields("pool", POOL, "most_spins", "cpus", "home", "mutex", "cond")}
  store i64 %spins, ptr %pool.most_spins
  store i64 %cpus, ptr %pool.cpus
  store i32 -1, ptr %pool.home
  call i32 @pthread_mutex_init(ptr %pool.mutex, ptr null)
  call i32 @pthread_cond_init(ptr %pool.cond, ptr null)
  ret ptr %pool
}}"""


def _start_text() -> str:
    return f"""define i32 @nncomp_pool_start(ptr %pool, i32 %cpu) #0 {{
{_fields("pool", POOL, "workers", "slots")}
  %workers = load i64, ptr %pool.workers
  %place = mul i64 %workers, {SLOT_BYTES}
  %slot = getelementptr i8, ptr %pool.slots, i64 %place
{_fields("slot", SLOT, "cpu", "thread", "owner", "tid", "mutex", "cond")}
  %tid = add i64 %workers, 1
  store i32 -1, ptr %slot.cpu
  store ptr %pool, ptr %slot.owner
  store i64 %tid, ptr %slot.tid
  call i32 @pthread_mutex_init(ptr %slot.mutex, ptr null)
  call i32 @pthread_cond_init(ptr %slot.cond, ptr null)
  %failed = call i32 @pthread_create(ptr %slot.thread, ptr null, ptr @nncomp_worker, ptr %slot)
  %full = icmp ne i32 %failed, 0
  br i1 %full, label %none, label %made
none:
  ret i32 %failed
made:
  call void @nncomp_pin(ptr %slot, i32 %cpu)
  %thread = load i64, ptr %slot.thread
  call i32 @pthread_detach(i64 %thread)
  store atomic i64 %tid, ptr %pool.workers release, align 8
  ret i32 0
}}"""


_NO_PIN = """define internal void @nncomp_pin(ptr %slot, i32 %cpu) #0 {
  ret void
}"""


def _pin_text() -> str:
    """Bind a slot's thread to one CPU; Linux's default mask has 1024 bits."""
    return f"""declare i32 @sched_getcpu()
declare i32 @pthread_setaffinity_np(i64, i64, ptr)
define internal void @nncomp_pin(ptr %slot, i32 %cpu) noinline nounwind {{
  %mask = alloca [16 x i64], align 8
{_fields("slot", SLOT, "cpu", "thread")}
  %known = icmp ult i32 %cpu, 1024
  br i1 %known, label %bind, label %done
bind:
  store i32 %cpu, ptr %slot.cpu
  call void @llvm.memset.p0.i64(ptr %mask, i8 0, i64 128, i1 false)
  %wide = zext i32 %cpu to i64
  %word = lshr i64 %wide, 6
  %bit = and i64 %wide, 63
  %one = shl i64 1, %bit
  %at = getelementptr i64, ptr %mask, i64 %word
  store i64 %one, ptr %at
  %thread = load i64, ptr %slot.thread
  call i32 @pthread_setaffinity_np(i64 %thread, i64 128, ptr %mask)
  br label %done
done:
  ret void
}}"""


def _move_text() -> str:
    """The caller now runs on `cpu`: a worker bound there takes the CPU that the caller left."""
    return f"""define internal void @nncomp_move(ptr %pool, i32 %cpu) noinline nounwind {{
{_fields("pool", POOL, "home", "workers", "slots")}
  %home = load i32, ptr %pool.home
  %workers = load atomic i64, ptr %pool.workers acquire, align 8
  store i32 %cpu, ptr %pool.home
  br label %look
look:
  %i = phi i64 [ 0, %0 ], [ %i.next, %other ]
  %place = mul i64 %i, {SLOT_BYTES}
  %slot = getelementptr i8, ptr %pool.slots, i64 %place
{_fields("slot", SLOT, "cpu")}
  %bound = load i32, ptr %slot.cpu
  %clash = icmp eq i32 %bound, %cpu
  br i1 %clash, label %move, label %other
move:
  call void @nncomp_pin(ptr %slot, i32 %home)
  ret void
other:
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %workers
  br i1 %more, label %look, label %done
done:
  ret void
}}"""
