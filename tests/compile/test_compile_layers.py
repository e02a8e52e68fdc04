"""Every layer and loss of nn, compiled under gradients: results, state and all gradients."""

from __future__ import annotations

import copy
import inspect

import pytest
from compile_helpers import assert_gradients_same, assert_same, programs

import nncomp as torch
from nncomp import nn

A, B, C = (2, 3), (2, 3, 6), (2, 4, 6, 6)
D = (1, 2, 4, 4, 4)
INDICES, TARGETS = torch.tensor([0, 1, 4]), torch.tensor([0, 2, 1, 1])
SIGNS = torch.tensor([1.0, -1.0, 1.0, -1.0])

# name: (constructor arguments, shapes or tensors of the inputs)
ROWS: dict[str, tuple[dict, list]] = {
    **{
        name: ({}, [A])
        for name in (
            "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid "
            "Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink "
            "Dropout"
        ).split()
    },
    "Threshold": (dict(threshold=0.1, value=2.0), [A]),
    "GLU": ({}, [(2, 4)]),
    **{name: (dict(dim=1), [A]) for name in ("Softmax", "Softmin", "LogSoftmax")},
    "Softmax2d": ({}, [C]),
    **{f"Dropout{n}d": ({}, [x]) for n, x in ((1, B), (2, C), (3, D))},
    "Linear": (dict(in_features=3, out_features=4), [A]),
    "Bilinear": (dict(in1_features=3, in2_features=4, out_features=2), [A, (2, 4)]),
    "Flatten": ({}, [B]),
    "Unflatten": (dict(dim=1, unflattened_size=(3, 1)), [A]),
    "Embedding": (dict(num_embeddings=5, embedding_dim=3, padding_idx=1), [INDICES]),
    "EmbeddingBag": (
        dict(num_embeddings=5, embedding_dim=3, mode="max"), [torch.tensor([[0, 1], [4, 4]])],
    ),
    "Conv1d": (dict(in_channels=3, out_channels=4, kernel_size=3, padding="same"), [B]),
    "Conv2d": (dict(in_channels=4, out_channels=2, kernel_size=3, stride=2, groups=2), [C]),
    "Conv3d": (dict(in_channels=2, out_channels=3, kernel_size=2, dilation=2), [D]),
    "ConvTranspose1d": (dict(in_channels=3, out_channels=2, kernel_size=3, stride=2), [B]),
    "ConvTranspose2d": (dict(in_channels=4, out_channels=2, kernel_size=2, padding=1), [C]),
    "ConvTranspose3d": (dict(in_channels=2, out_channels=2, kernel_size=2), [D]),
    **{f"BatchNorm{n}d": (dict(num_features=x[1]), [x]) for n, x in ((1, B), (2, C), (3, D))},
    **{
        f"InstanceNorm{n}d": (dict(num_features=x[1], affine=True, track_running_stats=True), [x])
        for n, x in ((1, B), (2, C), (3, D))
    },
    "GroupNorm": (dict(num_groups=2, num_channels=4), [C]),
    "LayerNorm": (dict(normalized_shape=(3, 6)), [B]),
    "RMSNorm": (dict(normalized_shape=6), [B]),
    **{
        f"{kind}Pool{n}d": (dict(kernel_size=2), [x])
        for kind in ("Max", "Avg")
        for n, x in ((1, B), (2, C), (3, D))
    },
    **{
        f"LPPool{n}d": (dict(norm_type=2.0, kernel_size=2), [x])
        for n, x in ((1, B), (2, C), (3, D))
    },
    **{
        f"Adaptive{kind}Pool{n}d": (dict(output_size=2), [x])
        for kind in ("Max", "Avg")
        for n, x in ((1, B), (2, C), (3, D))
    },
    "FractionalMaxPool2d": (dict(kernel_size=2, output_size=3), [C]),
    "FractionalMaxPool3d": (dict(kernel_size=2, output_size=2), [D]),
    **{
        f"{kind}Pad{n}d": (dict(padding=1), [x])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for n, x in ((1, B), (2, C), (3, D))
    },
    **{f"ConstantPad{n}d": (dict(padding=1, value=2.0), [x]) for n, x in ((1, B), (2, C), (3, D))},
    "ChannelShuffle": (dict(groups=2), [C]),
    "PixelShuffle": (dict(upscale_factor=2), [C]),
    "PixelUnshuffle": (dict(downscale_factor=2), [C]),
    "Upsample": (dict(scale_factor=2, mode="bilinear"), [C]),
    "UpsamplingNearest2d": (dict(scale_factor=2), [C]),
    "UpsamplingBilinear2d": (dict(size=9), [C]),
    "Fold": (dict(output_size=(3, 3), kernel_size=2), [(2, 8, 4)]),
    "Unfold": (dict(kernel_size=2), [C]),
    "RNN": (dict(input_size=6, hidden_size=4, num_layers=2), [B]),
    "GRU": (dict(input_size=6, hidden_size=4, bidirectional=True), [B]),
    "LSTM": (dict(input_size=6, hidden_size=4, batch_first=True, dropout=0.0), [B]),
    "RNNCell": (dict(input_size=3, hidden_size=4), [A, (2, 4)]),
    "GRUCell": (dict(input_size=3, hidden_size=4), [A, (2, 4)]),
    "LSTMCell": (dict(input_size=3, hidden_size=4), [A]),
    "MultiheadAttention": (dict(embed_dim=6, num_heads=2), [B, B, B]),
    "TransformerEncoderLayer": (dict(d_model=6, nhead=2, dim_feedforward=8), [B]),
    "TransformerDecoderLayer": (dict(d_model=6, nhead=2, dim_feedforward=8), [B, B]),
    "Transformer": (
        dict(d_model=6, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=8),
        [B, B],
    ),
    **{
        name: ({}, [A, A])
        for name in (
            "MSELoss L1Loss SmoothL1Loss HuberLoss PoissonNLLLoss SoftMarginLoss "
            "MultiLabelSoftMarginLoss CosineSimilarity PairwiseDistance"
        ).split()
    },
    **{name: ({}, [C]) for name in ("AlphaDropout", "FeatureAlphaDropout", "RReLU")},
    **{name: (dict(size=3), [C]) for name in ("LocalResponseNorm", "CrossMapLRN2d")},
    "GaussianNLLLoss": ({}, [A, A, torch.tensor([[0.5, 1.0, 2.0]] * 2)]),
    **{name: ({}, [A, A, A]) for name in ("TripletMarginLoss", "TripletMarginWithDistanceLoss")},
    "MarginRankingLoss": (dict(margin=0.5), [(4,), (4,), SIGNS]),
    "CosineEmbeddingLoss": (dict(margin=0.1), [(4, 3), (4, 3), SIGNS]),
    "HingeEmbeddingLoss": ({}, [(4,), SIGNS]),
    "MultiMarginLoss": ({}, [(4, 3), TARGETS]),
    "MultiLabelMarginLoss": ({}, [A, torch.tensor([[2, 0, -1], [1, -1, 0]])]),
    "AdaptiveLogSoftmaxWithLoss": (
        dict(in_features=16, n_classes=6, cutoffs=[2, 4]), [(4, 16), torch.tensor([0, 5, 2, 1])],
    ),
    "LinearCrossEntropyLoss": (dict(in_features=3, num_classes=4), [(4, 3), TARGETS]),
    "CTCLoss": (
        {},
        [
            (6, 2, 4), torch.tensor([[1, 2, 2], [3, 1, 1]]), torch.tensor([6, 5]),
            torch.tensor([3, 2]),
        ],
    ),
    "KLDivLoss": (dict(reduction="batchmean"), [A, A]),
    "BCEWithLogitsLoss": ({}, [A, A]),
    "CrossEntropyLoss": (dict(label_smoothing=0.1), [(4, 3), torch.tensor([0, 2, -100, 1])]),
    **{
        name: ({}, [(4, 3), torch.tensor([0, 2, -100, 1])]) for name in ("NLLLoss", "NLLLoss2d")
    },
}  # fmt: skip

BUILT = {
    "BCELoss": lambda: (nn.Sequential(nn.Sigmoid()), [A], lambda y: nn.BCELoss()(y, torch.ones(A))),
    "TransformerEncoder": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 2), [B], None,
    ),
    "TransformerDecoder": lambda: (
        nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8), 1), [B, B], None,
    ),
    "DataParallel": lambda: (nn.DataParallel(nn.Linear(3, 2)), [A], None),
    "SyncBatchNorm": lambda: (nn.SyncBatchNorm(4).eval(), [C], None),
    "Sequential": lambda: (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), [A], None),
}  # fmt: skip

BASES = ("RNNBase", "RNNCellBase")


class Unpooled(nn.Module):
    """A pooling layer and its inverse, which needs the positions."""

    def __init__(self, n):
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{n}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{n}d")(2)

    def forward(self, x):
        return self.unpool(*self.pool(x))


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in tensors_in(v)] if isinstance(value, (tuple, list)) else []


def compare(module, inputs, loss=None):
    """Two training calls of a module, compiled and eager."""
    compiled, eager = torch.compile(copy.deepcopy(module)), copy.deepcopy(module)
    values = [x if isinstance(x, torch.Tensor) else torch.randn(x) for x in inputs]
    found = []
    for net in (compiled, eager):
        torch.manual_seed(3)
        own = [x.clone().requires_grad_(x.is_floating_point()) for x in values]
        for _ in range(2):
            results = tensors_in(net(*own) if loss is None else loss(net(*own)))
            terms = [
                (y * torch.arange(1, y.numel() + 1).reshape(y.shape).sin()).sum()
                for y in results
                if y.requires_grad
            ]
            sum(terms[1:], terms[0]).backward()
        found.append([*(y.detach() for y in results), *(x.grad for x in own), *net.buffers()])
    assert_same(found[0], found[1], 1e-4)
    assert_gradients_same(compiled, eager)
    assert programs(compiled) == 1


@pytest.mark.parametrize("name", ROWS)
def test_layer(name):
    options, inputs = ROWS[name]
    compare(getattr(nn, name)(**options), inputs)


@pytest.mark.parametrize("name", BUILT)
def test_layer_made_of_others(name):
    compare(*BUILT[name]())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpooling(n):
    compare(Unpooled(n), [(B, C, D)[n - 1]])


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_lazy_layer_that_was_called_once():
    net = nn.Sequential(nn.LazyConv2d(3, 2), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    net(torch.randn(C))
    compare(net, [C])


def test_every_layer_has_a_row():
    known = {*ROWS, *BUILT, *BASES, *(f"MaxUnpool{n}d" for n in (1, 2, 3))}
    known |= {f"Lazy{name}" for name in known}
    layers = {
        name
        for name, c in vars(nn).items()
        if inspect.isclass(c) and issubclass(c, nn.Module) and c.forward is not nn.Module.forward
    }
    assert layers <= known, f"add a row for {', '.join(sorted(layers - known))}"
