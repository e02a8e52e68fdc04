"""state_dict and load_state_dict compared with torch: keys, metadata, errors, hooks, assign."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from both import agree, cases, fill, numbers

import nncomp
from nncomp import nn


def make(t, *, width=3):
    return fill(
        t,
        t.nn.Sequential(
            OrderedDict(fc=t.nn.Linear(2, width), norm=t.nn.BatchNorm1d(width), act=t.nn.PReLU())
        ),
    )


def with_extra(t):
    class Extra(t.nn.Module):
        value = 5

        def get_extra_state(self):
            return {"value": self.value}

        def set_extra_state(self, state):
            self.value = state["value"]

    return Extra()


def edited(t, edit, **options):
    """Load the state_dict of an equal model after ``edit`` changed it."""
    state = make(t).state_dict()
    edit(t, state)
    model = make(t)
    return model.load_state_dict(state, **options)


def add(key, value=1.0):
    def edit(t, state):
        state[key] = t.tensor(value) if isinstance(value, float) else value

    return edit


def drop(*keys):
    def edit(t, state):
        for key in keys:
            del state[key]

    return edit


def drop_and_add(t, state):
    del state["fc.weight"], state["norm.bias"]
    state["fc.more"], state["other"], state["fc"] = t.ones(1), t.ones(1), t.ones(1)


def wrong_sizes(t, state):
    state["fc.weight"] = t.ones(5, 5)
    state["norm.running_mean"] = t.ones(7)


def old_batchnorm(t):
    """A checkpoint of version 1 has no num_batches_tracked."""
    state = make(t).state_dict()
    del state["norm.num_batches_tracked"]
    del state._metadata
    return make(t).load_state_dict(state)


def extra_round_trip(t):
    source, target = with_extra(t), with_extra(t)
    source.value = 9
    keys = list(source.state_dict())
    target.load_state_dict(source.state_dict())
    return [keys, target.value]


def assigned(t):
    model, state = make(t), make(t).double().state_dict()
    model.load_state_dict(state, assign=True)
    fc = model.fc
    return [str(fc.weight.dtype), fc.weight.requires_grad, type(fc.weight).__name__]


def one_element_for_scalar(t):
    model = t.nn.Module()
    model.s = t.nn.Parameter(t.tensor(2.0))
    return [model.load_state_dict({"s": t.tensor([5.0])}), model.s]


SCENARIOS = {
    "keys and values": lambda t: make(t).state_dict(),
    "prefix": lambda t: list(make(t).state_dict(prefix="m.")),
    "metadata": lambda t: dict(make(t).state_dict()._metadata),
    "metadata prefix": lambda t: dict(make(t).state_dict(prefix="m.")._metadata),
    "keep_vars": lambda t: [
        v.requires_grad for v in make(t).state_dict(keep_vars=True).values()
    ],
    "detached": lambda t: [v.requires_grad for v in make(t).state_dict().values()],
    "destination": lambda t: list(make(t).state_dict(destination=OrderedDict(a=1))),
    "all match": lambda t: edited(t, lambda t, state: None),
    "extra keys": lambda t: extra_round_trip(t),
    "missing, not strict": lambda t: edited(t, drop("fc.bias"), strict=False),
    "both, not strict": lambda t: edited(t, drop_and_add, strict=False),
    "old batchnorm": old_batchnorm,
    "assign": assigned,
    "one element for a scalar": one_element_for_scalar,
}

FAILURES = {
    "missing": lambda t: edited(t, drop("fc.bias", "act.weight")),
    "unexpected": lambda t: edited(t, add("fc.more")),
    "both": lambda t: edited(t, drop_and_add),
    "sizes": lambda t: edited(t, wrong_sizes),
    "sizes, not strict": lambda t: edited(t, wrong_sizes, strict=False),
    "extra state unexpected": lambda t: edited(t, add("fc._extra_state")),
    "extra state missing": lambda t: with_extra(t).load_state_dict({}),
    "not a tensor": lambda t: edited(t, add("fc.bias", value=[1, 2, 3])),
    "not a dict": lambda t: make(t).load_state_dict([1, 2]),
}


@cases(SCENARIOS)
def test_saving_and_loading_is_torchs(case):
    agree(case, ok=True)


@cases(FAILURES)
def test_load_errors_are_torchs(case):
    agree(case, ok=False)


def state_hooks(t):
    model, log = make(t), []
    model.register_state_dict_pre_hook(lambda m, prefix, keep: log.append(["pre", prefix, keep]))

    def post(module, state, prefix, metadata):
        log.append(["post", prefix, dict(metadata)])
        state["added"] = t.ones(1)

    handle = model.register_state_dict_post_hook(post)
    keys = [list(model.state_dict(prefix="p."))]
    handle.remove()
    keys.append(list(model.state_dict()))
    return [log, keys]


def load_hooks(t):
    model, log = make(t), []

    def pre(module, state, prefix, metadata, strict, missing, unexpected, errors):
        log.append(["pre", prefix, metadata.get("version"), strict])
        state["fc.weight"] = state.pop("renamed")

    model.register_load_state_dict_pre_hook(pre)
    model.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    state = make(t).state_dict()
    state["renamed"] = state.pop("fc.weight")
    del state["fc.bias"]
    return [model.load_state_dict(state), log]


def bad_post_hook(t):
    model = make(t)
    model.register_load_state_dict_post_hook(lambda m, keys: 3)
    model.load_state_dict(make(t).state_dict())


def test_state_dict_hooks_are_torchs():
    agree(state_hooks, ok=True)
    agree(load_hooks, ok=True)
    agree(bad_post_hook, ok=False)


def test_loading_copies_into_the_same_storage():
    model, other = make(nncomp), make(nncomp).double()
    weight = model.fc.weight
    model.load_state_dict(other.state_dict())
    assert model.fc.weight is weight and weight.dtype == nncomp.float32
    state = model.state_dict()
    with nncomp.no_grad():
        weight.zero_()
    assert float(state["fc.weight"].abs().sum()) == 0.0


@pytest.mark.parametrize("build", [make, lambda t: t.nn.BatchNorm2d(4)])
def test_torch_checkpoint_loads(build):
    torch = pytest.importorskip("torch")
    theirs = build(torch)
    state = {name: nncomp.tensor(value.numpy()) for name, value in theirs.state_dict().items()}
    ours = build(nncomp)
    assert repr(ours.load_state_dict(state)) == "<All keys matched successfully>"
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), theirs.state_dict()[name].numpy())


def test_overridden_load_hook_point_is_used():
    class Renamed(nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *rest):
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    model = nn.Sequential(Renamed(2, 2, bias=False))
    values = numbers(2, 2)
    model.load_state_dict({"0.kernel": nncomp.tensor(values)})
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), values)
