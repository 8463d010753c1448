"""Delta debugging: drop operations from a program while it still fails."""

import time

from .program import Body, Op, replaced, size, walk

NOTHING = Op("None")


def shrink(program, fails, seconds=60.0):
    """The smallest program found within the time for which `fails(program)` is true."""
    deadline = time.monotonic() + seconds

    def attempt(main):
        return time.monotonic() < deadline and fails(program._replace(main=main))

    main = program.main
    while time.monotonic() < deadline:
        before = size(main)
        main = drop_statements(main, attempt)
        main = unwrap_blocks(main, attempt)
        main = simplify(main, attempt)
        if size(main) == before:
            break
    return program._replace(main=main)


def drop_statements(main, attempt):
    """Drop statements from each body: halves, then quarters, down to single ones."""
    position = 0
    while True:
        paths = [path for path, node in walk(main) if isinstance(node, Body)]
        if position >= len(paths):
            return main
        path = paths[position]
        position += 1
        main = thin_out(main, path, attempt)


def at(node, path):
    for index in path:
        node = (node.args if isinstance(node, Op) else node.ops)[index]
    return node


def thin_out(main, path, attempt):
    body = at(main, path)
    step = len(body.ops)
    while step:
        start = 0
        while start < len(body.ops):
            fewer = body._replace(ops=body.ops[:start] + body.ops[start + step :])
            changed = replaced(main, path, fewer)
            if attempt(changed):
                main, body = changed, fewer
            else:
                start += step
        step //= 2
    return main


def unwrap_blocks(main, attempt):
    """Put the statements of a block (try, async with) in the place of the block."""
    again = True
    while again:
        again = False
        for path, node in walk(main):
            if not (path and isinstance(node, Op)):
                continue
            parent = at(main, path[:-1])
            if not isinstance(parent, Body):
                continue
            inner = [arg for arg in node.args if isinstance(arg, Body) and not arg.head]
            for block in inner:
                index = path[-1]
                ops = parent.ops[:index] + block.ops + parent.ops[index + 1 :]
                changed = replaced(main, path[:-1], parent._replace(ops=ops))
                if attempt(changed):
                    main, again = changed, True
                    break
            if again:
                break
    return main


def simplify(main, attempt):
    """Put None in the place of expressions."""
    position = 0
    while True:
        paths = [
            path
            for path, node in walk(main)
            if isinstance(node, Op) and path and not isinstance(at(main, path[:-1]), Body)
        ]
        if position >= len(paths):
            return main
        path = paths[position]
        position += 1
        if at(main, path) != NOTHING:
            changed = replaced(main, path, NOTHING)
            if attempt(changed):
                main = changed
