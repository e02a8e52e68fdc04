"""The pass runner and its switches, and pictures of graphs."""

from __future__ import annotations

import xml.etree.ElementTree as xml

import pytest
from nncomp.ir.debug import Debug, debug
from nncomp.ir.grad import joint
from nncomp.ir.graph import Graph, Node
from nncomp.ir.op import OPS
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import PassError, canonicalize, cse, run_pipeline, simplify
from nncomp.ir.passes.run import compare
from nncomp.ir.picture import to_dot, to_networkx, to_svg
from nncomp.ir.printer import print_graph

GRAPH = parse_graph("""graph f(x: f32[2,3], i: i64[2]) {
  t = take(x, i, axis=0)      # net.a m.py:1
  m = mul(t, 1.0)             # net.a m.py:2
  e = exp(m)                  # net.b m.py:3
  l = log(e)                  # net.b m.py:4
  return l
}""")
STEPS = [canonicalize, simplify, cse]


def drop_log(graph: Graph) -> Graph:
    return graph.with_outputs([n.inputs[0] for n in graph.outputs])


def break_type(graph: Graph) -> Graph:
    (out,) = graph.outputs
    return graph.with_outputs([Node(OPS["exp"], (out,), {}, GRAPH.inputs[1].type)])


def fail(graph: Graph) -> Graph:
    raise KeyError("oops")


def test_report_has_a_record_per_pass():
    report = []
    result = run_pipeline(GRAPH, STEPS, report)
    assert [(r.name, r.changed) for r in report] == [
        ("canonicalize", False), ("simplify", True), ("cse", False),
    ]  # fmt: skip
    assert (report[1].nodes_before, report[1].nodes_after) == (5, 3)
    assert [n.name for n in result.nodes] == ["take", "exp", "log"]
    assert "(unchanged)" in str(report[0]) and "5 -> 3 nodes" in str(report[1])


def test_a_pass_that_breaks_the_graph_is_named_with_its_predecessors():
    message = r"pass break_type \(after canonicalize, simplify\): VerifyError: .*its type is i64"
    with pytest.raises(PassError, match=message):
        run_pipeline(GRAPH, [canonicalize, simplify, break_type])


def test_a_pass_that_raises_is_named():
    with pytest.raises(PassError, match="pass fail: KeyError: 'oops'") as caught:
        run_pipeline(GRAPH, [fail])
    assert isinstance(caught.value.__cause__, KeyError)


def test_check_names_the_first_pass_that_changes_numbers():
    run_pipeline(GRAPH, [simplify, drop_log])  # without the check nobody notices
    with debug(check=True), pytest.raises(PassError, match=r"pass drop_log \(after simplify\).*"
                                          r"changes the numbers: output 0 differs by"):  # fmt: skip
        run_pipeline(GRAPH, [simplify, drop_log, cse])


def test_compare_accepts_index_inputs_of_short_axes():
    graph = parse_graph("graph f(x: f32[1], i: i64[8]) {\n t = take(x, i, axis=0)\n return t\n}")
    assert compare(graph, graph) == ""


def test_print_after_shows_a_difference(capsys):
    with debug(print_after="canonicalize,simplify"):
        run_pipeline(GRAPH, STEPS)
    shown = capsys.readouterr().err
    assert "# after canonicalize (unchanged)" in shown
    assert "-   mul_0 = mul(take_0, 1.0)" in shown and "# after cse" not in shown


def test_debug_levels(capsys):
    with debug(debug=1):
        run_pipeline(GRAPH, STEPS)
    assert "5 -> 3 nodes" in (shown := capsys.readouterr().err) and "graph f" not in shown
    with debug(debug=3):
        run_pipeline(GRAPH, STEPS)
    assert capsys.readouterr().err.count("graph f(x: f32[2,3]") == 3


def test_dump_writes_numbered_stages_that_parse(tmp_path):
    with debug(dump=str(tmp_path / "stages")):
        result = run_pipeline(GRAPH, STEPS)
    files = sorted((tmp_path / "stages").iterdir())
    assert [f.name for f in files] == [
        "00_trace.ir", "01_canonicalize.ir", "02_simplify.ir", "03_cse.ir",
    ]  # fmt: skip
    assert files[0].read_text() == print_graph(GRAPH)
    assert print_graph(parse_graph(files[-1].read_text())) == print_graph(result)


def test_stop_after(monkeypatch):
    monkeypatch.setenv("NNCOMP_STOP_AFTER", "canonicalize")
    report = []
    assert run_pipeline(GRAPH, STEPS, report) is GRAPH and len(report) == 1
    with (
        debug(stop_after="simplyfy"),
        pytest.raises(ValueError, match="the passes are canonicalize"),
    ):
        run_pipeline(GRAPH, STEPS)


def test_rewrites_limits_simplify():
    with debug(rewrites=0):
        assert simplify(GRAPH) is GRAPH


def test_verify_can_be_switched_off():
    with debug(verify=False):
        run_pipeline(GRAPH, [break_type])


def test_gradients_run_through_the_whole_pipeline_with_checks():
    graph = parse_graph("""graph f(x: f32[4,3], w: f32[3]) {
      e = reshape(w, shape=(1,3))
      y = expand(e, shape=(4,3))
      m = mul(x, y)
      t = tanh(m)
      s = sum(t, axes=(0,1))
      return s
    }""")
    with debug(check=True):
        run_pipeline(joint(graph), STEPS)


# -- switches -------------------------------------------------------------------------------------


def test_scopes_nest_and_override_the_environment(monkeypatch):
    monkeypatch.setenv("NNCOMP_PRINT_AFTER", "cse")
    assert debug.print_after == "cse"
    with debug(print_after="simplify", check=True):
        with debug(print_after=""):
            assert debug.print_after == "" and debug.check
        assert debug.print_after == "simplify"
    assert debug.print_after == "cse" and not debug.check


@pytest.mark.parametrize("text, value", [("1", True), ("TRUE", True), ("off", False), ("", False)])
def test_bool_from_the_environment(monkeypatch, text, value):
    monkeypatch.setenv("NNCOMP_CHECK", text)
    assert debug.check is value


def test_switch_errors(monkeypatch):
    monkeypatch.setenv("NNCOMP_DEBUG", "lots")
    with pytest.raises(ValueError, match="NNCOMP_DEBUG must be an integer, got 'lots'"):
        _ = debug.debug
    with pytest.raises(AttributeError, match="no debug switch chek; there are debug, print_after"):
        with debug(chek=True):
            pass
    with pytest.raises(TypeError, match="debug switch check takes bool, got 1"):
        with debug(check=1):
            pass


def test_rows_can_be_added_once():
    mine = Debug()
    mine.add_switch("loops", bool, False, "print loops")
    mine.add_switch("loops", bool, False, "print loops")
    with pytest.raises(ValueError, match="defined twice"):
        mine.add_switch("loops", int, 0, "print loops")
    assert "| `NNCOMP_LOOPS` | bool | `False` | print loops |" in mine.table()


# -- pictures -------------------------------------------------------------------------------------

SCAN = parse_graph(
    """graph <rnn & "co">(h: f32[2], x: f32[5,2]) {
  scan_0 = scan(h, x, carries=1, consts=0, length=5, reverse=False) {   # rnn m.py:1
    body = graph step(h: f32[2], x: f32[2]) {
      a = add(h, x)
      return a, a
    }
  }
  s = sub(scan_0[0], scan_0[0])
  return s -> h, scan_0[1]
}""".replace('<rnn & "co">', repr('<rnn & "co">'))
)


def test_networkx_has_nodes_edges_and_places():
    drawn = to_networkx(GRAPH)
    assert list(drawn.predecessors("take_0")) == ["x", "i"]
    assert drawn.nodes["mul_0"] | {} == dict(
        op="mul", label="mul_0(1.0)", type="f32[2,3]", scope="net.a", line="m.py:2", attrs={}
    )
    assert list(drawn.successors("log_0")) == ["return 0"]
    assert set(to_networkx(SCAN).edges) == {
        ("h", "scan_0"), ("x", "scan_0"), ("scan_0", "sub_0"), ("sub_0", "return 0"),
        ("scan_0", "return 1"),
    }  # fmt: skip


def test_dot_has_a_cluster_per_scope():
    text = to_dot(GRAPH)
    assert text.count("subgraph") == 2 and 'label="net.a";' in text
    assert '"take_0" -> "mul_0";' in text
    assert to_dot(GRAPH, clusters=False).count("subgraph") == 0
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("graph", [GRAPH, SCAN, Graph("empty", (), ())], ids=["f", "scan", "empty"])
def test_svg_is_well_formed_and_boxes_do_not_overlap(graph):
    root = xml.fromstring(to_svg(graph))
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        {k: float(b.get(k)) for k in ("x", "y", "width", "height")}
        for b in root.iter(f"{space}rect")
    ]
    assert len(boxes) == len(to_networkx(graph).nodes)
    width, height = float(root.get("width")), float(root.get("height"))
    for i, a in enumerate(boxes):
        assert 0 <= a["x"] and a["x"] + a["width"] <= width + 1 and a["y"] + a["height"] <= height
        for b in boxes[:i]:
            apart = (
                a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"] or a["y"] != b["y"]
            )
            assert apart
