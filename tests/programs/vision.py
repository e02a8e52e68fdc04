"""Vision models as users write them: each function trains or runs one, with torch or nncomp."""

from __future__ import annotations

from harness import fill, normal, train


def vision_transformer(torch, compiled):
    nn = torch.nn

    class Patch(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Conv2d(3, 32, 4, 4)

        def forward(self, x):
            return self.proj(x).flatten(2).transpose(1, 2)

    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = Patch()
            self.cls = nn.Parameter(torch.zeros(1, 1, 32))
            self.pos = nn.Parameter(torch.zeros(1, 65, 32))
            layer = nn.TransformerEncoderLayer(
                32, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(32)
            self.head = nn.Linear(32, 10)

        def forward(self, x):
            x = self.patch(x)
            b = x.shape[0]
            x = torch.cat([self.cls.expand(b, -1, -1), x], dim=1) + self.pos
            return self.head(self.norm(self.enc(x))[:, 0])

    model = fill(torch, ViT())
    x = normal(torch, 2, 3, 32, 32)
    return train(
        torch,
        compiled,
        model,
        (x,),
        lambda y: torch.nn.functional.cross_entropy(y, torch.tensor([1, 3])),
        torch.optim.AdamW(model.parameters(), lr=1e-3),
    )


def shifted_windows(torch, compiled):
    nn = torch.nn

    def win(x, w):
        B, H, W, C = x.shape
        x = x.view(B, H // w, w, W // w, w, C)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, w * w, C)

    def unwin(v, w, H, W):
        B = int(v.shape[0] / (H * W / w / w))
        x = v.view(B, H // w, W // w, w, w, -1)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)

    class Blk(nn.Module):
        def __init__(self, dim, heads, w, shift):
            super().__init__()
            self.h, self.w, self.shift = heads, w, shift
            self.qkv = nn.Linear(dim, 3 * dim)
            self.proj = nn.Linear(dim, dim)
            self.n = nn.LayerNorm(dim)
            self.table = nn.Parameter(torch.zeros((2 * w - 1) ** 2, heads))
            coords = torch.stack(
                torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")
            ).flatten(1)
            rel = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0).contiguous()
            rel[:, :, 0] += w - 1
            rel[:, :, 1] += w - 1
            rel[:, :, 0] *= 2 * w - 1
            self.register_buffer("idx", rel.sum(-1))
            H = W = 8
            img = torch.zeros((1, H, W, 1))
            cnt = 0
            for hs in (slice(0, -w), slice(-w, -shift), slice(-shift, None)):
                for ws in (slice(0, -w), slice(-w, -shift), slice(-shift, None)):
                    img[:, hs, ws, :] = cnt
                    cnt += 1
            mw = win(img, w).view(-1, w * w)
            mask = mw.unsqueeze(1) - mw.unsqueeze(2)
            self.register_buffer(
                "mask", mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
            )

        def forward(self, x):
            B, H, W, C = x.shape
            y = torch.roll(self.n(x), (-self.shift, -self.shift), (1, 2))
            v = win(y, self.w)
            n = v.shape[1]
            q, k, u = (
                self.qkv(v).reshape(-1, n, 3, self.h, C // self.h).permute(2, 0, 3, 1, 4).unbind(0)
            )
            a = (q * (C // self.h) ** -0.5) @ k.transpose(-2, -1)
            a = a + self.table[self.idx.view(-1)].view(n, n, -1).permute(
                2, 0, 1
            ).contiguous().unsqueeze(0)
            nW = self.mask.shape[0]
            a = (a.view(-1, nW, self.h, n, n) + self.mask.unsqueeze(1).unsqueeze(0)).view(
                -1, self.h, n, n
            )
            o = (a.softmax(-1) @ u).transpose(1, 2).reshape(-1, n, C)
            o = unwin(self.proj(o), self.w, H, W)
            return x + torch.roll(o, (self.shift, self.shift), (1, 2))

    model = fill(torch, Blk(16, 2, 4, 2))
    x = normal(torch, 2, 8, 8, 16)
    return train(
        torch,
        compiled,
        model,
        (x,),
        lambda y: y.square().mean(),
        torch.optim.SGD(model.parameters(), lr=0.1),
    )


def discriminator(torch, compiled):
    nn = torch.nn
    sn = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(
        sn(nn.Conv2d(1, 8, 3, 2, 1)),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.InstanceNorm2d(8),
        nn.Flatten(),
        sn(nn.Linear(8 * 16, 1)),
    )
    fill(torch, model)
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 4, 1, 16, 16),),
        lambda y: nn.functional.softplus(-y).mean(),
        torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.0, 0.9)),
    )


def detection_transformer(torch, compiled):
    nn = torch.nn

    class D(nn.Module):
        def __init__(self):
            super().__init__()
            self.bb = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace=True),
                nn.Conv2d(8, 16, 3, 2, 1),
            )
            self.t = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0)
            self.q = nn.Parameter(torch.rand(5, 16))
            self.row = nn.Parameter(torch.rand(10, 8))
            self.col = nn.Parameter(torch.rand(10, 8))
            self.c = nn.Linear(16, 4)
            self.b = nn.Linear(16, 4)

        def forward(self, x):
            h = self.bb(x)
            H, W = h.shape[-2:]
            pos = (
                torch.cat(
                    [
                        self.col[:W].unsqueeze(0).repeat(H, 1, 1),
                        self.row[:H].unsqueeze(1).repeat(1, W, 1),
                    ],
                    dim=-1,
                )
                .flatten(0, 1)
                .unsqueeze(1)
            )
            h = self.t(
                pos + 0.1 * h.flatten(2).permute(2, 0, 1),
                self.q.unsqueeze(1).repeat(1, x.shape[0], 1),
            ).transpose(0, 1)
            return {"logits": self.c(h), "boxes": self.b(h).sigmoid()}

    model = fill(torch, D())
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 2, 3, 16, 16),),
        lambda o: (
            nn.functional.smooth_l1_loss(o["boxes"], torch.ones_like(o["boxes"]))
            + nn.functional.cross_entropy(
                o["logits"].flatten(0, 1), torch.zeros(10, dtype=torch.long)
            )
        ),
        torch.optim.AdamW(
            [{"params": model.bb.parameters(), "lr": 1e-4}, {"params": model.t.parameters()}],
            lr=1e-3,
        ),
    )


def unet_3d(torch, compiled):
    nn = torch.nn

    class U(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ELU())
            self.d = nn.MaxPool3d(2)
            self.b = nn.Sequential(nn.Conv3d(4, 8, 3, padding=1), nn.BatchNorm3d(8), nn.Mish())
            self.u = nn.ConvTranspose3d(8, 4, 2, 2)
            self.o = nn.Conv3d(8, 2, 1)

        def forward(self, x):
            a = self.a(x)
            return self.o(torch.cat([a, self.u(self.b(self.d(a)))], 1))

    def dice(y):
        p = torch.softmax(y, 1)
        t = (normal(torch, 1, 8, 8, 8, seed=3) > 0).long()
        oh = nn.functional.one_hot(t, 2).permute(0, 4, 1, 2, 3).float()
        return 1 - (2 * (p * oh).sum((2, 3, 4)) + 1).div((p + oh).sum((2, 3, 4)) + 1).mean()

    model = fill(torch, U())
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 1, 1, 8, 8, 8),),
        dice,
        torch.optim.Adamax(model.parameters(), lr=1e-2),
    )


def spatial_transformer(torch, compiled):
    nn = torch.nn
    F = nn.functional

    class S(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True))
            self.fc = nn.Linear(4 * 6 * 6, 6)
            self.c = nn.Conv2d(1, 4, 3)
            self.o = nn.Linear(4, 3)

        def forward(self, x):
            th = self.fc(self.loc(x).view(-1, 4 * 6 * 6)).view(-1, 2, 3) + torch.tensor(
                [[1.0, 0, 0], [0, 1, 0]]
            )
            x = F.grid_sample(
                x, F.affine_grid(th, x.size(), align_corners=False), align_corners=False
            )
            return F.log_softmax(
                self.o(F.adaptive_avg_pool2d(F.relu(self.c(x)), 1).flatten(1)), dim=1
            )

    model = fill(torch, S())
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 3, 1, 16, 16),),
        lambda y: F.nll_loss(y, torch.tensor([0, 1, 2])),
        torch.optim.SGD(model.parameters(), lr=0.05),
    )


def text_recognizer(torch, compiled):
    nn = torch.nn

    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Sequential(
                nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d((2, 2))
            )
            self.r = nn.LSTM(8 * 8, 16, bidirectional=True)
            self.o = nn.Linear(32, 11)

        def forward(self, x):
            h = self.c(x)
            h = h.permute(3, 0, 1, 2).flatten(2)
            h, _ = self.r(h)
            return self.o(h).log_softmax(2)

    model = fill(torch, R())
    t = torch.tensor([[1, 2, 3], [4, 5, 6]])
    return train(
        torch,
        compiled,
        model,
        (normal(torch, 2, 1, 16, 32),),
        lambda y: nn.functional.ctc_loss(y, t, torch.tensor([16, 16]), torch.tensor([3, 3])),
        torch.optim.Adadelta(model.parameters()),
    )


def capsules(torch, compiled):
    nn = torch.nn

    class Caps(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.zeros(1, 12, 5, 8, 4))

        def forward(self, x):
            u = x[:, :, None, None, :]
            uh = torch.matmul(self.W, u.transpose(-1, -2)).squeeze(-1)
            b = torch.zeros(x.shape[0], 12, 5, 1)
            for r in range(3):
                c = b.softmax(dim=2)
                sj = (c * uh).sum(dim=1, keepdim=True)
                n2 = (sj**2).sum(-1, keepdim=True)
                v = n2 / (1 + n2) * sj / (n2 + 1e-8).sqrt()
                if r < 2:
                    b = b + (uh * v).sum(-1, keepdim=True)
            return v.squeeze(1).norm(dim=-1)

    model = fill(torch, Caps())

    def loss(v):
        T = torch.eye(5).index_select(0, torch.tensor([0, 1, 2]))
        return (
            (T * torch.relu(0.9 - v) ** 2 + 0.5 * (1 - T) * torch.relu(v - 0.1) ** 2).sum(1).mean()
        )

    return train(
        torch,
        compiled,
        model,
        (normal(torch, 3, 12, 4),),
        loss,
        torch.optim.Rprop(model.parameters()),
    )
