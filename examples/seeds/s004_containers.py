"""Snippets of the fifth text (containers, in Chinese): Sequential, ModuleList, ModuleDict."""

from collections import OrderedDict

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 20, 5)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        return F.relu(self.conv2(x))


# Using Sequential to create a small model. When `model` is run,
# input will first be passed to `Conv2d(1,20,5)`. The output of
# `Conv2d(1,20,5)` will be used as the input to the first
# `ReLU`; the output of the first `ReLU` will become the input
# for `Conv2d(20,64,5)`. Finally, the output of
# `Conv2d(20,64,5)` will be used as input to the second `ReLU`
model = nn.Sequential(
    nn.Conv2d(1, 20, 5),
    nn.ReLU(),
    nn.Conv2d(20, 64, 5),
    nn.ReLU(),
)

# Using Sequential with OrderedDict. This is functionally the
# same as the above code
model = nn.Sequential(OrderedDict([
    ("conv1", nn.Conv2d(1, 20, 5)),
    ("relu1", nn.ReLU()),
    ("conv2", nn.Conv2d(20, 64, 5)),
    ("relu2", nn.ReLU()),
]))  # fmt: skip
image = torch.randn(1, 1, 12, 12)
print(Model()(image).shape, model(image).shape)


class MyModule(nn.Module):
    def __init__(self):
        super(MyModule, self).__init__()  # noqa: UP008
        self.linears = nn.ModuleList([nn.Linear(10, 10) for i in range(10)])

    def forward(self, x):
        # ModuleList can act as an iterable, or be indexed using ints
        for i, l in enumerate(self.linears):  # noqa: E741
            x = self.linears[i // 2](x) + l(x)
        return x


assert MyModule()(torch.randn(2, 10)).shape == (2, 10)


class MyModule(nn.Module):  # noqa: F811
    def __init__(self):
        super(MyModule, self).__init__()  # noqa: UP008
        self.choices = nn.ModuleDict({
            "conv": nn.Conv2d(10, 10, 3),
            "pool": nn.MaxPool2d(3),
        })  # fmt: skip
        self.activations = nn.ModuleDict([
            ["lrelu", nn.LeakyReLU()],
            ["prelu", nn.PReLU()],
        ])  # fmt: skip

    def forward(self, x, choice, act):
        x = self.choices[choice](x)
        x = self.activations[act](x)
        return x


module = MyModule()
for choice in ("conv", "pool"):
    for act in ("lrelu", "prelu"):
        print(choice, act, module(torch.randn(2, 10, 9, 9), choice, act).shape)
