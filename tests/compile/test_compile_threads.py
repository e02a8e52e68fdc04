"""Compiled callables in many threads, in forked processes, and with their own thread count."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from compile_helpers import MLP, Conv, assert_same, programs

import nncomp as torch
from nncomp import nn, optim


def in_threads(count, work):
    """Run work(number) in that many threads at once; raise what any of them raised."""
    errors, gate = [], threading.Barrier(count)

    def run(number):
        try:
            gate.wait()
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)
    if errors:
        raise errors[0]


def test_many_threads_call_one_compiled_module():
    compiled = torch.compile(MLP(5, 64, 3))
    xs = [torch.randn(8, 5) for _ in range(6)]
    with torch.no_grad():
        expected = [compiled.forward(x) for x in xs]

    def work(number):
        with torch.no_grad():
            for _ in range(40):
                assert_same(compiled(xs[number]), expected[number])

    in_threads(6, work)
    assert programs(compiled) == 1


def test_many_threads_compile_at_once():
    compiled = torch.compile(Conv().eval())
    xs = [torch.randn(n + 1, 2, 6, 6) for n in range(4)]
    with torch.no_grad():
        expected = [compiled.forward(x) for x in xs]

    def work(number):
        with torch.no_grad():
            for _ in range(3):
                assert_same(compiled(xs[number]), expected[number])
            other = torch.compile(MLP())
            x = torch.randn(number + 2, 5)
            assert_same(other(x), other.forward(x))

    in_threads(4, work)
    assert programs(compiled) == 4


def test_gradients_in_threads():
    def work(number):
        net = MLP()
        compiled = torch.compile(net)
        x = torch.randn(4, 5)
        for _ in range(5):
            net.zero_grad()
            compiled(x).pow(2).sum().backward()
            got = [p.grad for p in net.parameters()]
            net.zero_grad()
            net(x).pow(2).sum().backward()
            assert_same(got, [p.grad for p in net.parameters()], 1e-4)

    in_threads(3, work)


def test_shared_train_step_is_serialized():
    runs = []
    for threads in (1, 4):
        torch.manual_seed(1)
        model = MLP()
        step = torch.compile_train_step(
            model, nn.functional.mse_loss, optim.SGD(model.parameters(), lr=0.01)
        )
        x, y = torch.ones(8, 5), torch.zeros(8, 3)
        step(x, y)

        def work(number, step=step, threads=threads, x=x, y=y):
            for _ in range(20 // threads):
                step(x, y)

        in_threads(threads, work)
        runs.append(dict(model.state_dict()))
    assert_same(runs[0], runs[1])


def test_grad_mode_belongs_to_a_thread():
    compiled = torch.compile(MLP(), backend="numpy")
    x = torch.randn(2, 5)

    def work(number):
        for _ in range(20):
            with torch.set_grad_enabled(number % 2 == 0):
                assert compiled(x).requires_grad is (number % 2 == 0)

    in_threads(4, work)
    assert programs(compiled) == 2


def test_threads_option():
    x = torch.randn(64, 256)
    net = MLP(256, 256, 64)
    expected = net(x).detach()
    for threads in (1, 2, 3):
        with torch.no_grad():
            assert_same(torch.compile(net, threads=threads)(x), expected)
    step = torch.compile_train_step(
        net, nn.functional.mse_loss, optim.SGD(net.parameters(), lr=0.1), threads=1
    )
    step(x, expected)


def test_threads_option_reaches_the_runner():
    compiled = torch.compile(lambda x: x + 1, threads=1)
    compiled(torch.zeros(4))
    program, seen = compiled.last, []

    class Runner:
        def __init__(self, inner):
            self.inner = inner

        def __call__(self, arrays, prepared, threads):
            seen.append(threads)
            return self.inner(arrays, prepared, threads)

    program.runner, program.shortcut, compiled.entries = Runner(program.runner), None, ()
    compiled(torch.zeros(4))
    assert seen == [1]


FORKS = """
    import os, sys
    import nncomp as torch
    from nncomp import nn, optim
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    compiled = torch.compile(net)
    step = torch.compile_train_step(net, nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=0.1))
    x, y = torch.randn(128, 64), torch.arange(128) % 10
    with torch.no_grad():
        before = compiled(x)
    step(x, y)
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            ok = True
            for n in (128, 32):
                with torch.no_grad():
                    error = (compiled(x[:n]) - net(x[:n])).abs().max()
                ok = ok and float(error) < 1e-4
            losses = [float(step(x, y)) for _ in range(5)]
            compiled(x).sum().backward()
            ok = ok and losses[-1] < losses[0] and net[0].weight.grad is not None
            os._exit(0 if ok else 1)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
    with torch.no_grad():
        assert float((compiled(x) - net(x)).abs().max()) < 1e-4
    step(x, y)
    sys.exit(0 if codes == [0, 0] else f"children ended with {codes}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_use_works_in_the_children():
    start = time.monotonic()
    command = [sys.executable, "-c", textwrap.dedent(FORKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 100


def test_eager_calls_of_other_threads_are_no_part_of_a_trace():
    inside, finish = threading.Event(), threading.Event()
    net = MLP()

    def slow(x):
        inside.set()
        finish.wait(30)
        return net(x)

    compiled = torch.compile(slow, backend="numpy")
    x = torch.randn(2, 5)
    found: list = []
    tracer = threading.Thread(target=lambda: found.append(compiled(x)))
    tracer.start()
    assert inside.wait(30)
    other = MLP()
    other(x).sum().backward()
    finish.set()
    tracer.join(30)
    assert_same(found[0], net(x))
    assert other.fc1.weight.grad is not None and not other(x).is_traced
    assert set(compiled.graph.input_names) == {*(f"net.{n}" for n in net.state_dict()), "x"}
