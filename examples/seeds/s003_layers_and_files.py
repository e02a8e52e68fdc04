"""Snippets of the fourth text (own layers, reading and writing files, in Chinese).

It writes x-file, x-files, diction and mlp.params to the current folder.
"""

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


class CenteredLayer(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, X):
        return X - X.mean()


layer = CenteredLayer()
print(layer(torch.FloatTensor([1, 2, 3, 4, 5])))


class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units,))  # fmt: skip

    def forward(self, X):
        linear = torch.matmul(X, self.weight.data) + self.bias.data
        return F.relu(linear)


linear = MyLinear(5, 3)
print(linear.weight)
print(linear(torch.rand(2, 5)))

x = torch.arange(4)
torch.save(x, "x-file")
x2 = torch.load("x-file")
print(x2)

y = torch.zeros(4)
torch.save([x, y], "x-files")
x2, y2 = torch.load("x-files")
print((x2, y2))

diction = {"x": x, "y": y}
torch.save(diction, "diction")
diction2 = torch.load("diction")
print(diction2)
assert diction2["x"].equal(x) and diction2["y"].equal(y)


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.myMLP = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, X):
        return self.myMLP(X)


net = MLP()
X = torch.randn((2, 20))
print(net(X))
torch.save(net.state_dict(), "mlp.params")
clone = MLP()
clone.load_state_dict(torch.load("mlp.params"))
print(clone)
Y_clone = clone(X)
print(Y_clone == net(X))
assert (Y_clone == net(X)).all()
