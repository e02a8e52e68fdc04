"""A snippet of the first text (notes on torch.nn, in Chinese): children and modules of a net.

The text calls the first layer `layer` where it is made and `layer1` where it is used.
"""

import nncomp as torch
from nncomp import nn


class Net(nn.Module):
    def __init__(self, in_dim, n_hidden_1, n_hidden_2, out_dim):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Linear(in_dim, n_hidden_1), nn.ReLU(True))
        self.layer2 = nn.Sequential(
            nn.Linear(n_hidden_1, n_hidden_2),
            nn.ReLU(True),
        )
        self.layer3 = nn.Linear(n_hidden_2, out_dim)

    def forward(self, x):
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        return x


net = Net(6, 8, 5, 3)
out = net(torch.randn(4, 6))
print(out)
assert len(list(net.modules())) == 8 and len(list(net.children())) == 3
