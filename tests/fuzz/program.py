"""Programs as data: a tree of operations, printed as Python source."""

import re
import textwrap
from typing import NamedTuple


class Op(NamedTuple):
    """One statement or expression: a template, and what stands in its holes.

    An argument is an Op, a Body, or a value whose str() is Python source.
    """

    template: str
    args: tuple = ()


class Body(NamedTuple):
    """A list of statements.

    `head` is the first line of a function that has them, with {} for its name. The function is
    printed ahead of the program, and its name stands in the hole. Without a head the statements
    themselves stand there, indented.
    """

    head: str
    ops: tuple


class Program(NamedTuple):
    """What a seed gives: the lines before and after, and the operations between."""

    prologue: str
    main: Body
    epilogue: str
    guard: str = ""  # stands before each statement, unless the template begins with "!"


HOLE = re.compile(r"\{(\d+)\}")


class Printer:
    """Prints the functions of a program, then its statements."""

    def __init__(self, guard):
        self.guard = guard
        self.functions = []
        self.count = 0

    def expression(self, arg):
        if isinstance(arg, Op):
            return self.fill(arg.template, arg.args)
        if isinstance(arg, Body):
            return self.function(arg) if arg.head else self.indented(arg)
        return str(arg)

    def fill(self, template, args):
        texts = [self.expression(arg) for arg in args]
        return HOLE.sub(lambda match: texts[int(match[1])], template)

    def statement(self, op):
        if op.template.startswith("!"):
            return self.fill(op.template[1:], op.args)
        return self.guard + self.fill(op.template, op.args)

    def statements(self, body):
        return "\n".join(map(self.statement, body.ops))

    def indented(self, body):
        return textwrap.indent(self.statements(body) or "pass", "    ")

    def function(self, body):
        name = f"m{self.count}"
        self.count += 1
        text = body.head.format(name) + "\n" + self.indented(body)
        self.functions.append(text)
        return name


def source(program):
    """The program as Python."""
    printer = Printer(program.guard)
    main = printer.statements(program.main)
    parts = [program.prologue, *printer.functions, main, program.epilogue]
    return "\n".join(parts) + "\n"


def walk(node, path=()):
    """Yield (path, node) for a Body or an Op and all below it; a path is a tuple of indexes."""
    yield path, node
    if isinstance(node, Op):
        children = node.args
    elif isinstance(node, Body):
        children = node.ops
    else:
        return
    for index, child in enumerate(children):
        if isinstance(child, (Op, Body)):
            yield from walk(child, (*path, index))


def replaced(node, path, new):
    """A copy of the tree in which `new` stands at `path`."""
    if not path:
        return new
    index, *rest = path
    children = list(node.args if isinstance(node, Op) else node.ops)
    children[index] = replaced(children[index], rest, new)
    if isinstance(node, Op):
        return node._replace(args=tuple(children))
    return node._replace(ops=tuple(children))


def size(node):
    """How many statements and expressions there are."""
    return sum(isinstance(part, Op) for _, part in walk(node))


class Grammar:
    """Makes operations from templates with named holes, e.g. "f[{F}].set_result({V})".

    A name stands for a list of templates, or for a method `make_NAME` of the subclass.
    """

    names = {}

    def __init__(self, random):
        self.random = random
        self.depth = 0

    def make(self, name):
        maker = getattr(self, "make_" + name, None)
        if maker is not None:
            return maker()
        return self.op(self.random.choice(self.names[name]))

    def op(self, template):
        """An operation of this template, its holes filled in order."""
        args = []

        def number(match):
            args.append(self.make(match[1]))
            return f"{{{len(args) - 1}}}"

        return Op(re.sub(r"\{(\w+)\}", number, template), tuple(args))


def templates(text):
    """One template a line."""
    return [line.strip() for line in text.strip().splitlines() if line.strip()]
