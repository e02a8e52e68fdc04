"""A small U-Net (Ronneberger et al., 2015), as written for torch: only the import lines differ."""

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


def double_conv(in_channels, channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.GroupNorm(2, channels),
        nn.LeakyReLU(0.1),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.SiLU(),
    )


class Up(nn.Module):
    def __init__(self, in_channels, channels, bilinear):
        super().__init__()
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = double_conv(in_channels + channels, channels)
        else:
            self.up = nn.ConvTranspose2d(in_channels, channels, 2, stride=2)
            self.conv = double_conv(2 * channels, channels)

    def forward(self, x, skip):
        x = self.up(x)
        dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
        x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self, channels=1, classes=2, width=4):
        super().__init__()
        self.inc = double_conv(channels, width)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), double_conv(width, 2 * width))
        self.down2 = nn.Sequential(nn.AvgPool2d(2), double_conv(2 * width, 4 * width))
        self.up1 = Up(4 * width, 2 * width, bilinear=False)
        self.up2 = Up(2 * width, width, bilinear=True)
        self.outc = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        return self.outc(self.up2(self.up1(x3, x2), x1))


def build():
    """The model, an input (of odd size, so that skips are padded), a target and the loss."""
    x = torch.randn(2, 1, 18, 22)
    target = torch.randint(0, 2, (2, 18, 22))
    return UNet(), (x,), target, nn.CrossEntropyLoss(label_smoothing=0.1)
