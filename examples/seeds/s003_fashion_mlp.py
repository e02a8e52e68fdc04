"""Snippets of the fourth text (an MLP for Fashion-MNIST, in Chinese): model, train, test.

The text loads the data with a helper that downloads it. Here the script writes small IDX files in
the format of Fashion-MNIST to a temporary folder: each class is a bright square at its own place.
"""

import struct
import tempfile
from pathlib import Path

import numpy as np

import nncomp as torch
from nncomp import nn
from nncomp.datasets import FashionMNIST
from nncomp.utils.data import DataLoader

device = "cuda" if torch.cuda.is_available() else "cpu"


class MLP(nn.Module):
    def __init__(self, input_num):
        super(MLP, self).__init__()  # noqa: UP008
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(input_num, 256),
            nn.ReLU(),
            nn.Linear(256, 10),
        )

    def forward(self, x):
        x = self.flatten(x)
        pred = self.linear_relu_stack(x)
        return pred


def train(train_iter, model, loss_fn, optimizer):
    print(f"train on {device}")
    model = model.to(device)
    size = len(train_iter.dataset)
    for batch, (X, y) in enumerate(train_iter):
        X = X.to(device)
        y = y.to(device)
        pred = model(X)
        loss = loss_fn(pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if batch % 100 == 0:
            loss, current = loss.item(), batch * len(X)
            print(f"loss:{loss:>7f} [{current:>5d}/{size:>5d}]")


def test(test_iter, model, loss_fn):
    model = model.to(device)
    size = len(test_iter.dataset)
    num_batches = len(test_iter)
    test_loss, correct = 0, 0
    with torch.no_grad():
        for X, y in test_iter:
            X = X.to(device)
            y = y.to(device)
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss /= num_batches
    correct /= size
    print(f"test error:\n accuracy:{(100 * correct):>0.1f}%,avg loss: {test_loss:>8f} \n")
    return correct  # not in the text: for the check below


def write_files(folder, kind, count, seed):
    """IDX files of `count` images and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 2 + 12 * (label // 5), 1 + 5 * (label % 5)
        image[row : row + 8, column : column + 5] += 150
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (Path(folder) / f"{kind}-{name}-ubyte").write_bytes(head + array.tobytes())


if __name__ == "__main__":
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder, "train", 600, 0)
        write_files(folder, "t10k", 100, 1)
        train_iter = DataLoader(FashionMNIST(folder, train=True), 32, shuffle=True)
        test_iter = DataLoader(FashionMNIST(folder, train=False), 100)
    model = MLP(28 * 28)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        train(train_iter, model, loss_fn, optimizer)
        accuracy = test(test_iter, model, loss_fn)
    assert accuracy > 0.9
