"""Snippets of the third text (nn.Module, in Chinese): parameters, submodules, forward, saving.

The text redefines MyModel in each snippet; so does this file. It writes my_model.pth.
"""

import nncomp as torch
import nncomp.nn as nn
import nncomp.optim as optim


class MyModel(nn.Module):
    def __init__(self):
        super(MyModel, self).__init__()  # noqa: UP008
        self.fc = nn.Linear(10, 5)


model = MyModel()
print(list(model.parameters()))


class MyModel(nn.Module):  # noqa: F811
    def __init__(self):
        super(MyModel, self).__init__()  # noqa: UP008
        self.fc1 = nn.Linear(10, 5)
        self.fc2 = nn.Linear(5, 2)


model = MyModel()


class MyModel(nn.Module):  # noqa: F811
    def __init__(self):
        super(MyModel, self).__init__()  # noqa: UP008
        self.fc = nn.Linear(10, 5)

    def forward(self, x):
        return self.fc(x)


model = MyModel()
input_data = torch.randn(3, 10)
output = model(input_data)

torch.save(model.state_dict(), "my_model.pth")
loaded_model = MyModel()
loaded_model.load_state_dict(torch.load("my_model.pth"))
assert loaded_model(input_data).equal(output)

optimizer = optim.SGD(model.parameters(), lr=0.01)
criterion = nn.MSELoss()
# The text's comment: use optimizer and criterion in the training loop
losses = []
for _ in range(20):
    loss = criterion(model(input_data), torch.ones(3, 5))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(losses[0], losses[-1])
assert losses[-1] < losses[0]
