"""autocast("cpu"): the dtype and value of each function as in torch, eager and compiled."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")


def data(m, *shape, dtype="float32", seed=0):
    x = np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)
    return m.from_numpy(x).to(getattr(m, dtype))


def x(m, dtype="float32"):
    return data(m, 4, 8, dtype=dtype)


def low(m, *shape):
    return data(m, *shape, dtype="bfloat16", seed=3)


def labels(m):
    return m.tensor([0, 3, 2, 7])


CASES = {
    # products: rounded operands
    "matmul": lambda m: m.matmul(x(m), data(m, 8, 5)),
    "operator": lambda m: x(m) @ data(m, 8, 5),
    "vectors": lambda m: m.matmul(data(m, 8), data(m, 8, seed=1)),
    "mm": lambda m: m.mm(x(m), data(m, 8, 5)),
    "mm_half": lambda m: m.mm(x(m, "float16"), data(m, 8, 5)),
    "mm_double": lambda m: m.mm(x(m, "float64"), data(m, 8, 5, dtype="float64")),
    "mm_int": lambda m: m.mm(m.arange(6).reshape(2, 3), m.arange(6).reshape(3, 2)),
    "bmm": lambda m: m.bmm(data(m, 2, 3, 4), data(m, 2, 4, 5)),
    "addmm": lambda m: m.addmm(data(m, 5), x(m), data(m, 8, 5), beta=0.5, alpha=2.0),
    "baddbmm": lambda m: m.baddbmm(data(m, 2, 3, 5), data(m, 2, 3, 4), data(m, 2, 4, 5)),
    "addbmm": lambda m: m.addbmm(data(m, 3, 5), data(m, 2, 3, 4), data(m, 2, 4, 5)),
    "mv": lambda m: m.mv(x(m), data(m, 8)),
    "dot": lambda m: m.dot(data(m, 8), data(m, 8, seed=1)),
    "outer": lambda m: m.outer(data(m, 8), data(m, 4)),
    "linear": lambda m: m.nn.functional.linear(x(m), data(m, 5, 8), data(m, 5)),
    "einsum": lambda m: m.einsum("ij,kj->ik", x(m), data(m, 5, 8)),
    "tensordot": lambda m: m.tensordot(x(m), data(m, 8, 5), 1),
    "vecdot": lambda m: m.linalg.vecdot(x(m), data(m, 4, 8, seed=2)),
    "conv1d": lambda m: m.nn.functional.conv1d(data(m, 2, 3, 9), data(m, 4, 3, 3), data(m, 4)),
    "conv2d": lambda m: m.nn.functional.conv2d(data(m, 2, 3, 9, 9), data(m, 4, 3, 3, 3), padding=1),
    "conv_transpose": lambda m: m.nn.functional.conv_transpose2d(
        data(m, 2, 3, 5, 5), data(m, 3, 4, 3, 3), data(m, 4), stride=2
    ),
    "conv_tbc": lambda m: m.nn.functional.conv_tbc(data(m, 5, 2, 3), data(m, 2, 3, 4), data(m, 4)),
    "prelu": lambda m: m.nn.functional.prelu(x(m), data(m, 8)),
    "attention": lambda m: m.nn.functional.scaled_dot_product_attention(
        data(m, 2, 5, 8), data(m, 2, 5, 8, seed=1), data(m, 2, 5, 8, seed=2)
    ),
    # functions in float32
    "mse": lambda m: m.nn.functional.mse_loss(low(m, 4, 8), x(m)),
    "l1": lambda m: m.nn.functional.l1_loss(low(m, 4, 8), low(m, 4, 8)),
    "huber": lambda m: m.nn.functional.huber_loss(low(m, 4, 8), x(m)),
    "smooth_l1": lambda m: m.nn.functional.smooth_l1_loss(low(m, 4, 8), x(m)),
    "cross_entropy": lambda m: m.nn.functional.cross_entropy(low(m, 4, 8), labels(m)),
    "nll": lambda m: m.nn.functional.nll_loss(low(m, 4, 8), labels(m)),
    "bce": lambda m: m.nn.functional.binary_cross_entropy(
        m.sigmoid(low(m, 4, 8)), m.sigmoid(low(m, 4, 8))
    ),
    "bce_logits": lambda m: m.nn.functional.binary_cross_entropy_with_logits(
        low(m, 4, 8), m.sigmoid(x(m))
    ),
    "kl": lambda m: m.nn.functional.kl_div(low(m, 4, 8), m.sigmoid(low(m, 4, 8)), reduction="sum"),
    "margin": lambda m: m.nn.functional.margin_ranking_loss(low(m, 4), low(m, 4), m.ones(4)),
    "hinge": lambda m: m.nn.functional.hinge_embedding_loss(low(m, 4), m.ones(4)),
    "soft_margin": lambda m: m.nn.functional.soft_margin_loss(low(m, 4), m.ones(4)),
    "multi_margin": lambda m: m.nn.functional.multi_margin_loss(low(m, 4, 8), labels(m)),
    "cosine_loss": lambda m: m.nn.functional.cosine_embedding_loss(
        low(m, 4, 8), low(m, 4, 8) + 1, m.ones(4)
    ),
    "poisson": lambda m: m.nn.functional.poisson_nll_loss(low(m, 4), m.ones(4)),
    "triplet": lambda m: m.nn.functional.triplet_margin_loss(
        low(m, 4, 8), low(m, 4, 8) + 1, low(m, 4, 8) - 2
    ),
    "prod": lambda m: m.prod(low(m, 4, 8), 1),
    "quantile": lambda m: m.quantile(low(m, 9), 0.25),
    "cdist": lambda m: m.cdist(low(m, 4, 8), low(m, 3, 8)),
    "trace": lambda m: low(m, 4, 4).trace(),
    "reflect": lambda m: m.nn.functional.pad(low(m, 2, 3, 6), (1, 2), mode="reflect"),
    "replicate": lambda m: m.nn.functional.pad(low(m, 2, 3, 6), (1, 2), mode="replicate"),
    "avg_pool3d": lambda m: m.nn.functional.avg_pool3d(low(m, 1, 2, 4, 4, 4), 2),
    "max_pool3d": lambda m: m.nn.functional.max_pool3d(low(m, 1, 2, 4, 4, 4), 2),
    "grid_sample": lambda m: m.nn.functional.grid_sample(
        low(m, 1, 1, 4, 4), low(m, 1, 2, 2, 2), align_corners=False
    ),
    "inverse": lambda m: m.linalg.inv(low(m, 2, 2)),
    "pinverse": lambda m: m.pinverse(x(m)),
    # the others: the dtype of their operands
    "add": lambda m: low(m, 4, 8) + x(m),
    "mul": lambda m: low(m, 4, 8) * 2.0,
    "sum": lambda m: low(m, 4, 8).sum(),
    "softmax": lambda m: m.softmax(low(m, 4, 8), -1),
    "gelu": lambda m: m.nn.functional.gelu(low(m, 4, 8)),
    "layer_norm": lambda m: m.nn.functional.layer_norm(low(m, 4, 8), (8,), data(m, 8), data(m, 8)),
    "batch_norm": lambda m: m.nn.functional.batch_norm(
        low(m, 4, 8), m.zeros(8), m.ones(8), data(m, 8), data(m, 8), True
    ),
    "group_norm": lambda m: m.nn.functional.group_norm(low(m, 4, 8), 2, data(m, 8), data(m, 8)),
    "max_pool2d": lambda m: m.nn.functional.max_pool2d(low(m, 1, 2, 4, 4), 2),
    "adaptive": lambda m: m.nn.functional.adaptive_avg_pool2d(data(m, 1, 2, 5, 5), 3),
    "embedding": lambda m: m.nn.functional.embedding(labels(m), x(m, "float32").repeat(2, 1)),
    "bilinear": lambda m: m.nn.functional.bilinear(x(m), x(m), data(m, 3, 8, 8), data(m, 3)),
    "cat": lambda m: m.cat([low(m, 4, 8), x(m)]),
    "stack": lambda m: m.stack([low(m, 4, 8), low(m, 4, 8)]),
    "index_copy": lambda m: m.index_copy(x(m), 0, m.tensor([1]), low(m, 1, 8)),
    "det": lambda m: m.det(data(m, 4, 4)),
}


def numbers(y):
    return y.detach().to(y.float().dtype).float().numpy()


PRODUCTS = list(CASES)[: list(CASES).index("mse")]


@pytest.mark.parametrize(
    "name, dtype", [(n, "bfloat16") for n in CASES] + [(n, "float16") for n in PRODUCTS]
)
def test_as_torch(name, dtype):
    case = CASES[name]
    with torch.autocast("cpu", dtype=getattr(torch, dtype)):
        expected = case(torch)
    with nncomp.autocast("cpu", dtype=getattr(nncomp, dtype)):
        y = case(nncomp)
    assert str(y.dtype) == str(expected.dtype)
    scale = max(1.0, abs(numbers(expected)).max())
    np.testing.assert_allclose(numbers(y), numbers(expected), rtol=0.02, atol=0.02 * scale)


def net(m):
    m.manual_seed(0)
    nn = m.nn
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 16, 20), nn.GELU(), nn.LayerNorm(20), nn.Linear(20, 4),
    )  # fmt: skip


def both():
    ours, theirs = net(nncomp), net(torch)
    ours.load_state_dict({k: nncomp.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def loss_of(m, model, around=True):
    inputs, target = data(m, 8, 2, 4, 4), m.arange(8) % 4
    with m.autocast("cpu", enabled=around):
        y = model(inputs)
        return y, m.nn.functional.cross_entropy(y, target)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_training_gradients(compiled):
    ours, theirs = both()
    run = nncomp.compile(ours) if compiled else ours
    y, loss = loss_of(nncomp, run)
    expected_y, expected = loss_of(torch, theirs)
    loss.backward()
    expected.backward()
    assert y.dtype is nncomp.bfloat16 and loss.dtype is nncomp.float32
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=0.01)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.grad.dtype is nncomp.float32
        scale = abs(q.grad.numpy()).max() + 1e-3
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=0.06 * scale + 2e-3)


def test_compiled_programs_belong_to_a_mode():
    model = nncomp.compile(nncomp.nn.Linear(8, 4).requires_grad_(False))
    inputs = x(nncomp)
    for _ in range(3):  # more than once, as calls are repeated by native code
        assert model(inputs).dtype is nncomp.float32
    with nncomp.autocast("cpu"):
        for _ in range(3):
            assert model(inputs).dtype is nncomp.bfloat16
        with nncomp.autocast("cpu", enabled=False):
            for _ in range(3):
                assert model(inputs).dtype is nncomp.float32
    with nncomp.autocast("cpu", dtype=nncomp.float16):
        assert model(inputs).dtype is nncomp.float16
    assert model(inputs).dtype is nncomp.float32
    assert "autocast changed from off to torch.bfloat16" in model.explain()


def test_autocast_inside_of_compiled_code():
    layer = nncomp.nn.Linear(8, 8)

    @nncomp.compile
    def function(x):
        with nncomp.autocast("cpu"):
            y = layer(x)
            assert nncomp.is_autocast_enabled("cpu")
        return y, layer(x)

    y, z = function(x(nncomp))
    assert y.dtype is nncomp.bfloat16 and z.dtype is nncomp.float32
    with nncomp.autocast("cpu"):
        expected = layer(x(nncomp))
    np.testing.assert_allclose(numbers(y), numbers(expected), atol=0.01)
    (y.sum().float() + z.sum()).backward()
    assert layer.weight.grad.dtype is nncomp.float32


def test_train_step_under_autocast():
    ours, theirs = both()
    kinds = [nncomp.optim.SGD(ours.parameters(), 0.1), torch.optim.SGD(theirs.parameters(), 0.1)]
    step = nncomp.compile_train_step(ours, nncomp.nn.functional.cross_entropy, kinds[0])
    for _ in range(4):
        _, expected = loss_of(torch, theirs)
        kinds[1].zero_grad()
        expected.backward()
        kinds[1].step()
        with nncomp.autocast("cpu"):
            loss = step(data(nncomp, 8, 2, 4, 4), nncomp.arange(8) % 4)
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=0.03)
    assert all(p.dtype is nncomp.float32 for p in ours.parameters())
    assert "bf16" in str(step.graph)


def test_nesting_and_questions():
    def answers(m):
        found = []

        def ask():
            found.append((m.is_autocast_enabled("cpu"), str(m.get_autocast_dtype("cpu"))))
            found.append((m.is_autocast_enabled(), m.is_autocast_cpu_enabled()))
            found.append(str((x(m) @ data(m, 8, 5)).dtype))

        ask()
        with m.autocast("cpu", dtype=m.float16):
            ask()
            with m.autocast("cpu", enabled=False):
                ask()
                with m.amp.autocast(device_type="cpu", dtype=m.bfloat16):
                    ask()
                ask()
            ask()
        ask()
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answers(nncomp) == answers(torch)
    assert nncomp.amp.is_autocast_available("cpu")
    assert not nncomp.amp.is_autocast_available("cuda")
    assert nncomp.get_autocast_cpu_dtype() is nncomp.bfloat16


def test_decorator_and_older_names():
    @nncomp.autocast("cpu", dtype=nncomp.bfloat16)
    def product(a, b):
        return a @ b

    assert product(x(nncomp), data(nncomp, 8, 5)).dtype is nncomp.bfloat16
    with nncomp.cpu.amp.autocast():
        assert product(x(nncomp), data(nncomp, 8, 5)).dtype is nncomp.bfloat16
        assert (x(nncomp) @ data(nncomp, 8, 5)).dtype is nncomp.bfloat16
    with pytest.warns(UserWarning, match="no such device"), nncomp.cuda.amp.autocast():
        assert (x(nncomp) @ data(nncomp, 8, 5)).dtype is nncomp.float32
    with nncomp.cuda.amp.autocast(enabled=False):
        assert nncomp.cuda.amp.GradScaler(enabled=False).get_scale() == 1.0


def test_bad_arguments():
    with pytest.raises(ValueError, match="device_type"):
        nncomp.autocast(3)
    with pytest.raises(RuntimeError, match="Expected one of"):
        nncomp.autocast("toaster")
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        mode = nncomp.autocast("cpu", dtype=nncomp.float64)
    with mode:
        assert (x(nncomp) @ data(nncomp, 8, 5)).dtype is nncomp.float32


def test_casts_of_parameters_are_kept_until_they_are_written():
    layer = nncomp.nn.Linear(8, 4)
    with nncomp.autocast("cpu"):
        first = layer(x(nncomp))
        with nncomp.no_grad():
            assert not layer(x(nncomp)).requires_grad
            layer.weight.mul_(2.0)
            layer.bias.mul_(2.0)
        second = layer(x(nncomp))
        assert second.requires_grad
        layer.weight.data = layer.weight.data * 2.0
        layer.bias.data.mul_(2.0)
        third = layer(x(nncomp))
    np.testing.assert_array_equal(numbers(second), 2 * numbers(first))
    np.testing.assert_array_equal(numbers(third), 4 * numbers(first))
    with nncomp.autocast("cpu", cache_enabled=False):
        assert not nncomp.is_autocast_cache_enabled()
        np.testing.assert_array_equal(numbers(layer(x(nncomp))), numbers(third))


def test_threads_have_modes_of_their_own():
    found = []
    with nncomp.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append(nncomp.is_autocast_enabled("cpu")))
        thread.start()
        thread.join()
        assert found == [False] and nncomp.is_autocast_enabled("cpu")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_recurrent_layers(kind, compiled):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(8, 6)
    ours = getattr(nncomp.nn, kind)(8, 6)
    ours.load_state_dict({k: nncomp.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    shape = (4, 8) if "Cell" in kind else (5, 4, 8)
    with torch.autocast("cpu"):
        expected = theirs(data(torch, *shape))
    with nncomp.autocast("cpu"):
        y = (nncomp.compile(ours) if compiled else ours)(data(nncomp, *shape))
    expected = expected[0] if isinstance(expected, tuple) else expected
    y = y[0] if isinstance(y, tuple) else y
    assert str(y.dtype) == str(expected.dtype)
    np.testing.assert_allclose(numbers(y), numbers(expected), atol=0.02)
    y.float().sum().backward()
    assert all(p.grad.dtype is nncomp.float32 for p in ours.parameters())


def test_transformer_layer():
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    ours = nncomp.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    ours.load_state_dict({k: nncomp.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    with torch.autocast("cpu"):
        expected = theirs(data(torch, 2, 5, 16))
    with nncomp.autocast("cpu"):
        for run in (ours, nncomp.compile(ours)):
            y = run(data(nncomp, 2, 5, 16))
            assert str(y.dtype) == str(expected.dtype)
            np.testing.assert_allclose(numbers(y), numbers(expected), atol=0.05)


def test_checkpoint_computes_again_in_the_same_mode():
    from nncomp.utils.checkpoint import checkpoint

    layer = nncomp.nn.Linear(8, 8)
    gradients = []
    for again in (False, True):
        layer.zero_grad()
        with nncomp.autocast("cpu"):
            y = checkpoint(layer, x(nncomp), use_reentrant=False) if again else layer(x(nncomp))
            loss = nncomp.nn.functional.mse_loss(y, nncomp.zeros(4, 8))
        loss.backward()
        gradients.append(layer.weight.grad.numpy().copy())
    np.testing.assert_array_equal(*gradients)


def test_custom_functions():
    class Product(nncomp.autograd.Function):
        @staticmethod
        @nncomp.amp.custom_fwd(device_type="cpu", cast_inputs=nncomp.float32)
        def forward(ctx, a, b):
            assert not nncomp.is_autocast_enabled("cpu")
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @nncomp.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            assert not nncomp.is_autocast_enabled("cpu")
            a, b = ctx.saved_tensors
            return g @ b.t(), a.t() @ g

    a, b = x(nncomp).requires_grad_(), low(nncomp, 8, 3)
    with nncomp.autocast("cpu"):
        y = Product.apply(a, b)
        assert y.dtype is nncomp.float32
        y.sum().backward()
    assert a.grad.dtype is nncomp.float32
