"""Parts of vision models: each function gives a model and its inputs, for torch or nncomp."""

from __future__ import annotations

from inputs import normal


def unet(torch):
    nn = torch.nn

    class DC(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.n = nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
                nn.Conv2d(o, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
            )

        def forward(self, x):
            return self.n(x)

    class U(nn.Module):
        def __init__(self):
            super().__init__()
            c = [16, 32, 64, 128]
            self.i = DC(3, 16)
            self.d = nn.ModuleList([DC(a, b) for a, b in zip(c, c[1:], strict=False)])
            self.p = nn.MaxPool2d(2)
            self.u = nn.ModuleList(
                [nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(c, c[1:], strict=False)][::-1]
            )
            self.c = nn.ModuleList([DC(b, a) for a, b in zip(c, c[1:], strict=False)][::-1])
            self.o = nn.Conv2d(16, 2, 1)

        def forward(self, x):
            k = [self.i(x)]
            for d in self.d:
                k.append(d(self.p(k[-1])))
            x = k.pop()
            for u, c in zip(self.u, self.c, strict=True):
                x = c(torch.cat([k.pop(), u(x)], 1))
            return self.o(x)

    return U(), (normal(torch, 1, 3, 128, 128),)


def bilinear_upsampling(torch):
    nn = torch.nn

    class U(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 32, 3, padding=1)
            self.b = nn.Conv2d(32, 64, 3, stride=2, padding=1)
            self.c = nn.Conv2d(96, 32, 3, padding=1)

        def forward(self, x):
            a = torch.relu(self.a(x))
            b = torch.relu(self.b(a))
            u = nn.functional.interpolate(b, scale_factor=2, mode="bilinear", align_corners=False)
            return self.c(torch.cat([a, u], 1))

    return U(), (normal(torch, 1, 3, 128, 128),)


def efficientnet_blocks(torch):
    nn = torch.nn

    class MB(nn.Module):
        def __init__(self, c, e, k):
            super().__init__()
            h = c * e
            self.a = nn.Sequential(nn.Conv2d(c, h, 1, bias=False), nn.BatchNorm2d(h), nn.SiLU())
            self.d = nn.Sequential(
                nn.Conv2d(h, h, k, padding=k // 2, groups=h, bias=False),
                nn.BatchNorm2d(h),
                nn.SiLU(),
            )
            self.se = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(h, c // 4, 1),
                nn.SiLU(),
                nn.Conv2d(c // 4, h, 1),
                nn.Sigmoid(),
            )
            self.p = nn.Sequential(nn.Conv2d(h, c, 1, bias=False), nn.BatchNorm2d(c))

        def forward(self, x):
            h = self.d(self.a(x))
            return x + self.p(h * self.se(h))

    return nn.Sequential(*[MB(40, 6, 5 if i % 2 else 3) for i in range(4)]), (
        normal(torch, 1, 40, 28, 28),
    )


def convnext_blocks(torch):
    nn = torch.nn

    class B(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.d = nn.Conv2d(c, c, 7, padding=3, groups=c)
            self.n = nn.LayerNorm(c)
            self.a = nn.Linear(c, 4 * c)
            self.b = nn.Linear(4 * c, c)
            self.g = nn.Parameter(torch.ones(c) * 0.1)

        def forward(self, x):
            h = self.d(x).permute(0, 2, 3, 1)
            h = self.g * self.b(nn.functional.gelu(self.a(self.n(h))))
            return x + h.permute(0, 3, 1, 2)

    return nn.Sequential(*[B(96) for i in range(3)]), (normal(torch, 1, 96, 56, 56),)


def convolutions_3d(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv3d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(32, 32, 3, padding=1),
    ), (normal(torch, 1, 1, 32, 32, 32),)


def vision_transformer(torch):
    nn = torch.nn

    class V(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Conv2d(3, 768, 16, 16)
            self.e = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    768, 12, 3072, 0.0, "gelu", batch_first=True, norm_first=True
                ),
                3,
                enable_nested_tensor=False,
            )
            self.h = nn.Linear(768, 1000)

        def forward(self, x):
            return self.h(self.e(self.p(x).flatten(2).transpose(1, 2)).mean(1))

    return V(), (normal(torch, 1, 3, 224, 224),)


def shifted_windows(torch):
    nn = torch.nn

    class A(nn.Module):
        def __init__(self, d=96, h=3, w=7):
            super().__init__()
            self.h, self.w = h, w
            self.qkv = nn.Linear(d, 3 * d)
            self.p = nn.Linear(d, d)
            self.b = nn.Parameter(torch.zeros(h, w * w, w * w))
            self.n = nn.LayerNorm(d)

        def forward(self, x):
            B, H, W, C = x.shape
            w = self.w
            y = (
                torch.roll(self.n(x), (-3, -3), (1, 2))
                .view(B, H // w, w, W // w, w, C)
                .permute(0, 1, 3, 2, 4, 5)
                .reshape(-1, w * w, C)
            )
            q, k, v = (
                self.qkv(y)
                .reshape(-1, w * w, 3, self.h, C // self.h)
                .permute(2, 0, 3, 1, 4)
                .unbind(0)
            )
            a = ((q * (C // self.h) ** -0.5) @ k.transpose(-2, -1) + self.b).softmax(-1)
            o = (
                self.p((a @ v).transpose(1, 2).reshape(-1, w * w, C))
                .view(B, H // w, W // w, w, w, C)
                .permute(0, 1, 3, 2, 4, 5)
                .reshape(B, H, W, C)
            )
            return x + torch.roll(o, (3, 3), (1, 2))

    return A(), (normal(torch, 1, 56, 56, 96),)


def generator(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.ConvTranspose2d(100, 256, 4, 1, 0, bias=False),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    ), (normal(torch, 8, 100, 1, 1),)


def vgg_layers(torch):
    nn = torch.nn
    c = [
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(128, 256, 3, padding=1),
        nn.ReLU(),
    ]
    return nn.Sequential(*c), (normal(torch, 1, 3, 112, 112),)


def shufflenet_units(torch):
    nn = torch.nn

    class S(nn.Module):
        def __init__(self, c):
            super().__init__()
            h = c // 2
            self.b = nn.Sequential(
                nn.Conv2d(h, h, 1, bias=False),
                nn.BatchNorm2d(h),
                nn.ReLU(),
                nn.Conv2d(h, h, 3, 1, 1, groups=h, bias=False),
                nn.BatchNorm2d(h),
                nn.Conv2d(h, h, 1, bias=False),
                nn.BatchNorm2d(h),
                nn.ReLU(),
            )

        def forward(self, x):
            a, b = x.chunk(2, 1)
            o = torch.cat([a, self.b(b)], 1)
            B, C, H, W = o.shape
            return o.view(B, 2, C // 2, H, W).transpose(1, 2).reshape(B, C, H, W)

    return nn.Sequential(*[S(116) for _ in range(4)]), (normal(torch, 1, 116, 28, 28),)


def grouped_convolutions(torch):
    nn = torch.nn

    class B(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = nn.Sequential(
                nn.Conv2d(256, 128, 1, bias=False),
                nn.BatchNorm2d(128),
                nn.ReLU(),
                nn.Conv2d(128, 128, 3, 1, 1, groups=32, bias=False),
                nn.BatchNorm2d(128),
                nn.ReLU(),
                nn.Conv2d(128, 256, 1, bias=False),
                nn.BatchNorm2d(256),
            )

        def forward(self, x):
            return torch.relu(x + self.n(x))

    return nn.Sequential(B(), B()), (normal(torch, 1, 256, 56, 56),)


def diffusion_block(torch):
    nn = torch.nn

    class B(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.n1 = nn.GroupNorm(32, c)
            self.c1 = nn.Conv2d(c, c, 3, 1, 1)
            self.e = nn.Linear(256, c)
            self.n2 = nn.GroupNorm(32, c)
            self.c2 = nn.Conv2d(c, c, 3, 1, 1)

        def forward(self, x, e):
            h = (
                self.c1(nn.functional.silu(self.n1(x)))
                + self.e(nn.functional.silu(e))[:, :, None, None]
            )
            return x + self.c2(nn.functional.silu(self.n2(h)))

    return B(128), (normal(torch, 2, 128, 32, 32), normal(torch, 2, 256))


def style_transfer(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.ReflectionPad2d(4),
        nn.Conv2d(3, 32, 9),
        nn.InstanceNorm2d(32, affine=True),
        nn.ReLU(),
        nn.ReflectionPad2d(1),
        nn.Conv2d(32, 64, 3, 2),
        nn.InstanceNorm2d(64, affine=True),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.ReflectionPad2d(1),
        nn.Conv2d(64, 32, 3),
    ), (normal(torch, 1, 3, 128, 128),)
