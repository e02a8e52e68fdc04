"""compile_train_step given something else: what was got, what was expected, what to do."""

from __future__ import annotations

import pytest

import nncomp
from nncomp import nn, optim

F = nn.functional
X, Y = nncomp.ones(4, 3), nncomp.zeros(4, 2)


def make(model=None, loss_fn=F.mse_loss, optimizer=None, **options):
    net = nn.Linear(3, 2)
    model = net if model is None else model
    optimizer = optim.SGD(net.parameters(), 0.1) if optimizer is None else optimizer
    return nncomp.compile_train_step(model, loss_fn, optimizer, backend="numpy", **options)


def forward(x):
    return x * 2


WRONG = {
    "a function as model": (dict(model=forward), "takes a Module .* got the function forward; put"),
    "a class as model": (dict(model=nn.Linear), "got the class Linear; make an instance"),
    "a tensor as model": (dict(model=X), "takes a Module as its model, got Tensor"),
    "a number as loss": (dict(loss_fn=3), "function or Module as loss_fn.* got int; the order is"),
    "a class as loss": (dict(loss_fn=nn.MSELoss), "got the class MSELoss; make an instance first"),
    "a module as optimizer": (
        dict(optimizer=nn.Linear(3, 2)),
        "takes an Optimizer of nncomp.optim, got Linear; the order is model, loss_fn, optimizer",
    ),
    "a class as optimizer": (dict(optimizer=optim.SGD), "the class SGD; make an instance first"),
    "a list as optimizer": (dict(optimizer=[1]), "Optimizer of nncomp.optim, got list"),
    "a scheduler as optimizer": (
        dict(optimizer=optim.lr_scheduler.StepLR(optim.SGD([nn.Parameter(X)], 0.1), 1)),
        "got StepLR; pass the optimizer that it drives",
    ),
    "a number as before_update": (dict(before_update=1.0), "before_update must be .* got float"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_named(case):
    arguments, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        make(**arguments)


def test_loss_and_optimizer_in_the_wrong_order():
    net = nn.Linear(3, 2)
    with pytest.raises(TypeError, match="got SGD; the order is model, loss_fn, optimizer"):
        nncomp.compile_train_step(net, optim.SGD(net.parameters(), 0.1), F.mse_loss)


def test_an_optimizer_of_torch_is_named_in_full():
    torch = pytest.importorskip("torch")
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    with pytest.raises(TypeError, match=r"Optimizer of nncomp.optim, got torch\.optim\."):
        make(optimizer=theirs)


def test_an_optimizer_over_other_parameters_would_train_nothing():
    others = optim.SGD(nn.Linear(3, 2).parameters(), 0.1)
    step = make(optimizer=others)
    with pytest.raises(ValueError, match=r"none of the optimizer's 2 parameters .*\[2, 3\], \[2\]"):
        step(X, Y)


def test_parameters_that_only_the_loss_has_can_be_trained():
    frozen = nn.Linear(3, 2).requires_grad_(False)
    scale = nn.Parameter(nncomp.ones(()))
    step = make(frozen, lambda y, t: F.mse_loss(y * scale, t), optim.SGD([scale], 0.1))
    before = scale.item()
    step(X, Y)
    assert scale.item() != before


def test_a_compiled_module_and_a_module_as_loss_pass():
    net = nn.Linear(3, 2)
    optimizer = optim.SGD(net.parameters(), 0.1)
    step = make(nncomp.compile(net, backend="numpy"), nn.MSELoss(), optimizer)
    assert step(X, Y).item() > step(X, Y).item()
