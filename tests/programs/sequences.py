"""Sequence models as users write them, with torch or nncomp."""

from __future__ import annotations

import numpy as np
from harness import array, fill, normal, train


def wavenet(torch, compiled):
    nn = torch.nn

    class Res(nn.Module):
        def __init__(self, c, d):
            super().__init__()
            self.d = d
            self.f = nn.Conv1d(c, 2 * c, 2, dilation=d)
            self.o = nn.Conv1d(c, c, 1)
            self.s = nn.Conv1d(c, c, 1)

        def forward(self, x):
            a, b = self.f(nn.functional.pad(x, (self.d, 0))).chunk(2, 1)
            h = torch.tanh(a) * torch.sigmoid(b)
            return x + self.o(h), self.s(h)

    class WN(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(32, 16)
            self.b = nn.ModuleList([Res(16, 2**i) for i in range(5)])
            self.h = nn.Sequential(nn.ReLU(), nn.Conv1d(16, 32, 1))

        def forward(self, i):
            x = self.e(i).permute(0, 2, 1)
            k = 0
            for b in self.b:
                x, t = b(x)
                k = k + t
            return self.h(k)

    model = fill(torch, WN())
    i = torch.tensor(np.random.RandomState(0).randint(0, 32, (3, 40)))
    return train(
        torch,
        compiled,
        model,
        (i,),
        lambda y: nn.functional.cross_entropy(y[:, :, :-1], i[:, 1:]),
        torch.optim.RMSprop(model.parameters(), lr=1e-3),
    )


def selective_state_space(torch, compiled):
    nn = torch.nn
    F = nn.functional

    class S6(nn.Module):
        def __init__(self, d=8, n=4):
            super().__init__()
            self.n = n
            self.inp = nn.Linear(d, 2 * d)
            self.conv = nn.Conv1d(d, d, 4, groups=d, padding=3)
            self.xp = nn.Linear(d, 2 * n + 1)
            self.dt = nn.Linear(1, d)
            self.A = nn.Parameter(torch.zeros(d, n))
            self.D = nn.Parameter(torch.ones(d))
            self.out = nn.Linear(d, d)

        def forward(self, u):
            b, length, d = u.shape
            x, z = self.inp(u).chunk(2, dim=-1)
            x = F.silu(self.conv(x.transpose(1, 2))[..., :length].transpose(1, 2))
            dt, B, C = torch.split(self.xp(x), [1, self.n, self.n], dim=-1)
            dt = F.softplus(self.dt(dt))
            A = -torch.exp(self.A)
            dA = torch.exp(torch.einsum("bld,dn->bldn", dt, A))
            dB = torch.einsum("bld,bln,bld->bldn", dt, B, x)
            h = torch.zeros(b, d, self.n)
            ys = []
            for t in range(length):
                h = dA[:, t] * h + dB[:, t]
                ys.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
            y = torch.stack(ys, 1) + x * self.D
            return self.out(y * F.silu(z))

    model = fill(torch, S6())
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 2, 12, 8),),
        lambda y: y.pow(2).mean(),
        torch.optim.NAdam(model.parameters(), lr=1e-2),
    )


def translation_with_attention(torch, compiled):
    nn = torch.nn
    F = nn.functional

    class Enc(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 16)
            self.r = nn.GRU(16, 16, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(32, 16)

        def forward(self, x):
            o, h = self.r(self.e(x))
            return o, torch.tanh(self.fc(torch.cat((h[-2], h[-1]), dim=1)))

    class Dec(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 16)
            self.a = nn.Linear(48, 16)
            self.v = nn.Linear(16, 1, bias=False)
            self.r = nn.GRUCell(48, 16)
            self.o = nn.Linear(64, 20)

        def forward(self, y, h, enc, mask):
            e = self.e(y)
            w = self.v(
                torch.tanh(self.a(torch.cat((h.unsqueeze(1).repeat(1, enc.size(1), 1), enc), 2)))
            ).squeeze(2)
            w = F.softmax(w.masked_fill(mask == 0, -1e10), dim=1)
            c = torch.bmm(w.unsqueeze(1), enc).squeeze(1)
            h = self.r(torch.cat((e, c), 1), h)
            return self.o(torch.cat((h, c, e), 1)), h

    class S(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = Enc()
            self.dec = Dec()

        def forward(self, src, trg):
            enc, h = self.enc(src)
            mask = src != 0
            outs = torch.zeros(trg.shape[1], src.shape[0], 20)
            y = trg[:, 0]
            for t in range(1, trg.shape[1]):
                o, h = self.dec(y, h, enc, mask)
                outs[t] = o
                y = trg[:, t]
            return outs

    model = fill(torch, S())
    r = np.random.RandomState(0)
    a = torch.tensor(r.randint(0, 20, (3, 7)))
    b = torch.tensor(r.randint(1, 20, (3, 5)))
    return train(
        torch,
        compiled,
        model,
        (a, b),
        lambda o: F.cross_entropy(o[1:].reshape(-1, 20), b.t()[1:].reshape(-1), ignore_index=3),
        torch.optim.Adagrad(model.parameters(), lr=1e-2),
    )


def decoding_with_a_cache(torch, compiled):
    nn = torch.nn
    F = nn.functional

    class A(nn.Module):
        def __init__(self, d=16, h=4, kv=2):
            super().__init__()
            self.h, self.kv, self.hd = h, kv, d // h
            self.q = nn.Linear(d, d, bias=False)
            self.k = nn.Linear(d, kv * self.hd, bias=False)
            self.v = nn.Linear(d, kv * self.hd, bias=False)
            self.o = nn.Linear(d, d, bias=False)
            self.n = nn.RMSNorm(d)
            inv = 1.0 / (10000 ** (torch.arange(0, self.hd, 2).float() / self.hd))
            t = torch.arange(32).float()
            fr = torch.outer(t, inv)
            self.register_buffer("cos", torch.cat((fr, fr), -1).cos(), persistent=False)
            self.register_buffer("sin", torch.cat((fr, fr), -1).sin(), persistent=False)

        def rot(self, x):
            a, b = x[..., : self.hd // 2], x[..., self.hd // 2 :]
            return torch.cat((-b, a), -1)

        def forward(self, x, past=None):
            B, T, D = x.shape
            y = self.n(x)
            q = self.q(y).view(B, T, self.h, self.hd).transpose(1, 2)
            k = self.k(y).view(B, T, self.kv, self.hd).transpose(1, 2)
            v = self.v(y).view(B, T, self.kv, self.hd).transpose(1, 2)
            p = 0 if past is None else past[0].shape[2]
            c, sn = self.cos[p : p + T], self.sin[p : p + T]
            q = q * c + self.rot(q) * sn
            k = k * c + self.rot(k) * sn
            if past is not None:
                k = torch.cat((past[0], k), 2)
                v = torch.cat((past[1], v), 2)
            kk = k.repeat_interleave(self.h // self.kv, dim=1)
            vv = v.repeat_interleave(self.h // self.kv, dim=1)
            o = F.scaled_dot_product_attention(q, kk, vv, is_causal=past is None)
            return x + self.o(o.transpose(1, 2).reshape(B, T, D)), (k, v)

    model = fill(torch, A())
    f = torch.compile(model) if compiled else model
    outs = []
    with torch.no_grad():
        y, past = f(normal(torch, 2, 6, 16))
        outs.append(array(y))
        for i in range(3):
            y, past = f(normal(torch, 2, 1, 16, seed=10 + i), past)
            outs.append(array(y))
    return outs


def mixture_of_experts(torch, compiled):
    nn = torch.nn

    class MoE(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = nn.Linear(8, 4, bias=False)
            self.e = nn.ModuleList(
                [nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8)) for _ in range(4)]
            )

        def forward(self, x):
            w, i = torch.topk(torch.softmax(self.g(x), -1), 2, dim=-1)
            w = w / w.sum(-1, keepdim=True)
            out = torch.zeros_like(x)
            for k, e in enumerate(self.e):
                p = (w * (i == k)).sum(-1, keepdim=True)
                out = out + p * e(x)
            return out

    model = fill(torch, MoE())
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 10, 8),),
        lambda y: (y - 1).abs().mean(),
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    )
