"""Snippets of the first text (notes on torch.nn, in Chinese): what a Module can tell and do.

The text shows them as interactive sessions; here they are statements. `model` stands for a module
with parameters and a buffer, which the text does not define.
"""

import nncomp as torch
from nncomp import nn

# state_dict
module = nn.Linear(2, 1)
print(module.state_dict().keys())

# modules: a module that occurs twice is returned once
l = nn.Linear(2, 2)  # noqa: E741
net = nn.Sequential(l, l)
for idx, m in enumerate(net.modules()):
    print(idx, "->", m)

# named_modules
for idx, m in enumerate(net.named_modules()):
    print(idx, "->", m)

# parameters, named_parameters, named_buffers
model = nn.Sequential(nn.Linear(5, 20), nn.BatchNorm1d(20))
for param in model.parameters():
    print(type(param.data), param.size())
for name, param in model.named_parameters():
    if name in ["0.bias"]:
        print(param.size())
for name, buf in model.named_buffers():
    if name in ["1.running_var"]:
        print(buf.size())


# apply
def init_weights(m):
    print(m)
    if type(m) == nn.Linear:  # noqa: E721
        m.weight.data.fill_(1.0)
        print(m.weight)


net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
net.apply(init_weights)
assert all((p == 1).all() for p in (net[0].weight, net[1].weight))

# to
linear = nn.Linear(2, 2)
print(linear.weight)
print(linear.to(torch.double))
print(linear.weight)
gpu1 = torch.device("cuda:1")
try:  # the text has a second GPU; there is none here
    linear.to(gpu1, dtype=torch.half, non_blocking=True)
except RuntimeError as error:
    print("as expected:", error)
linear.to(torch.half)
print(linear.weight)
cpu = torch.device("cpu")
print(linear.to(cpu))
assert linear.weight.dtype is torch.half
