"""Sequential, ModuleList, ModuleDict, ParameterList and ParameterDict compared with torch."""

from __future__ import annotations

from collections import OrderedDict

from both import agree, cases, fill, numbers


def layers(t, count, start=0):
    return [t.nn.Linear(1, start + n + 1) for n in range(count)]


def seq(t, count=3):
    return t.nn.Sequential(*layers(t, count))


def mlist(t, count=3):
    return t.nn.ModuleList(layers(t, count))


def mdict(t):
    return t.nn.ModuleDict({"conv": t.nn.Conv2d(1, 2, 3), "act": t.nn.ReLU()})


def plist(t):
    return t.nn.ParameterList([t.ones(2, 2), t.nn.Parameter(t.zeros(3)), 5])


def pdict(t):
    return t.nn.ParameterDict({"b": t.ones(2), "a": t.nn.Parameter(t.zeros(2, 3)), "n": 1})


def after(build, *changes):
    """Build, make the changes and show the container and what each change returned."""

    def scenario(t):
        container = build(t)
        returned = [str(change(t, container)) for change in changes]
        return [str(container), returned, len(container), list(container.state_dict())]

    return scenario


def assign(index, build):
    return lambda t, c: c.__setitem__(index, build(t))


def delete(index):
    return lambda t, c: c.__delitem__(index)


def iadd(build):
    def change(t, container):
        container += build(t)
        return container

    return change


def imul(factor):
    def change(t, container):
        container *= factor
        return container

    return change


def relu(t):
    return t.nn.ReLU()


SCENARIOS = {
    "seq": after(seq),
    "seq empty": after(lambda t: t.nn.Sequential()),
    "seq ordered dict": after(
        lambda t: t.nn.Sequential(OrderedDict(a=t.nn.ReLU(), b=t.nn.Linear(1, 1)))
    ),
    "seq index": after(seq, lambda t, c: c[0], lambda t, c: c[-1]),
    "seq slice": after(seq, lambda t, c: c[1:], lambda t, c: c[::-1], lambda t, c: type(c[:1])),
    "seq set": after(seq, assign(-1, relu)),
    "seq del": after(seq, delete(0)),
    "seq del slice": after(seq, delete(slice(0, 2))),
    "seq append": after(seq, lambda t, c: c.append(relu(t))),
    "seq extend": after(seq, lambda t, c: c.extend(layers(t, 2, start=5))),
    "seq insert": after(
        seq, lambda t, c: c.insert(1, relu(t)), lambda t, c: c.insert(-1, relu(t))
    ),
    "seq pop": after(seq, lambda t, c: c.pop(1), lambda t, c: c.pop(-1)),
    "seq add": after(seq, lambda t, c: c + seq(t, 1)),
    "seq iadd": after(seq, iadd(seq)),
    "seq mul": after(seq, lambda t, c: c * 2, lambda t, c: 2 * c),
    "seq imul": after(seq, imul(2)),
    "seq dir": after(seq, lambda t, c: [n for n in dir(c) if n.isdigit()]),
    "seq forward": lambda t: fill(t, t.nn.Sequential(t.nn.Linear(3, 2), t.nn.Tanh()))(
        t.tensor(numbers(4, 3))
    ),
    "list": after(mlist),
    "list repeated": after(lambda t: t.nn.ModuleList(t.nn.ReLU() for _ in range(4))),
    "list mixed": after(
        lambda t: t.nn.ModuleList([t.nn.ReLU(), t.nn.ReLU(), seq(t, 2), t.nn.ReLU()])
    ),
    "list empty": after(lambda t: t.nn.ModuleList()),
    "list slice": after(mlist, lambda t, c: c[1:], lambda t, c: type(c[:2]), lambda t, c: c[-1]),
    "list set": after(mlist, assign(1, relu)),
    "list del": after(mlist, delete(1)),
    "list del slice": after(mlist, delete(slice(1, None))),
    "list insert": after(
        mlist, lambda t, c: c.insert(0, relu(t)), lambda t, c: c.insert(9, relu(t))
    ),
    "list append": after(mlist, lambda t, c: c.append(relu(t))),
    "list extend": after(mlist, lambda t, c: c.extend(mlist(t, 2))),
    "list pop": after(mlist, lambda t, c: c.pop(0)),
    "list add": after(mlist, lambda t, c: c + layers(t, 1, start=6)),
    "list iadd": after(mlist, iadd(mlist)),
    "dict": after(mdict, lambda t, c: list(c), lambda t, c: list(c.keys())),
    "dict values": after(mdict, lambda t, c: list(c.values()), lambda t, c: list(c.items())),
    "dict contains": after(mdict, lambda t, c: "act" in c, lambda t, c: "x" in c),
    "dict pop": after(mdict, lambda t, c: c.pop("act")),
    "dict clear": after(mdict, lambda t, c: c.clear()),
    "dict set": after(mdict, assign("new", relu), delete("conv")),
    "dict update": after(mdict, lambda t, c: c.update([["x", relu(t)], ("act", seq(t, 1))])),
    "dict update dict": after(mdict, lambda t, c: c.update(mdict(t))),
    "plist": after(plist),
    "plist one": after(lambda t: t.nn.ParameterList([t.ones(2)])),
    "plist empty": after(lambda t: t.nn.ParameterList()),
    "plist index": after(plist, lambda t, c: type(c[0]).__name__, lambda t, c: c[-1]),
    "plist slice": after(plist, lambda t, c: c[:2], lambda t, c: c[::2]),
    "plist set": after(plist, assign(0, lambda t: t.ones(7))),
    "plist append": after(plist, lambda t, c: c.append(t.ones(4))),
    "plist iadd": after(plist, iadd(plist)),
    "plist iter": after(plist, lambda t, c: [type(v).__name__ for v in c]),
    "pdict": after(pdict, lambda t, c: list(c), lambda t, c: list(reversed(c))),
    "pdict pairs": after(
        lambda t: t.nn.ParameterDict([("z", t.ones(1)), ("y", t.ones(2))]), lambda t, c: list(c)
    ),
    "pdict get": after(pdict, lambda t, c: c.get("zz", 4), lambda t, c: c.get("n")),
    "pdict pop": after(pdict, lambda t, c: c.pop("n"), lambda t, c: c.popitem()[0]),
    "pdict setdefault": after(
        pdict, lambda t, c: c.setdefault("n", 3), lambda t, c: c.setdefault("m", 4)
    ),
    "pdict fromkeys": after(pdict, lambda t, c: c.fromkeys(["q", "r"], 2)),
    "pdict copy": after(pdict, lambda t, c: c.copy(), lambda t, c: c.clear()),
    "pdict or": after(pdict, lambda t, c: c | t.nn.ParameterDict({"b": t.ones(9)})),
    "pdict ior": after(pdict, lambda t, c: c.__ior__(t.nn.ParameterDict({"q": t.ones(9)}))),
    "pdict values": after(pdict, lambda t, c: len(list(c.values())), delete("a")),
}

FAILURES = {
    "seq index": lambda t: seq(t)[3],
    "seq add": lambda t: seq(t) + [relu(t)],
    "seq insert range": lambda t: seq(t).insert(9, relu(t)),
    "seq mul": lambda t: seq(t) * 0,
    "seq mul type": lambda t: seq(t) * 1.5,
    "seq not a module": lambda t: t.nn.Sequential(3),
    "list index": lambda t: mlist(t)[-4],
    "list extend": lambda t: mlist(t).extend(3),
    "list call": lambda t: mlist(t)(1),
    "dict key": lambda t: mdict(t)["none"],
    "dict pair": lambda t: t.nn.ModuleDict([("a", 1, 2)]),
    "dict name": lambda t: mdict(t).update({"keys": relu(t)}),
    "plist index": lambda t: plist(t)[3],
    "plist call": lambda t: plist(t)(1),
    "plist extend": lambda t: plist(t).extend(3),
    "pdict call": lambda t: pdict(t)(1),
    "pdict missing": lambda t: pdict(t)["none"],
}


@cases(SCENARIOS)
def test_containers_act_as_in_torch(case):
    agree(case, ok=True)


@cases(FAILURES)
def test_container_errors_are_torchs(case):
    agree(case, ok=False)


def test_old_container_takes_children_as_keywords():
    agree(lambda t: repr(t.nn.Container(a=t.nn.ReLU(), b=t.nn.Tanh())), ok=True)
