"""Graphs, physics, flows, adversaries, adapters and policies as users write them."""

from __future__ import annotations

import math

import numpy as np
from harness import array, fill, normal, train


def graph_convolution(torch, compiled):
    nn = torch.nn

    class GC(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.l = nn.Linear(a, b, bias=False)
            self.bias = nn.Parameter(torch.zeros(b))

        def forward(self, x, e):
            src, dst = e[0], e[1]
            h = self.l(x)
            n = x.size(0)
            deg = torch.zeros(n).scatter_add(0, dst, torch.ones(dst.shape[0])).clamp(min=1)
            nrm = deg.pow(-0.5)[src] * deg.pow(-0.5)[dst]
            out = torch.zeros(n, h.size(1)).index_add(0, dst, h[src] * nrm.unsqueeze(-1))
            return out + self.bias

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = GC(8, 16)
            self.b = GC(16, 3)

        def forward(self, x, e):
            return self.b(torch.relu(self.a(x, e)), e).log_softmax(-1)

    model = fill(torch, Net())
    r = np.random.RandomState(0)
    e = torch.tensor(r.randint(0, 20, (2, 60)))
    x = normal(torch, 20, 8)
    t = torch.tensor(r.randint(0, 3, 20))
    return train(
        torch,
        compiled,
        model,
        (x, e),
        lambda y: nn.functional.nll_loss(y, t),
        torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4),
    )


def physics_informed(torch, compiled):
    nn = torch.nn
    net = fill(
        torch,
        nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1)),
    )

    class PDE(nn.Module):
        def __init__(self, u):
            super().__init__()
            self.u = u

        def forward(self, x, t):
            x = x.requires_grad_()
            t = t.requires_grad_()
            u = self.u(torch.cat([x, t], 1))
            ux, ut = torch.autograd.grad(u, (x, t), torch.ones_like(u), create_graph=True)
            uxx = torch.autograd.grad(ux, x, torch.ones_like(ux), create_graph=True)[0]
            return ut + u * ux - (0.01 / math.pi) * uxx

    model = PDE(net)
    x, t = normal(torch, 30, 1), normal(torch, 30, 1, seed=5)
    return train(
        torch,
        compiled,
        model,
        (x, t),
        lambda y: y.pow(2).mean(),
        torch.optim.Adam(model.parameters(), lr=1e-2),
    )


def normalizing_flow(torch, compiled):
    nn = torch.nn

    class C(nn.Module):
        def __init__(self, mask):
            super().__init__()
            self.register_buffer("mask", torch.tensor(mask, dtype=torch.float32))
            self.s = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 2), nn.Tanh())
            self.t = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 2))

        def forward(self, x):
            xm = x * self.mask
            a = self.s(xm) * (1 - self.mask)
            b = self.t(xm) * (1 - self.mask)
            return xm + (1 - self.mask) * (x * torch.exp(a) + b), a.sum(dim=1)

    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.ModuleList(C([i % 2, 1 - i % 2]) for i in range(4))
            self.rot = nn.Parameter(torch.eye(2))

        def forward(self, x):
            ld = torch.zeros(x.shape[0])
            for layer in self.l:
                x, d = layer(x)
                ld += d
            x = x @ self.rot
            return -0.5 * (x**2 + math.log(2 * math.pi)).sum(1) + ld + torch.slogdet(self.rot)[1]

    model = Flow()
    fill(torch, model)
    with torch.no_grad():
        model.rot.copy_(torch.eye(2) * 1.2)
        for i, layer in enumerate(model.l):
            layer.mask.copy_(torch.tensor([i % 2, 1 - i % 2], dtype=torch.float32))
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 50, 2),),
        lambda y: -y.mean(),
        torch.optim.Adam(model.parameters(), lr=1e-2),
    )


def low_rank_adaptation(torch, compiled):
    nn = torch.nn
    P = nn.utils.parametrize

    class L(nn.Module):
        def __init__(self, i, o, r):
            super().__init__()
            self.A = nn.Parameter(torch.zeros(r, i))
            self.B = nn.Parameter(torch.zeros(o, r))

        def forward(self, W):
            return W + self.B @ self.A

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    for q in (model[0], model[2]):
        P.register_parametrization(q, "weight", L(q.in_features, q.out_features, 2))
        q.parametrizations.weight.original.requires_grad_(False)
    fill(torch, model)
    ps = [p for p in model.parameters() if p.requires_grad]
    losses = train(
        torch,
        compiled,
        model,
        (normal(torch, 5, 8),),
        lambda y: y.pow(2).sum(),
        torch.optim.AdamW(ps, lr=1e-2),
    )
    P.remove_parametrizations(model[0], "weight")
    assert "0.weight" in model.state_dict() and "2.weight" not in model.state_dict()
    return [*losses, array(model[0].weight)]


def gradient_penalty(torch, compiled):
    nn = torch.nn
    D = fill(torch, nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1)))

    class GP(nn.Module):
        def __init__(self):
            super().__init__()
            self.D = D

        def forward(self, real, fake, eps):
            z = (eps * real + (1 - eps) * fake).requires_grad_(True)
            o = self.D(z)
            (g,) = torch.autograd.grad(
                outputs=o,
                inputs=z,
                grad_outputs=torch.ones_like(o),
                create_graph=True,
                retain_graph=True,
            )
            return (
                self.D(fake).mean()
                - self.D(real).mean()
                + 10 * ((g.norm(2, dim=1) - 1) ** 2).mean()
            )

    return train(
        torch,
        compiled,
        GP(),
        (normal(torch, 8, 6), normal(torch, 8, 6, seed=3), normal(torch, 8, 1, seed=4).sigmoid()),
        lambda y: y,
        torch.optim.Adam(D.parameters(), lr=1e-3),
    )


def features_by_hook(torch, compiled):
    nn = torch.nn

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(6, 6)
            self.feats = {}
            self.l.register_forward_hook(lambda model, i, o: self.feats.__setitem__("l", o))

        def forward(self, x):
            h = x
            for _ in range(3):
                h = torch.tanh(self.l(h) + x)
            return h + self.feats["l"]

    model = fill(torch, M())
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 4, 6),),
        lambda y: y.mean(),
        torch.optim.SGD(model.parameters(), lr=0.1),
    )


def policy_gradient(torch, compiled):
    nn = torch.nn

    class P(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Sequential(nn.Linear(4, 32), nn.Tanh())
            self.mu = nn.Linear(32, 2)
            self.v = nn.Linear(32, 1)
            self.ls = nn.Parameter(torch.zeros(2))

        def forward(self, x, a):
            h = self.b(x)
            fixed = 0.5 * math.log(2 * math.pi)
            log_prob = -0.5 * ((a - self.mu(h)) / self.ls.exp()).pow(2) - self.ls - fixed
            entropy = (0.5 + fixed + self.ls).expand_as(a)
            return log_prob.sum(-1), self.v(h).squeeze(-1), entropy.sum(-1)

    model = fill(torch, P())
    old = normal(torch, 20, seed=7) * 0.1 - 2

    def loss(o):
        lp, v, e = o
        ratio = (lp - old).exp()
        adv = normal(torch, 20, seed=8)
        return (
            -torch.min(ratio * adv, torch.clamp(ratio, 0.8, 1.2) * adv).mean()
            + 0.5 * nn.functional.mse_loss(v, adv)
            - 0.01 * e.mean()
        )

    return train(
        torch,
        compiled,
        model,
        (normal(torch, 20, 4), normal(torch, 20, 2, seed=2)),
        loss,
        torch.optim.Adam(model.parameters(), lr=3e-4),
    )
