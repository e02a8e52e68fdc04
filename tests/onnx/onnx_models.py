"""Small models of each kind: MODELS[name]() gives a Module and its inputs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nncomp
from nncomp import nn

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def names_of(path: str) -> SimpleNamespace:
    """What a file of examples defines."""
    names: dict = {"__name__": "example"}
    exec(compile((EXAMPLES / path).read_text(), path, "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


def example(name: str):
    """A model of examples/models with its inputs."""
    model, inputs, _, _ = names_of(f"models/{name}.py").build()
    return model, tuple(inputs)


def settled(model, *inputs):
    """The model after a forward in train mode, so that running statistics are no zeros and ones."""
    with nncomp.no_grad():
        model.train()(*inputs)
    return model, inputs


def resnet():
    model, inputs = example("resnet")
    return settled(model, *inputs)


def unet():
    model, inputs = example("unet")
    return settled(model, *inputs)


def mobilenet():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Hardswish(), nn.Conv2d(8, 16, 1), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 5),
    )  # fmt: skip
    return settled(net, nncomp.randn(2, 3, 15, 17))


def tagger():
    return names_of("zoo/lstm_tagger.py").Tagger(30, 8, 5), (nncomp.randint(0, 30, (2, 7)),)


class Recurrent(nn.Module):
    """One recurrent layer whose state is given and returned."""

    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(5, 6, **options)

    def forward(self, x, *state):
        return self.rnn(x, state if len(state) > 1 else state[0])


def lstm():
    state = nncomp.randn(4, 3, 4), nncomp.randn(4, 3, 6)
    model = Recurrent(nn.LSTM, num_layers=2, bidirectional=True, proj_size=4)
    return model, (nncomp.randn(7, 3, 5), *state)


def gru():
    return Recurrent(nn.GRU, bidirectional=True), (nncomp.randn(7, 3, 5), nncomp.randn(2, 3, 6))


def rnn():
    model = Recurrent(nn.RNN, nonlinearity="relu", batch_first=True)
    return model, (nncomp.randn(3, 7, 5), nncomp.randn(1, 3, 6))


def encoder():
    layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 2), (nncomp.randn(2, 9, 16),)


class Norms(nn.Module):
    """Every normalization, one after the other."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(4, 6, 3), nn.GroupNorm(3, 6), nn.InstanceNorm1d(6, affine=True), nn.ELU(),
            nn.LocalResponseNorm(3), nn.BatchNorm1d(6), nn.Softplus(), nn.LayerNorm([6, 9]),
            nn.PReLU(), nn.RMSNorm(9), nn.LogSoftmax(-1),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def norms():
    return settled(Norms(), nncomp.randn(3, 4, 11))


class Indexing(nn.Module):
    """Sorting, gathering and scattering."""

    def forward(self, x, i):
        values, order = x.topk(3, dim=1)
        picked = x.gather(1, i).cumsum(1)
        spread = nncomp.zeros(4, 6).scatter_add(1, i, picked)
        return values, order, spread.flip(1), nncomp.einsum("ij,kj->ik", x, x).argmax(1)


def indexing():
    return Indexing(), (nncomp.randn(4, 6), nncomp.randint(0, 6, (4, 5)))


def decoder():
    net = nn.Sequential(
        nn.Linear(6, 32), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 4, 3, 2, 1, 1),
        nn.LeakyReLU(0.1), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(4, 1, 3), nn.Sigmoid(),
    )  # fmt: skip
    return net, (nncomp.randn(2, 6),)


MODELS = {
    "resnet": resnet, "gpt": lambda: example("gpt"), "unet": unet, "mobilenet": mobilenet,
    "tagger": tagger, "lstm": lstm, "gru": gru, "rnn": rnn, "encoder": encoder, "norms": norms,
    "indexing": indexing, "decoder": decoder,
}  # fmt: skip
