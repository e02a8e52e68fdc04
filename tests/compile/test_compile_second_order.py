"""Second derivatives in compiled code: penalties, products with the Hessian, func's transforms."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")
attention_kernels = pytest.importorskip("torch.nn.attention")  # only the plain one differentiates


@pytest.fixture(autouse=True)
def plain_attention():
    with attention_kernels.sdpa_kernel(attention_kernels.SDPBackend.MATH):
        yield


def data(m, *shape, seed=0):
    x = np.random.default_rng([seed, *shape]).normal(size=shape)
    return m.from_numpy(x.astype(np.float32))


def mlp(nn):
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 3)), (4, 6)


def convolutional(nn):
    layers = (
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.AvgPool2d(2),
        nn.Conv2d(4, 3, 3), nn.SiLU(), nn.Flatten(), nn.Linear(3 * 4, 3),
    )  # fmt: skip
    return nn.Sequential(*layers), (4, 2, 8, 8)


def strided(nn):
    layers = (
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.GELU(),
        nn.ConvTranspose2d(4, 2, 3, stride=2), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(2 * 9, 3),
    )  # fmt: skip
    return nn.Sequential(*layers), (4, 2, 8, 8)


def attention(nn):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 3)

        def forward(self, x):
            y, _ = self.mix(x, x, x, need_weights=False)
            return self.out(self.norm(x + y)).mean(1)

    return Block(), (4, 5, 8)


def recurrent(nn):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    return Last(), (4, 6, 3)


NETS = {f.__name__: f for f in (mlp, convolutional, strided, attention, recurrent)}


def build(m, name):
    torch.manual_seed(0)
    reference, shape = NETS[name](torch.nn)
    if m is torch:
        return reference, shape
    model, _ = NETS[name](nncomp.nn)
    model.load_state_dict(
        {k: nncomp.from_numpy(v.numpy().copy()) for k, v in reference.state_dict().items()}
    )
    return model, shape


def targets(m):
    return m.tensor([0, 2, 1, 1])


def penalized(m, model):
    """Cross entropy and the squared distance of the input gradient's norm from 1."""

    def loss(x):
        x = x.detach().requires_grad_()
        y = model(x)
        (g,) = m.autograd.grad(y.sum(), x, create_graph=True)
        penalty = ((g.flatten(1).norm(dim=1) - 1) ** 2).mean()
        return m.nn.functional.cross_entropy(y, targets(m)) + 0.5 * penalty

    return loss


def close(a, b, rtol=2e-3):
    a, b = a.detach().numpy(), b.detach().numpy()
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * abs(b).max() + 1e-6)


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_a_gradient_penalty(name):
    theirs, shape = build(torch, name)
    ours, _ = build(nncomp, name)
    expected = penalized(torch, theirs)(data(torch, *shape))
    expected.backward()
    loss = nncomp.compile(penalized(nncomp, ours))(data(nncomp, *shape))
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-4)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        if q.grad is not None and abs(q.grad.numpy()).max() > 1e-5:
            close(p.grad, q.grad)


def product(m, model):
    """The Hessian of the loss times a vector, both in terms of all parameters."""
    parameters = list(model.parameters())

    def hvp(x, *vectors):
        loss = m.nn.functional.cross_entropy(model(x), targets(m))
        gradients = m.autograd.grad(loss, parameters, create_graph=True)
        dot = sum((g * v).sum() for g, v in zip(gradients, vectors, strict=True))
        return m.autograd.grad(dot, parameters)

    vectors = [data(m, *p.shape, seed=number) for number, p in enumerate(parameters)]
    return hvp, vectors


@pytest.mark.parametrize("name", NETS)
def test_hessian_vector_products(name):
    theirs, shape = build(torch, name)
    ours, _ = build(nncomp, name)
    hvp, vectors = product(torch, theirs)
    expected = hvp(data(torch, *shape), *vectors)
    hvp, vectors = product(nncomp, ours)
    found = nncomp.compile(hvp)(data(nncomp, *shape), *vectors)
    for y, z in zip(found, expected, strict=True):
        close(y, z)


def test_a_product_is_the_difference_of_gradients():
    model, shape = build(nncomp, "mlp")
    model.double()
    x = data(nncomp, *shape).double()
    hvp, vectors = product(nncomp, model)
    vectors = [v.double() for v in vectors]
    found = nncomp.compile(hvp)(x, *vectors)
    sides = []
    for step in (1e-5, -1e-5):
        moved, _ = build(nncomp, "mlp")
        moved.double()
        with nncomp.no_grad():
            for p, v in zip(moved.parameters(), vectors, strict=True):
                p.add_(v * step)
        nncomp.nn.functional.cross_entropy(moved(x), targets(nncomp)).backward()
        sides.append([p.grad for p in moved.parameters()])
    for y, up, down in zip(found, *sides, strict=True):
        close(y, (up - down) / 2e-5, 1e-6)


def test_backward_through_a_compiled_call_twice():
    ours, shape = build(nncomp, "mlp")
    theirs, _ = build(torch, "mlp")

    def second(m, run):
        x = data(m, *shape).requires_grad_()
        (g,) = m.autograd.grad(run(x).square().sum(), x, create_graph=True)
        g.square().sum().backward()
        return x.grad

    close(second(nncomp, nncomp.compile(ours)), second(torch, theirs))


class Critic(nncomp.nn.Module):
    """A loss with a penalty as a module, which a train step takes."""

    def __init__(self, m, model):
        super().__init__()
        self.inner, self.run = model, penalized(m, model)

    def forward(self, x):
        return self.run(x)


@pytest.mark.parametrize("name", ["mlp", "convolutional"])
def test_a_train_step_with_a_penalty(name):
    theirs, shape = build(torch, name)
    ours, _ = build(nncomp, name)
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    step = nncomp.compile_train_step(
        Critic(nncomp, ours), lambda loss, _: loss, nncomp.optim.Adam(ours.parameters(), 0.01)
    )
    run = penalized(torch, theirs)
    for number in range(5):
        expected = run(data(torch, *shape, seed=number))
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        loss = step(data(nncomp, *shape, seed=number), nncomp.zeros(1))
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=2e-3)


def scalar(m):
    w = data(m, 3, 3, seed=1)
    return lambda x: m.tanh(x @ w).square().sum() + (x * x * x).sum()


TRANSFORMS = {
    "grad": lambda m, f, x, v: m.func.grad(f)(x),
    "grad_and_value": lambda m, f, x, v: m.func.grad_and_value(f)(x)[0],
    "grad_of_grad": lambda m, f, x, v: m.func.grad(lambda z: (m.func.grad(f)(z) * v).sum())(x),
    "vjp": lambda m, f, x, v: m.func.vjp(lambda z: m.tanh(z) * z, x)[1](v)[0],
    "jvp": lambda m, f, x, v: m.func.jvp(lambda z: m.tanh(z) * z, (x,), (v,))[1],
    "jvp_value": lambda m, f, x, v: m.func.jvp(lambda z: m.tanh(z) * z, (x,), (v,))[0],
    "hvp": lambda m, f, x, v: m.func.jvp(m.func.grad(f), (x,), (v,))[1],
    "jacrev": lambda m, f, x, v: m.func.jacrev(lambda z: (z * z).sum(0))(x),
    "jacfwd": lambda m, f, x, v: m.func.jacfwd(lambda z: (z * z).sum(0))(x),
    "hessian": lambda m, f, x, v: m.func.hessian(f)(x),
    "linearize": lambda m, f, x, v: m.func.linearize(lambda z: m.tanh(z) * z, x)[1](v),
    "grad_of_vjp": lambda m, f, x, v: m.func.grad(lambda z: m.func.vjp(f, z)[1](v.sum())[0].sum())(
        x
    ),
    "functional.jvp": lambda m, f, x, v: m.autograd.functional.jvp(lambda z: z.exp() * z, x, v)[1],
    "functional.hvp": lambda m, f, x, v: m.autograd.functional.hvp(f, x, v)[1],
    "functional.vhp": lambda m, f, x, v: m.autograd.functional.vhp(f, x, v)[1],
}


def test_trees_and_errors_of_jvp():
    def func(tree, scale):
        return {"a": tree["x"] * scale, "b": (tree["y"] ** 2).sum()}, scale * 2

    def run(m):
        tree = {"x": data(m, 3), "y": data(m, 2)}
        scale = data(m, 3, seed=2)
        out, tangent, aux = m.func.jvp(func, (tree, scale), (tree, scale), has_aux=True)
        return [out["a"], out["b"], tangent["a"], tangent["b"]], aux

    (ours, aux), (theirs, expected) = run(nncomp), run(torch)
    close(aux, expected)
    for y, z in zip(ours, theirs, strict=True):
        close(y, z)
    x = data(nncomp, 3)
    with pytest.raises(TypeError, match="tuples"):
        nncomp.func.jvp(nncomp.sin, x, x)
    with pytest.raises(RuntimeError, match="like its primal"):
        nncomp.func.jvp(nncomp.sin, (x,), (data(nncomp, 4),))
    with pytest.raises(RuntimeError, match="as many tangents"):
        nncomp.func.jvp(nncomp.sin, (x,), (x, x))
    with pytest.raises(RuntimeError, match="v has shapes"):
        nncomp.autograd.functional.hvp(lambda z: z.sum(), x, data(nncomp, 4))
    with pytest.raises(RuntimeError, match="can only be None"):
        nncomp.autograd.functional.jvp(nncomp.sin, x)
    _, flat = nncomp.func.jvp(lambda z: nncomp.ones(2), (x,), (x,))
    assert flat.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name, compiled):
    def run(m):
        def call(x, v):
            return TRANSFORMS[name](m, scalar(m), x, v)

        call = nncomp.compile(call) if compiled and m is nncomp else call
        return call(data(m, 2, 3), data(m, 2, 3, seed=5))

    close(run(nncomp), run(torch), 1e-5)
