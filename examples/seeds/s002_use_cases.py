"""Snippets of the third text (nn.Module, in Chinese): a model, buffers, apply under no_grad."""

from collections import OrderedDict

import nncomp as torch
import nncomp.nn as nn
import nncomp.nn.functional as F


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 20, 5)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        return F.relu(self.conv2(x))


print(Model()(torch.randn(1, 1, 16, 16)).shape)


class Model(nn.Module):  # noqa: F811
    def __init__(self):
        super(Model, self).__init__()  # noqa: UP008
        # (1) the usual way to define a model
        self.param_nn = nn.Sequential(OrderedDict([
            ("conv", nn.Conv2d(1, 1, 3, bias=False)),
            ("fc", nn.Linear(1, 2, bias=False)),
        ]))  # fmt: skip
        # (2) tensors defined with register_buffer()
        self.register_buffer("param_buf", torch.randn(1, 2))
        # (3) and with register_parameter(), which looks similar
        self.register_parameter("param_reg", nn.Parameter(torch.randn(1, 2)))
        # (4) a variable that is an attribute of the class
        self.param_attr = torch.randn(1, 2)

    def forward(self, x):
        return x


net = Model()
print(list(net.state_dict()))
assert "param_buf" in net.state_dict() and "param_attr" not in net.state_dict()


@torch.no_grad()
def init_weights(m):
    print(m)
    if type(m) == nn.Linear:  # noqa: E721
        m.weight.fill_(1.0)
        print(m.weight)


net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
net.apply(init_weights)
assert net[1].weight.sum() == 4
