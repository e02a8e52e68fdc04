"""Damaged PTX text ends in a PtxError or is taken, but never in another exception."""

from __future__ import annotations

import random
import re

import pytest
from kernel_cases import CASES, text
from nncomp.backends.ptx.simulator import PtxError, load

HEAD = ".version 9.0\n.target sm_80\n.address_size 64\n"
MARKS = ["{", "}", "[", "@", "-", "0x", "_", "0f", "|", ";", ","]


def kernel_text(name: str) -> str:
    """One kernel of its file, alone."""
    found = re.search(rf"\.visible \.entry {name}\(.*?\n}}\n", text(CASES[name][0]), re.S)
    assert found
    return found[0]


def damaged(source: str, chance: random.Random) -> str:
    """A few tokens deleted, replaced, exchanged or added."""
    tokens = re.findall(r"\s+|[\w$%.:]+|.", source)
    for _ in range(chance.randint(1, 3)):
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        way = chance.randrange(4)
        if way == 0:
            del tokens[at]
        elif way == 1:
            tokens[at] = tokens[other]
        elif way == 2:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            tokens.insert(at, chance.choice([*MARKS, tokens[other]]))
    return "".join(tokens)


NAMES = ["collatz", "by_value", "softmax", "warps", "block_sum", "mma_tf32"]


@pytest.mark.parametrize("name", NAMES)
def test_damaged_text(name):
    chance, source, refused = random.Random(name), kernel_text(name), 0
    assert load(HEAD + source).kernel(name).blocks
    for _ in range(40):
        try:
            module = load(HEAD + damaged(source, chance))
            for kernel in module.names:
                module.kernel(kernel)
        except PtxError as error:
            assert str(error)
            refused += 1
    assert refused > 15
