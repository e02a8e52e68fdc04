"""Text -> Graph, the inverse of `printer`.

Types after the colon and the `# scope file:line` notes may be left out; a type that is there must
be what the op's rule gives. Nodes that no output needs are dropped. Errors are `ParseError`, with
the line and what was expected there.
"""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from .graph import Graph, Loc, Node, input_node
from .op import OPS, Elementwise
from .printer import PLAIN_LINE, PLAIN_SCOPE, type_text
from .types import TensorType, dtype_of_name

TOKEN = re.compile(
    r"(?P<blank>[ \t]+)|(?P<newline>\r?\n)|(?P<comment>\#[^\n]*)"
    r"|(?P<string>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")"
    r"|(?P<number>-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|inf|nan)(?![\w.]))"
    r"|(?P<word>\w[\w.]*)|(?P<mark>->|[()\[\]{}=:,])"
)
CONSTANTS = {"True": True, "False": False, "None": None}


class ParseError(ValueError):
    """Text that is not a graph; the message starts with the line number."""

    def __init__(self, line: int, message: str):
        self.line = line
        super().__init__(f"line {line}: {message}")


class Token(NamedTuple):
    kind: str
    text: str
    line: int


class Literal(NamedTuple):
    """A number in operand position: a constant of the type of the operands beside it."""

    value: bool | int | float


def parse_graph(text: str) -> Graph:
    """The graph that `text` shows; ParseError when it shows none."""
    parser = Parser(tokenize(text))
    parser.skip_blank()
    graph = parser.graph()
    parser.skip_blank()
    if parser.peek().kind != "end":
        parser.fail("the end of the text after the closing '}'")
    return graph


def tokenize(text: str) -> list[Token]:
    tokens, position, line = [], 0, 1
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ParseError(line, f"unexpected character {text[position]!r}")
        kind = match.lastgroup or ""
        if kind != "blank":
            tokens.append(Token(kind, match.group(), line))
        line += kind == "newline"
        position = match.end()
    return [*tokens, Token("end", "the end of the text", line)]


class Parser:
    """Recursive descent over the tokens; `env` of `graph` maps names to nodes."""

    def __init__(self, tokens: list[Token]):
        self.tokens, self.at = tokens, 0

    # -- tokens

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def fail(self, expected: str):
        token = self.peek()
        shown = "the end of the line" if token.kind == "newline" else repr(token.text)
        raise ParseError(token.line, f"expected {expected}, got {shown}")

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, mark: str) -> bool:
        found = self.peek().kind in ("mark", "word") and self.peek().text == mark
        self.at += found
        return found

    def expect(self, mark: str, where: str):
        if not self.accept(mark):
            self.fail(f"{mark!r} {where}")

    def skip_blank(self):
        while self.peek().kind in ("newline", "comment"):
            self.at += 1

    def name(self, what: str) -> str:
        token = self.peek()
        if token.kind not in ("word", "string"):
            self.fail(what)
        self.at += 1
        return ast.literal_eval(token.text) if token.kind == "string" else token.text

    def integer(self, what: str) -> int:
        token = self.peek()
        if token.kind != "number" or not re.fullmatch(r"-?[0-9]+", token.text):
            self.fail(what)
        return int(self.next().text)

    def items(self, close: str, parse) -> list:
        """Comma-separated items up to the mark `close`; a comma may end the list."""
        found = []
        while not self.accept(close):
            found.append(parse())
            if not self.accept(","):
                self.expect(close, "or ',' after an item")
                break
        return found

    # -- grammar

    def graph(self) -> Graph:
        """graph NAME(NAME: TYPE, ...) { statement... return VALUE [-> NAME], ... }"""
        self.expect("graph", "at the start of a graph")
        name = self.name("the name of the graph")
        self.expect("(", "before the inputs of the graph")
        env: dict[str, Node] = {}
        inputs = self.items(")", lambda: self.input(env))
        self.expect("{", "after the inputs of the graph")
        self.skip_blank()
        while not self.accept("return"):
            self.statement(env)
            self.skip_blank()
        results = []
        if self.peek().kind != "newline" and self.peek().text != "}":
            results.append(self.result(env))
            while self.accept(","):
                results.append(self.result(env))
        self.skip_blank()
        self.expect("}", "after the return of the graph")
        return Graph(name, inputs, [n for n, _ in results], [t for _, t in results])

    def input(self, env) -> Node:
        line = self.peek().line
        name = self.name("the name of an input")
        self.expect(":", f"and a type after the input {name}")
        node = input_node(name, self.type())
        self.define(env, name, node, line)
        return node

    def define(self, env, name: str, node: Node, line: int):
        if name in env:
            raise ParseError(line, f"the name {name} is used twice")
        env[name] = node

    def result(self, env) -> tuple[Node, str]:
        line = self.peek().line
        value = self.operand(env)
        if isinstance(value, Literal) or not isinstance(value.type, TensorType):
            raise ParseError(
                line, "a graph returns named tensors (write call_0[1] for one of many)"
            )
        return value, self.name("an input name after '->'") if self.accept("->") else ""

    def statement(self, env):
        """NAME = OP(operands, attributes) [: TYPE] [{ NAME = graph ... }] [# LOC]"""
        line = self.peek().line
        name = self.name("a node name, 'return' or '}'")
        self.expect("=", f"after the node name {name}")
        op_name = self.name("the name of an op")
        if op_name not in OPS:
            raise ParseError(line, f"there is no op called {op_name}")
        self.expect("(", f"after the op {op_name}")
        operands: list[Node] = []
        attrs: dict[str, Any] = {}
        self.items(")", lambda: self.argument(env, operands, attrs))
        declared = self.result_type() if self.accept(":") else None
        has_bodies = self.accept("{")
        loc = self.loc()
        if has_bodies:
            self.bodies(attrs)
            self.skip_line_end()
        node = make_node(line, op_name, operands, attrs, loc)
        if declared is not None and declared != node.type:
            gives, says = type_text(node.type), type_text(declared)
            raise ParseError(line, f"{op_name} gives {gives} here, but the text says {says}")
        self.define(env, name, node, line)

    def skip_line_end(self):
        if self.peek().kind not in ("newline", "comment", "end"):
            self.fail("the end of the line")
        self.skip_blank()

    def argument(self, env, operands: list, attrs: dict):
        if self.peek().kind == "word" and self.peek(1).text == "=":
            key = self.next().text
            self.next()
            attrs[key] = self.value()
        elif attrs:
            self.fail("an attribute (operands come before attributes)")
        else:
            operands.append(self.operand(env))

    def operand(self, env) -> Node | Literal:
        token = self.peek()
        if token.kind == "number" or (token.kind == "word" and token.text in ("True", "False")):
            return Literal(self.value())
        if token.kind == "word" and token.text in ("inf", "nan"):
            return Literal(self.value())
        name = self.name("an operand")
        if name not in env:
            raise ParseError(token.line, f"{name} is not defined above this line")
        if not self.accept("["):
            return env[name]
        index = self.integer("a result number")
        self.expect("]", "after the result number")
        return self.one_result(env, name, index, token.line)

    def one_result(self, env, name: str, index: int, line: int) -> Node:
        node = env[name]
        if isinstance(node.type, TensorType) or not 0 <= index < len(node.type):
            raise ParseError(line, f"{name} : {type_text(node.type)} has no result {index}")
        key = f"{name}[{index}]"
        if key not in env:
            env[key] = Node(OPS["get"], (node,), {"index": index}, node.type[index], node.loc)
        return env[key]

    def value(self):
        token = self.peek()
        if token.kind == "number" or token.text in ("inf", "nan"):
            return number(self.next().text)
        if token.kind == "string":
            return ast.literal_eval(self.next().text)
        if self.accept("("):
            return tuple(self.items(")", self.value))
        if token.text in CONSTANTS:
            return CONSTANTS[self.next().text]
        if token.kind == "word" and known_dtype(token.text):
            return dtype_of_name(self.next().text)
        self.fail("a value (number, string, True, False, None, dtype or tuple)")

    def type(self) -> TensorType:
        token = self.peek()
        if token.kind != "word" or not known_dtype(token.text):
            self.fail("a type such as f32[8,784]")
        self.next()
        self.expect("[", "after the element type")
        shape = self.items("]", lambda: self.integer("a length"))
        return TensorType(tuple(shape), dtype_of_name(token.text))

    def result_type(self):
        if self.accept("("):
            return tuple(self.items(")", self.type))
        return self.type()

    def loc(self) -> Loc:
        """The note at the end of a statement's line; anything but a place is a plain comment."""
        token = self.peek()
        if token.kind == "comment":
            self.next()
        if self.peek().kind not in ("newline", "end"):
            self.fail("the end of the line")
        return parse_loc(token.text[1:].strip()) if token.kind == "comment" else Loc()

    def bodies(self, attrs: dict):
        self.skip_blank()
        while not self.accept("}"):
            key = self.name("the name of a body or '}'")
            self.expect("=", f"and a graph after {key}")
            attrs[key] = self.graph()
            self.skip_blank()


def known_dtype(text: str) -> bool:
    try:
        return bool(dtype_of_name(text))
    except KeyError:
        return False


def number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)


def parse_loc(text: str) -> Loc:
    if text.startswith("("):
        try:
            scope, line = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError):
            return Loc()
        return Loc(str(scope), str(line))
    words = text.split()
    if len(words) == 1 and PLAIN_LINE.fullmatch(text):
        return Loc("", text)
    if len(words) == 1 and PLAIN_SCOPE.fullmatch(text):
        return Loc(text, "")
    if len(words) == 2 and PLAIN_SCOPE.fullmatch(words[0]) and PLAIN_LINE.fullmatch(words[1]):
        return Loc(*words)
    return Loc()


def make_node(line: int, op_name: str, operands: list, attrs: dict, loc: Loc) -> Node:
    """The node of one statement, typed by its op."""
    op = OPS[op_name]
    if any(isinstance(x, Literal) for x in operands):
        operands = _fill_literals(line, op, operands)
    try:
        result = op.type(*(x.type for x in operands), **attrs)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ParseError(line, f"{op_name} cannot be applied: {error}") from error
    return Node(op, tuple(operands), attrs, result, loc)


def _fill_literals(line: int, op, operands: list) -> list[Node]:
    """Literals become constants of the type of the first other operand of the same group."""
    first = 1 if op.name == "where" else 0
    known = [x for x in operands[first:] if not isinstance(x, Literal)]
    if not isinstance(op, Elementwise) or not known or isinstance(operands[0], Literal) and first:
        raise ParseError(
            line,
            f"a literal operand of {op.name} needs an operand of the same type beside it; "
            "write full(value=..., shape=..., dtype=...) on a line of its own",
        )
    shape, dtype = known[0].type
    return [
        Node(OPS["full"], (), dict(value=x.value, shape=shape, dtype=dtype), known[0].type)
        if isinstance(x, Literal)
        else x
        for x in operands
    ]
