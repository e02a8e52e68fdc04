"""Parts of models for sequences, tables and the like: a model and its inputs each."""

from __future__ import annotations

from inputs import integers, normal


def wavenet(torch):
    nn = torch.nn

    class R(nn.Module):
        def __init__(self, c, d):
            super().__init__()
            self.d = d
            self.f = nn.Conv1d(c, 2 * c, 2, dilation=d)
            self.o = nn.Conv1d(c, c, 1)
            self.k = nn.Conv1d(c, c, 1)

        def forward(self, x):
            a, b = self.f(nn.functional.pad(x, (self.d, 0))).chunk(2, 1)
            h = torch.tanh(a) * torch.sigmoid(b)
            return x + self.o(h), self.k(h)

    class W(nn.Module):
        def __init__(self):
            super().__init__()
            self.i = nn.Conv1d(1, 64, 1)
            self.b = nn.ModuleList([R(64, 2 ** (i % 8)) for i in range(16)])
            self.h = nn.Conv1d(64, 256, 1)

        def forward(self, x):
            x = self.i(x)
            k = 0
            for b in self.b:
                x, q = b(x)
                k = k + q
            return self.h(torch.relu(k))

    return W(), (normal(torch, 1, 1, 4000),)


def wide_kernels_1d(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv1d(1, 64, 9, 2, 4),
        nn.ReLU(),
        nn.Conv1d(64, 128, 9, 2, 4),
        nn.ReLU(),
        nn.Conv1d(128, 128, 9, padding=4),
        nn.ReLU(),
    ), (normal(torch, 4, 1, 4096),)


def bidirectional_gru(torch):
    return torch.nn.GRU(128, 256, 2, batch_first=True, bidirectional=True), (
        normal(torch, 8, 50, 128),
    )


def convolutional_lstm(torch):
    nn = torch.nn

    class C(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(16 + 32, 128, 3, padding=1)

        def forward(self, x):
            h = torch.zeros(x.shape[0], 32, 32, 32)
            c = torch.zeros_like(h)
            for k in range(x.shape[1]):
                i, f, o, g = self.c(torch.cat([x[:, k], h], 1)).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            return h

    return C(), (normal(torch, 1, 6, 16, 32, 32),)


def decoding_step(torch):
    nn = torch.nn
    F = nn.functional

    class L(nn.Module):
        def __init__(self, d=512, h=8):
            super().__init__()
            self.h = h
            self.n1 = nn.LayerNorm(d)
            self.qkv = nn.Linear(d, 3 * d)
            self.o = nn.Linear(d, d)
            self.n2 = nn.LayerNorm(d)
            self.a = nn.Linear(d, 4 * d)
            self.b = nn.Linear(4 * d, d)

        def forward(self, x, k0, v0):
            B, T, D = x.shape
            q, k, v = (
                self.qkv(self.n1(x))
                .view(B, T, 3, self.h, D // self.h)
                .permute(2, 0, 3, 1, 4)
                .unbind(0)
            )
            k = torch.cat([k0, k], 2)
            v = torch.cat([v0, v], 2)
            x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, D))
            return x + self.b(F.gelu(self.a(self.n2(x)))), k, v

    return L(), (
        normal(torch, 1, 1, 512),
        normal(torch, 1, 8, 255, 64),
        normal(torch, 1, 8, 255, 64),
    )


def llama_layer(torch):
    nn = torch.nn
    F = nn.functional

    class L(nn.Module):
        def __init__(self, d=512, h=8):
            super().__init__()
            self.h = h
            self.n1 = nn.RMSNorm(d)
            self.q = nn.Linear(d, d, bias=False)
            self.k = nn.Linear(d, d // 4, bias=False)
            self.v = nn.Linear(d, d // 4, bias=False)
            self.o = nn.Linear(d, d, bias=False)
            self.n2 = nn.RMSNorm(d)
            self.g = nn.Linear(d, 1408, bias=False)
            self.u = nn.Linear(d, 1408, bias=False)
            self.w = nn.Linear(1408, d, bias=False)
            self.register_buffer("c", torch.ones(256, 32))
            self.register_buffer("s_", torch.ones(256, 32) * 0.5)

        def rot(self, x):
            a, b = x[..., ::2], x[..., 1::2]
            T = x.shape[2]
            c, q = self.c[:T], self.s_[:T]
            return torch.stack([a * c - b * q, a * q + b * c], -1).flatten(-2)

        def forward(self, x):
            B, T, D = x.shape
            y = self.n1(x)
            q = self.rot(self.q(y).view(B, T, self.h, 64).transpose(1, 2))
            k = self.rot(self.k(y).view(B, T, 2, 64).transpose(1, 2))
            v = self.v(y).view(B, T, 2, 64).transpose(1, 2)
            k = k.repeat_interleave(4, 1)
            v = v.repeat_interleave(4, 1)
            x = x + self.o(
                F.scaled_dot_product_attention(q, k, v, is_causal=True)
                .transpose(1, 2)
                .reshape(B, T, D)
            )
            y = self.n2(x)
            return x + self.w(F.silu(self.g(y)) * self.u(y))

    return L(), (normal(torch, 1, 256, 512),)


def mlp_mixer(torch):
    nn = torch.nn

    class B(nn.Module):
        def __init__(self, n, d):
            super().__init__()
            self.n1 = nn.LayerNorm(d)
            self.t = nn.Sequential(nn.Linear(n, 256), nn.GELU(), nn.Linear(256, n))
            self.n2 = nn.LayerNorm(d)
            self.c = nn.Sequential(nn.Linear(d, 1024), nn.GELU(), nn.Linear(1024, d))

        def forward(self, x):
            x = x + self.t(self.n1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.c(self.n2(x))

    return nn.Sequential(*[B(196, 512) for _ in range(2)]), (normal(torch, 1, 196, 512),)


def recommender(torch):
    nn = torch.nn

    class D(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.ModuleList([nn.EmbeddingBag(10000, 32, mode="sum") for _ in range(8)])
            self.b = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
            self.t = nn.Sequential(nn.Linear(32 + 36, 64), nn.ReLU(), nn.Linear(64, 1))

        def forward(self, x, i):
            d = self.b(x)
            z = torch.stack([d] + [e(i[:, k]) for k, e in enumerate(self.e)], 1)
            p = torch.bmm(z, z.transpose(1, 2))
            r, c = torch.tril_indices(9, 9, -1)
            return torch.sigmoid(self.t(torch.cat([d, p[:, r, c]], 1)))

    return D(), (normal(torch, 128, 13), integers(torch, 10000, 128, 8, 4))


def large_softmax(torch):
    class S(torch.nn.Module):
        def forward(self, x):
            return torch.softmax(x, -1).log().sum(0)

    return S(), (normal(torch, 64, 32000),)


def mlp_in_float64(torch):
    return torch.nn.Sequential(
        torch.nn.Linear(256, 512), torch.nn.Tanh(), torch.nn.Linear(512, 256)
    ).double(), (normal(torch, 64, 256).double(),)


def topk_sort_cumsum(torch):
    class S(torch.nn.Module):
        def forward(self, x):
            v, i = torch.topk(x, 40, -1)
            q, _ = torch.sort(x, -1)
            return v, i, torch.cumsum(q, -1)

    return S(), (normal(torch, 64, 2000),)
