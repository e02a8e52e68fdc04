"""Threads of an exported file: the pool of `pool_ir.py` in memory of the caller, without malloc.

A workspace begins with the pool. `NAME_threads_start(workspace, count)` makes it and starts
count - 1 workers; `NAME_threads_stop(workspace)` ends them and waits. A run without a started pool
is an error, because what lies in the workspace before is unknown.
"""

from __future__ import annotations

from ..pool_ir import POOL, SLOT, SLOT_BYTES, core_text
from ..target import Target

ALIGN = 128
SPINS = 5000  # turns of about 10 to 40 ns before a worker sleeps
_STARTED = 0x6E6E636F6D705F31  # where the pool was made: an unused word of its head
_MARK_AT = 192


def pool_bytes(threads: int) -> int:
    """Bytes of a pool at the front of a workspace, 0 for one thread."""
    if threads == 1:
        return 0
    size = POOL["slots"] + (threads - 1) * SLOT_BYTES
    return -(-size // ALIGN) * ALIGN


def threads_text(name: str, target: Target, threads: int, argument: int, refused: int) -> str:
    """The pool, `@pool_of(workspace)` and the two functions; their codes for wrong arguments."""
    return "\n".join([
        core_text(target, follows=False),
        _DECLARED,
        _pool_of_text(),
        _start_text(name, threads, argument, refused),
        _stop_text(name),
    ])  # fmt: skip


_DECLARED = """declare i32 @pthread_join(i64, ptr)
declare i32 @pthread_mutex_destroy(ptr)
declare i32 @pthread_cond_destroy(ptr)"""


def _field(base: str, name: str, table: dict[str, int]) -> str:
    return f"  %{base}.{name} = getelementptr i8, ptr %{base}, i64 {table[name]}"


def aligned(workspace: str, made: str) -> str:
    """Lines that make `made` the first address of a workspace that may be used."""
    return f"""  %address = ptrtoint ptr {workspace} to i64
  %above = add i64 %address, {ALIGN - 1}
  %aligned = and i64 %above, {-ALIGN}
  {made} = inttoptr i64 %aligned to ptr"""


def _pool_of_text() -> str:
    """The pool of a workspace, null where none was started."""
    return f"""define internal ptr @pool_of(ptr %workspace) #0 {{
{aligned("%workspace", "%pool")}
  %at = getelementptr i8, ptr %pool, i64 {_MARK_AT}
  %mark = load i64, ptr %at
  %started = icmp eq i64 %mark, {_STARTED}
  %found = select i1 %started, ptr %pool, ptr null
  ret ptr %found
}}"""


def _start_text(name: str, threads: int, argument: int, refused: int) -> str:
    fields = ["spins", "workers", "most_spins", "cpus", "home", "mutex", "cond", "slots"]
    return f"""define i32 @{name}_threads_start(ptr %workspace, i32 %count) #0 {{
  %absent = icmp eq ptr %workspace, null
  br i1 %absent, label %wrong, label %given
given:
  %few = icmp slt i32 %count, 1
  %many = icmp sgt i32 %count, {threads}
  %odd = or i1 %few, %many
  br i1 %odd, label %wrong, label %make
wrong:
  ret i32 {argument}
make:
{aligned("%workspace", "%pool")}
  call void @llvm.memset.p0.i64(ptr %pool, i8 0, i64 {pool_bytes(threads)}, i1 false)
{chr(10).join(_field("pool", f, POOL) for f in fields)}
  %total = zext i32 %count to i64
  store i64 {SPINS}, ptr %pool.most_spins
  store i64 {SPINS}, ptr %pool.spins
  store i64 %total, ptr %pool.cpus
  store i32 -1, ptr %pool.home
  call i32 @pthread_mutex_init(ptr %pool.mutex, ptr null)
  call i32 @pthread_cond_init(ptr %pool.cond, ptr null)
  %mark = getelementptr i8, ptr %pool, i64 {_MARK_AT}
  store i64 {_STARTED}, ptr %mark
  br label %next
next:
  %tid = phi i64 [ 1, %make ], [ %following, %started ]
  %more = icmp ult i64 %tid, %total
  br i1 %more, label %start, label %done
start:
  %number = sub i64 %tid, 1
  %place = mul i64 %number, {SLOT_BYTES}
  %slot = getelementptr i8, ptr %pool.slots, i64 %place
{chr(10).join(_field("slot", f, SLOT) for f in ("cpu", "thread", "owner", "tid", "mutex", "cond"))}
  store i32 -1, ptr %slot.cpu
  store ptr %pool, ptr %slot.owner
  store i64 %tid, ptr %slot.tid
  call i32 @pthread_mutex_init(ptr %slot.mutex, ptr null)
  call i32 @pthread_cond_init(ptr %slot.cond, ptr null)
  %failed = call i32 @pthread_create(ptr %slot.thread, ptr null, ptr @nncomp_worker, ptr %slot)
  %full = icmp ne i32 %failed, 0
  br i1 %full, label %none, label %started
started:
  store atomic i64 %tid, ptr %pool.workers release, align 8
  %following = add i64 %tid, 1
  br label %next
none:
  call void @{name}_threads_stop(ptr %workspace)
  ret i32 {refused}
done:
  ret i32 0
}}"""


def _stop_text(name: str) -> str:
    return f"""define void @{name}_threads_stop(ptr %workspace) #0 {{
  %absent = icmp eq ptr %workspace, null
  br i1 %absent, label %done, label %look
look:
  %pool = call ptr @pool_of(ptr %workspace)
  %none = icmp eq ptr %pool, null
  br i1 %none, label %done, label %stop
stop:
{chr(10).join(_field("pool", f, POOL) for f in ("run", "workers", "mutex", "cond", "slots"))}
  %workers = load atomic i64, ptr %pool.workers acquire, align 8
  store ptr null, ptr %pool.run
  br label %next
next:
  %i = phi i64 [ 0, %stop ], [ %following, %ended ]
  %more = icmp ult i64 %i, %workers
  br i1 %more, label %one, label %over
one:
  %place = mul i64 %i, {SLOT_BYTES}
  %slot = getelementptr i8, ptr %pool.slots, i64 %place
{chr(10).join(_field("slot", f, SLOT) for f in ("go", "thread", "mutex", "cond"))}
  store atomic i32 1, ptr %slot.go seq_cst, align 4
  call void @nncomp_ring(ptr %slot.mutex, ptr %slot.cond)
  %thread = load i64, ptr %slot.thread
  call i32 @pthread_join(i64 %thread, ptr null)
  br label %ended
ended:
  call i32 @pthread_mutex_destroy(ptr %slot.mutex)
  call i32 @pthread_cond_destroy(ptr %slot.cond)
  %following = add i64 %i, 1
  br label %next
over:
  call i32 @pthread_mutex_destroy(ptr %pool.mutex)
  call i32 @pthread_cond_destroy(ptr %pool.cond)
  %mark = getelementptr i8, ptr %pool, i64 {_MARK_AT}
  store i64 0, ptr %mark
  br label %done
done:
  ret void
}}"""
