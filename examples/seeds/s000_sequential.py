"""Snippets of the first text (notes on torch.nn, in Chinese): Sequential, a Lambda layer, a loss.

The text leaves out `lr`, `input` and the net of its loss example; they are set where it needs them.
"""

from collections import OrderedDict

import nncomp as torch
from nncomp import nn, optim

lr = 0.1

# Example of using Sequential
model = nn.Sequential(
    nn.Conv2d(1, 20, 5),
    nn.ReLU(),
    nn.Conv2d(20, 64, 5),
    nn.ReLU(),
)

# Example of using Sequential with OrderedDict
model = nn.Sequential(OrderedDict([
    ("conv1", nn.Conv2d(1, 20, 5)),
    ("relu1", nn.ReLU()),
    ("conv2", nn.Conv2d(20, 64, 5)),
    ("relu2", nn.ReLU()),
]))  # fmt: skip
print(model(torch.randn(2, 1, 28, 28)).shape)


class Lambda(nn.Module):
    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, x):
        return self.func(x)


def preprocess(x):
    return x.view(-1, 1, 28, 28)


model = nn.Sequential(
    Lambda(preprocess),
    nn.Conv2d(1, 16, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 16, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 10, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.AvgPool2d(4),
    Lambda(lambda x: x.view(x.size(0), -1)),
)
opt = optim.SGD(model.parameters(), lr=lr, momentum=0.9)

# One step of training, in the order that the text lists
data, labels = torch.randn(4, 784), torch.tensor([0, 3, 9, 1])
loss = nn.functional.cross_entropy(model(data), labels)
loss.backward()
opt.step()
opt.zero_grad()
assert model(data).shape == (4, 10)

# The loss example; the text's net and input are not defined
net, input = nn.Linear(7, 10), torch.randn(1, 7)
output = net(input)
target = torch.randn(10)
target = target.view(1, -1)
criterion = nn.MSELoss()
loss = criterion(output, target)
print(loss)
assert loss.grad_fn is not None
