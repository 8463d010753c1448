"""Well-behaved programs, for which all that can be seen is the same on asyncio and on fastaio."""

import random
import re
import sys

from .program import Body, Grammar, Op, Program, templates

FUNCTION = "def {}(*args):"
COROUTINE = "async def {}():"

ANYWHERE = """
    log({I})
    log({I}, var.get())
    f[{F}] = loop.create_future()
    f[{F}] = loop.create_future()
    f[{F}] = spawn({CO}, "task{I}")
    f[{F}] = spawn({CO}, "task{I}")
    f[{F}] = spawn({CO}, "task{I}", context=context({I}))
    f[{F}] = asyncio.ensure_future({CO})
    f[{F}] = asyncio.gather(f[{F}], f[{F}])
    f[{F}] = asyncio.gather(f[{F}], f[{F}], return_exceptions=True)
    f[{F}] = asyncio.shield(f[{F}])
    f[{F}].set_result({I})
    f[{F}].set_result({I})
    f[{F}].set_result([])
    f[{F}].set_exception(Boom({I}))
    f[{F}].set_exception({ERROR})
    f[{F}].cancel()
    f[{F}].cancel()
    f[{F}].cancel("message {I}")
    log({I}, f[{F}].cancel())
    log({I}, f[{F}])
    log({I}, f[{F}].done(), f[{F}].cancelled())
    log({I}, f[{F}].result())
    log({I}, f[{F}].exception())
    log({I}, f[{F}].uncancel())
    log({I}, f[{F}].cancelling())
    log({I}, len(f[{F}].get_stack(limit=1)))
    log({I}, f[{F}]._fut_waiter)
    log({I}, len(f[{F}]._callbacks or ()))
    log({I}, f[{F}]._cancel_message)
    log({I}, f[{F}]._state)
    log({I}, f[{F}].get_context().__class__)
    look({I}, f[{F}])
    look({I}, h[{H}])
    f[{F}].set_name("renamed{I}")
    f[{F}].add_done_callback(callback({I}))
    f[{F}].add_done_callback({CB})
    f[{F}].add_done_callback({CB})
    f[{F}].add_done_callback({CB}, context=context({I}))
    log({I}, f[{F}].remove_done_callback({CB}))
    f[{F}].add_done_callback(lambda future: f[{F}].cancel())
    f.pop({F})
    h[{H}] = loop.call_soon({M})
    h[{H}] = loop.call_soon({M})
    h[{H}] = loop.call_soon(log, {I}, context=context({I}))
    h[{H}] = loop.call_later({N}, {M})
    h[{H}] = loop.call_later({N}, log, {I})
    h[{H}] = loop.call_later({N} / 4, log, {I})
    h[{H}] = loop.call_at(loop.time() + {N}, {M})
    h[{H}] = loop.call_at(loop.time() - {N}, log, {I})
    h[{H}] = loop.call_soon_threadsafe({M})
    h[{H}] = loop.call_soon_threadsafe(log, {I})
    threadsafe({M})
    threadsafe(log, {I})
    h[{H}].cancel()
    log({I}, h[{H}].cancelled())
    log({I}, h[{H}].when())
    loop.call_soon(loop.stop)
    var.set({I})
    watch({I}, f[{F}])
    watch({I}, f[{F}])
    watch({I}, h[{H}])
    h[{H}] = loop.call_soon(log, Token({I}))
    h[{H}] = loop.call_later({N}, log, Token({I}))
    f[{F}].set_result(Token({I}))
    f[{F}].set_exception(Boom(Token({I})))
    f[{F}].add_done_callback(functools.partial(log, Token({I})))
    h.pop({H})
    f.clear()
    h.clear()
    g[{F}] = f[{F}].__await__()
    g[{F}] = iter(f[{F}])
    g[{F}] = {CO}
    log({I}, g[{F}].send(None))
    log({I}, next(g[{F}]))
    log({I}, g[{F}].throw(Boom({I})))
    log({I}, g[{F}].close())
    f[{F}] = loop.create_task(g[{F}])
    f[{F}] = asyncio.ensure_future(g[{F}])
    f[{F}] = asyncio.ensure_future(f[{F}])
    f[{F}] = told(asyncio.run_coroutine_threadsafe({CO}, loop), {I})
    f[{F}] = asyncio.wrap_future(concurrent.futures.Future(), loop=loop)
    asyncio.futures._chain_future(f[{F}], f[{F}])
    log({I}, f[{F}].__class__.__name__, f[{F}].get_loop() is loop)
    f[{F}].set_result()
    f[{F}].set_exception(StopIteration)
    f[{F}].set_exception(StopIteration({I}))
    f[{F}].set_exception(1)
    f[{F}].set_exception(None)
    f[{F}].add_done_callback()
    f[{F}].cancel(None)
    f[{F}].set_name()
    f[{F}].set_name(None)
    f[{F}].set_name({I})
    loop.call_soon()
    loop.call_soon({CO})
    loop.call_later(None, log, {I})
    loop.call_later("1", log, {I})
    loop.create_task(log)
    loop.create_task(f[{F}])
    loop.is_running() and loop.run_until_complete(f[{F}])
    loop.is_running() and loop.close()
    loop.is_running() and asyncio.run({CO})
    loop.call_soon({M}).cancel()
    h[{H}]._run()
    f[{F}]._log_traceback = True
    f[{F}]._log_traceback = False
    log({I}, f[{F}]._log_traceback)
    log({I}, f[{F}]._asyncio_future_blocking)
    log({I}, f[{F}]._must_cancel, f[{F}]._log_destroy_pending)
    log({I}, f[{F}]._make_cancelled_error())
    log({I}, f[{F}].get_coro().__name__)
    log({I}, f[{F}] == f[{F}], f[{F}] in [f[{F}]])
    log({I}, h[{H}] == h[{H}])
    log({I}, h[{H}] < h[{H}])
    loop.set_debug(True)
    loop.set_debug(False)
    loop.set_exception_handler(raising)
    loop.set_exception_handler(None)
    log({I}, loop.is_running(), loop.is_closed(), loop.time())
    log({I}, asyncio.get_event_loop() is loop, asyncio._get_running_loop() is loop)
    loop.call_soon(leave, {I})
    gc.collect()
    q["event"].set()
    q["event"].clear()
    q["queue"].put_nowait({I})
    log({I}, q["queue"].get_nowait())
    q["lock"].release()
    q["semaphore"].release()
    q.update(queues())
    q.update(queues())
    log({I}, len(asyncio.all_tasks(loop)))
    loop.call_exception_handler({"message": "message {I}"})
    !raise Boom({I})
    !raise SystemExit({I})
    !raise KeyboardInterrupt({I})
    !raise asyncio.CancelledError({I})
    """

IN_COROUTINES = """
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep({N})
    await asyncio.sleep({N}, log({I}))
    await f[{F}]
    await f[{F}]
    log({I}, await f[{F}])
    log({I}, await f[{F}])
    !await f[{F}]
    !await f[{F}]
    !await asyncio.sleep({N})
    await {CO}
    !await {CO}
    await asyncio.wait_for(f[{F}], {N})
    log({I}, await asyncio.wait_for(f[{F}], {N}))
    log({I}, await asyncio.wait_for({CO}, {N}))
    await asyncio.wait_for(asyncio.shield(f[{F}]), {N})
    log({I}, await asyncio.gather(f[{F}], f[{F}]))
    log({I}, await asyncio.gather({CO}, {CO}))
    log({I}, await asyncio.gather({CO}, {CO}, return_exceptions=True))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]]))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]], timeout={N}))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]], return_when=asyncio.FIRST_COMPLETED))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]], return_when=asyncio.FIRST_EXCEPTION))
    log({I}, await asyncio.shield(f[{F}]))
    await q["event"].wait()
    await q["queue"].put({I})
    log({I}, await q["queue"].get())
    await q["lock"].acquire()
    await q["semaphore"].acquire()
    asyncio.current_task().cancel()
    asyncio.current_task().cancel("message {I}")
    asyncio.current_task().uncancel()
    log({I}, asyncio.current_task().cancelling())
    !return {I}
    !return f[{F}]
    !return Token({I})
    !raise SystemExit({I})
    !raise KeyboardInterrupt({I})
    !raise StopIteration({I})
    !raise StopAsyncIteration({I})
    await bare()
    await bare(None)
    await bare({I})
    await bare(f[{F}])
    await g[{F}]
    await asyncio.sleep(0, Token({I}))
    log({I}, await asyncio.ensure_future({CO}))
    !raise Boom({I})
    !raise {ERROR}
    """

# A template of more than one line; the holes with a letter B are blocks.
BLOCKS = [
    "!try:\n{AB}\nexcept Exception as exc:\n    log({I}, exc)\n{AB}",
    "!try:\n{AB}\nexcept BaseException as exc:\n    log({I}, exc)\n    raise",
    "!try:\n{AB}\nexcept asyncio.CancelledError as exc:\n    log({I}, exc)\n{AB}",
    "!try:\n{AB}\nexcept BaseException as exc:\n    raise Boom({I}) from exc",
    "!try:\n{AB}\nexcept Boom:\n{AB}",
    "!try:\n{AB}\nfinally:\n    log({I})\n{AB}",
    "!async with asyncio.timeout({N}):\n{AB}",
    "!async with asyncio.timeout({N}):\n{AB}",
    "!async with asyncio.TaskGroup() as tg:\n    tg.create_task({CO}, name='group{I}')\n{AB}",
    "!async with asyncio.TaskGroup() as tg:\n    f[{F}] = tg.create_task({CO}, name='g{I}')\n{AB}",
    "!async with q['lock']:\n{AB}",
    "!async with q['semaphore']:\n{AB}",
    "!async with q['condition']:\n{AB}\n    q['condition'].notify_all()",
    "!async with q['condition']:\n{AB}\n    await q['condition'].wait()",
    "!with logged({I}):\n{AB}",
    "!for done in asyncio.as_completed([f[{F}]], timeout={N}):\n"
    "    with logged({I}):\n        log({I}, await done)",
    "!async for number in {AG}:\n    log({I}, number)\n{AB}",
    "!asyncio.create_task({CO}, name='made{I}').add_done_callback({CB})",
]

IO_BLOCKS = [block for block in BLOCKS if not re.search(r"[fq]\[|{CB}", block)]

PLAIN_BLOCKS = [
    "!try:\n{SB}\nexcept Exception as exc:\n    log({I}, exc)\n{SB}",
    "!with logged({I}):\n{SB}",
]

IO = """
    io[{K}].write(b"line {I}\\n")
    io[{K}].write(b"line {I}\\n")
    io[{K}].write(b"x" * {SIZE})
    io[{K}].write(b"x" * {SIZE})
    writelines(io[{K}], [b"a" * {SIZE}, b"b" * {SIZE}])
    await io[{K}].drain()
    io[{K}].write_eof()
    log({I}, io[{K}].is_closing())
    io[{K}].transport.pause_reading()
    io[{K}].transport.resume_reading()
    log({I}, await io[{J}].readline())
    log({I}, await io[{J}].readline())
    log({I}, await io[{J}].readexactly({SIZE}))
    log({I}, len(await io[{J}].readexactly({SIZE})))
    log({I}, await io[{J}].readuntil(b"2"))
    log({I}, len(await io[{J}].read()))
    log({I}, await io[{J}].read(1))
    log({I}, io[{J}].at_eof())
    log({I}, io[{K}].get_extra_info("peername"))
    await asyncio.sleep(0)
    await asyncio.sleep({N})
    """

# What actors do besides: they share nothing but the connection, or the order would matter.
IO_BESIDES = """
    log({I})
    log({I}, await asyncio.wait_for({CO}, {N}))
    await asyncio.sleep(0)
    await {CO}
    asyncio.current_task().cancel()
    asyncio.current_task().uncancel()
    !return {I}
    !raise Boom({I})
    """


def without_returns(node):
    """The same operations without those that return: asynchronous generators return no value."""
    if isinstance(node, Op):
        if node.template.startswith("!return"):
            return Op("!pass")
        return node._replace(args=tuple(map(without_returns, node.args)))
    if isinstance(node, Body) and not node.head:
        return node._replace(ops=tuple(map(without_returns, node.ops)))
    return node


if sys.version_info < (3, 12):  # where asyncio's tasks have no get_context()
    ANYWHERE = ANYWHERE.replace("get_context().__class__", "get_loop() is loop")


class Differential(Grammar):
    """The grammar of programs that both loops must run alike."""

    names = {
        "A": templates(IN_COROUTINES),
        "S": templates(ANYWHERE),
        "IO": templates(IO),
        "BESIDES": templates(IO_BESIDES),
        "CB": ["{M}", "callback(1)", "callback(1)", "callback(2)"],
        "ERROR": [
            "ValueError({I})",
            "asyncio.CancelledError({I})",
            "asyncio.CancelledError()",
            "TimeoutError()",
            "KeyError",
            "asyncio.InvalidStateError({I})",
            "StopAsyncIteration()",
        ],
    }
    deepest = 3

    def __init__(self, seed, io=False):
        super().__init__(random.Random(seed))
        self.io = io
        self.numbers = 0
        self.actor = 0

    def make_I(self):
        self.numbers += 1
        return self.numbers

    def make_F(self):
        return self.random.randrange(5)

    make_H = make_F

    def make_J(self):
        """The reader of the actor at hand. Each end has one: which of two comes first is a race."""
        return 2 * self.actor

    def make_K(self):
        return 2 * self.actor + 1

    def make_N(self):
        """A delay like no other: timers of one deadline fire in the order of asyncio's heap."""
        return f"{self.random.choice([0, 0, 1, 1, 2, 3, 5, 8])}.{self.make_I():04}"

    def make_SIZE(self):
        return self.random.choice([1, 3, 10, 1000, 70_000, 200_000])

    def make_M(self):
        if self.depth >= self.deepest:
            return self.op("int")
        return self.body(FUNCTION, self.statement, [1, 1, 2, 3])

    def make_CO(self):
        if self.depth >= self.deepest:
            return self.op("asyncio.sleep(0)")
        return Op("{0}()", (self.body(COROUTINE, self.step, [1, 2, 3, 4, 6, 8 if self.io else 1]),))

    def make_AG(self):
        inside = self.body("", self.step, [1, 2])
        ops = (Op("!yield 1"), *without_returns(inside).ops, Op("!yield 2"))
        return Op("{0}()", (Body(COROUTINE, ops),))

    def make_AB(self):
        return self.body("", self.step, [1, 1, 2, 3])

    def make_SB(self):
        return self.body("", self.statement, [1, 1, 2])

    def body(self, head, statement, counts):
        self.depth += 1
        try:
            count = self.random.choice(counts)
            return Body(head, tuple(statement() for _ in range(count)))
        finally:
            self.depth -= 1

    def guarded(self, template):
        """Most statements note what they raise and go on; some let it through."""
        if template.startswith("!") or self.random.random() < 0.1:
            return self.op("!" + template.lstrip("!"))
        return self.op("!with logged({I}): " + template)

    def statement(self):
        if self.depth < self.deepest and self.random.random() < 0.08:
            return self.op(self.random.choice(PLAIN_BLOCKS))
        return self.guarded(self.random.choice(self.names["S"]))

    def step(self):
        chance = self.random.random()
        if chance < 0.15 and self.depth < self.deepest:
            return self.op(self.random.choice(IO_BLOCKS if self.io else BLOCKS))
        if self.io:
            return self.guarded(self.random.choice(self.names["IO" if chance < 0.8 else "BESIDES"]))
        return self.guarded(self.random.choice(self.names["A" if chance < 0.6 else "S"]))


PROLOGUE = """\
from tests.fuzz.stage import *

loop = begin(debug={debug}, eager={eager}, io={io})
f, g, h, q, io = {{}}, {{}}, {{}}, queues(), {{}}"""


# A write does not tell at once that the peer is gone, as asyncio's may, so none closes before the
# other one has ended.
IO_PROLOGUE = """
io.update(enumerate(loop.run_until_complete(pair())))

ended = []

async def actor(body, number):
    with logged("end"):
        log(await body)
    ended.append(number)
    if len(ended) == 2:
        for writer in io[1], io[3]:
            writer.close()
            with logged("closed"):
                await writer.wait_closed()
"""


def generate(seed, backend, count=16):
    """The differential program of a seed."""
    chance = random.Random(seed)
    io = chance.random() < 0.2
    grammar = Differential(chance.random(), io)
    prologue = PROLOGUE.format(
        debug=chance.random() < 0.2, eager=not io and chance.random() < 0.15, io=io
    )
    if io:
        prologue += IO_PROLOGUE
        ops = []
        for grammar.actor in (0, 1):
            ops.append(grammar.op(f'spawn(actor({{CO}}, {grammar.actor}), "actor{grammar.actor}")'))
    else:
        first = "f[{F}] = loop.create_future()", 'f[{F}] = spawn({CO}, "first")'
        ops = [grammar.op(template) for template in first]
        for _ in range(chance.randrange(3, count)):
            op = grammar.statement()
            if not op.template.startswith("!with logged"):  # it must not end the program
                op = Op("!with logged(0):\n{0}", (Body("", (op,)),))
            ops.append(op)
    return Program(prologue, Body("", tuple(ops)), "finish(loop, f, g, h)")
