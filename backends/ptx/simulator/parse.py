"""PTX text -> syntax.PtxModule. Strict: what is not understood is an error that names the line.

Takes what LLVM's NVPTX target and nvcc write, inline asm with scopes of its own included.
"""

from __future__ import annotations

import re

from .lex import named, number, strip_comments, tokenize
from .syntax import (
    Address,
    Function,
    Group,
    Instruction,
    Label,
    Listed,
    Name,
    Not,
    Number,
    Pair,
    PtxError,
    PtxModule,
    Registers,
    Scope,
    Shifted,
    Targets,
    Variable,
    type_bits,
)  # fmt: skip

LINKING = (".visible", ".extern", ".weak", ".common")
SPACES = (".global", ".const", ".shared", ".local", ".param")
LIMITS = (".maxntid", ".reqntid", ".minnctapersm", ".maxnreg", ".maxnctapersm", ".explicitcluster",
          ".reqnctapercluster", ".maxclusterrank")  # fmt: skip


class Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str):
        self.lines = text.split("\n")
        self.tokens = tokenize(strip_comments(text))
        self.texts = [token[1] for token in self.tokens] + [""] * 3  # to peek past the end
        self.at = 0

    # -- tokens ---------------------------------------------------------------------------------

    @property
    def line(self) -> int:
        return self.tokens[min(self.at, len(self.tokens) - 1)][2] if self.tokens else 0

    def peek(self, ahead: int = 0) -> str:
        return self.texts[self.at + ahead]

    def next(self) -> str:
        if self.at >= len(self.tokens):
            raise PtxError("the text ends in the middle of a statement.", self.line)
        self.at += 1
        return self.tokens[self.at - 1][1]

    def take(self, text: str) -> bool:
        if self.texts[self.at] == text:
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise PtxError(f"expected {text!r} but found {self.peek()!r}.", self.line)

    def number(self) -> Number:
        """The literal that comes next."""
        try:
            return number(self.next())
        except PtxError as error:
            raise PtxError(str(error), self.line) from None

    def integer(self) -> int:
        sign = -1 if self.take("-") else 1
        found = self.number()
        if found.kind != "int":
            raise PtxError("expected a whole number.", self.line)
        return sign * int(found.value)

    # -- module ---------------------------------------------------------------------------------

    def module(self) -> PtxModule:
        result = PtxModule("", "", [], {})
        while self.at < len(self.tokens):
            word = self.next()
            if word in (".entry", ".func"):
                self.add_function(result, self.function(word == ".entry"))
            elif word in SPACES:
                result.variables += self.variables(word[1:])
            elif word not in LINKING and word != ";":
                self.header(word, result)
        return result

    def header(self, word: str, module: PtxModule) -> None:
        """Directives that are neither functions nor variables."""
        if word == ".version":
            module.version = self.next()
        elif word == ".target":
            module.target = self.next()
            while self.take(","):
                self.next()
        elif word == ".address_size":
            if self.integer() != 64:
                raise PtxError("only 64-bit addresses are supported.", self.line)
        elif word == ".file":
            self.skip_line()
        elif word == ".section":
            self.skip_section()
        else:
            raise PtxError(f"unexpected {word!r} outside of functions.", self.line)

    def add_function(self, module: PtxModule, new: Function) -> None:
        old = module.functions.get(new.name)
        if old is not None and old.body is not None and new.body is not None:
            raise PtxError(f"function {new.name!r} is defined twice.", new.line)
        if old is None or old.body is None:
            module.functions[new.name] = new

    def skip_line(self) -> None:
        line = self.line
        while self.at < len(self.tokens) and self.tokens[self.at][2] == line:
            self.at += 1

    def skip_section(self) -> None:
        while self.peek() not in ("{", ""):
            self.at += 1
        self.expect("{")
        while not self.take("}"):
            self.next()

    def variables(self, space: str) -> list[Variable]:
        """The rest of `.space .align n .type name[count] = {...}, ...;`."""
        align, type_ = 0, ""
        while self.peek().startswith("."):
            word = self.next()
            if word == ".align":
                align = self.integer()
            elif word == ".attribute":
                self.skip_parens()
            elif word in (".ptr", *SPACES):
                continue
            else:
                type_ = word[1:]
        found = [self.variable(space, type_, align)]
        while space != "param" and self.take(","):
            found.append(self.variable(space, type_, align))
        if space != "param":
            self.expect(";")
        return found

    def skip_parens(self) -> None:
        self.expect("(")
        while not self.take(")"):
            self.next()

    def variable(self, space: str, type_: str, align: int) -> Variable:
        if type_.startswith("v"):
            raise PtxError(f"vector variables ({type_}) are not supported.", self.line)
        name, count, scalar, init = self.next(), 1, True, None
        while self.take("["):
            scalar = False
            count *= 0 if self.peek() == "]" else self.integer()
            self.expect("]")
        if self.take("="):
            init = self.initializer()
        width = max(1, type_bits(type_) // 8)
        return Variable(space, type_, name, count, max(align, width), init, scalar)

    def initializer(self) -> tuple:
        if self.take("{"):
            items: list = []
            while not self.take("}"):
                items += self.initializer()
                self.take(",")
            return tuple(items)
        return (self.operand(),)

    # -- functions ------------------------------------------------------------------------------

    def function(self, entry: bool) -> Function:
        line = self.line
        results = [] if entry or self.peek() != "(" else self.parameters()
        name = self.next()
        params = self.parameters() if self.peek() == "(" else []
        directives: dict[str, tuple[int, ...]] = {}
        while self.peek().startswith("."):
            word = self.next()
            if word == ".noreturn":
                continue
            if word not in LIMITS:
                raise PtxError(f"unexpected {word!r} after {name!r}.", self.line)
            values = []
            while re.match(r"\d", self.peek()):
                values.append(self.integer())
                self.take(",")
            directives[word[1:]] = tuple(values)
        if self.take(";"):
            return Function(name, entry, params, results, None, line, directives)
        start = self.line
        body = self.body()
        text = "\n".join(self.lines[start - 1 : self.line])
        implicit = frozenset(re.findall(r"// implicit-def: (\S+)", text))
        return Function(name, entry, params, results, body, line, directives, implicit)

    def parameters(self) -> list[Variable]:
        self.expect("(")
        found = []
        while not self.take(")"):
            if not (self.take(".param") or self.take(".reg")):
                raise PtxError(f"expected a parameter but found {self.peek()!r}.", self.line)
            found += self.variables("param")
            self.take(",")
        return found

    def body(self) -> list:
        self.expect("{")
        items: list = []
        depth = 1
        while depth:
            if self.take("{"):
                depth += 1
                items.append(Scope(True))
            elif self.take("}"):
                depth -= 1
                if depth:
                    items.append(Scope(False))
            else:
                items += self.statement()
        return items

    def statement(self) -> list:
        word = self.peek()
        if word == ";":
            self.next()
            return []
        if self.peek(1) == ":" and not word.startswith("@"):
            return [self.label()]
        if word == ".reg":
            self.next()
            return self.registers()
        if word in SPACES or word == ".extern":
            self.next()
            if word == ".extern":
                word = self.next()
            return list(self.variables(word[1:]))
        if word in (".loc", ".file"):
            self.skip_line()
            return []
        if word == ".pragma":
            while not self.take(";"):
                self.next()
            return []
        if word.startswith("."):
            raise PtxError(f"unexpected directive {word!r}.", self.line)
        return [self.instruction()]

    def label(self) -> Label | Targets:
        name = self.next()
        self.expect(":")
        if self.take(".branchtargets"):
            labels = [self.next()]
            while self.take(","):
                labels.append(self.next())
            self.expect(";")
            return Targets(name, tuple(labels))
        if self.peek() in (".callprototype", ".calltargets"):
            raise PtxError("indirect calls are not supported.", self.line)
        return Label(name)

    def registers(self) -> list[Registers]:
        type_ = self.next()[1:]
        found = []
        while True:
            name, count = self.next(), None
            if self.take("<"):
                count = self.integer()
                self.expect(">")
            found.append(Registers(type_, name, count))
            if not self.take(","):
                break
        self.expect(";")
        return found

    # -- instructions ---------------------------------------------------------------------------

    def instruction(self) -> Instruction:
        line, guard = self.line, None
        if self.take("@"):
            negated = self.take("!")
            guard = (self.next(), negated)
        kind, word, _ = self.tokens[min(self.at, len(self.tokens) - 1)]
        if kind != "word" or word.startswith((".", "%")):
            raise PtxError(f"expected an instruction but found {word!r}.", line)
        self.next()
        opcode, *mods = word.split(".")
        operands = []
        if self.peek() != ";":
            operands.append(self.paired())
            while self.take(","):
                operands.append(self.paired())
        self.expect(";")
        text = " ".join(self.lines[line - 1].split("//")[0].split())
        return Instruction(opcode, tuple(mods), tuple(operands), guard, line, text)

    def paired(self) -> object:
        first = self.operand()
        return Pair(first, self.operand()) if self.take("|") else first

    def operand(self) -> object:
        kind, text, line = self.tokens[min(self.at, len(self.tokens) - 1)]
        if kind == "word" and text[0] == "%" and self.texts[self.at + 1] in ",;]})|":
            self.at += 1
            return named(text)
        if self.take("["):
            return self.address()
        if self.take("{"):
            return Group(self.items("}"))
        if self.take("("):
            return Listed(self.items(")"))
        if self.take("!"):
            return Not(Name(self.next()))
        if self.take("-"):
            found = self.number()
            return Number(-found.value, found.kind)
        kind, text, line = self.tokens[min(self.at, len(self.tokens) - 1)]
        self.next()
        if kind == "number":
            self.at -= 1
            return self.number()
        if kind != "word" or text.startswith("."):
            raise PtxError(f"expected an operand but found {text!r}.", line)
        if text == "generic" and self.take("("):
            inner = self.operand()
            self.expect(")")
            return inner
        if self.peek() in ("+", "-") and self.peek(1)[:1].isdigit():
            sign = 1 if self.next() == "+" else -1
            return Shifted(Name(text), sign * self.integer())
        return Name(text)

    def items(self, close: str) -> tuple:
        items = []
        while not self.take(close):
            items.append(self.operand())
            self.take(",")
        return tuple(items)

    def address(self) -> Address | Group:
        if self.peek()[:1].isdigit():
            base, offset = None, self.integer()
        else:
            base, offset = named(self.next()), 0
            if self.take("+"):
                offset = self.integer()
            elif self.take("-"):
                offset = -self.integer()
        if self.take(","):
            raise PtxError("tensor addresses [a, {...}] are not supported.", self.line)
        self.expect("]")
        return Address(base, offset)


def parse(text: str) -> PtxModule:
    """Read a module; PtxError names the line of what is not understood."""
    return Parser(text).module()
