"""Programs over locks, queues, groups and time limits, which run on one loop with asyncio's
primitives and again with fastaio's."""

import random
import sys

from .differential import COROUTINE, FUNCTION
from .program import Body, Grammar, Op, Program, templates

PYTHON_313 = sys.version_info >= (3, 13)
PYTHON_315 = sys.version_info >= (3, 15)

# The primitives of a program: the name, and what makes it anew.
LOCKS = {"lock0": "asyncio.Lock()", "lock1": "asyncio.Lock()"}
EVENTS = {"event0": "asyncio.Event()", "event1": "asyncio.Event()"}
CONDITIONS = {
    "condition0": "asyncio.Condition()",
    "condition1": "asyncio.Condition(p['lock1'])",
}
SEMAPHORES = {
    "semaphore0": "asyncio.Semaphore()",
    "semaphore1": "asyncio.Semaphore(2)",
    "semaphore2": "asyncio.Semaphore(0)",
    "bounded": "asyncio.BoundedSemaphore(1)",
}
BARRIERS = {"barrier0": "asyncio.Barrier(2)", "barrier1": "asyncio.Barrier(3)"}
QUEUES = {
    "queue0": "asyncio.Queue()",
    "queue1": "asyncio.Queue(1)",
    "queue2": "asyncio.Queue(maxsize=2)",
    "sorted": "asyncio.PriorityQueue(2)",
    "stack": "asyncio.LifoQueue(2)",
    "own": "backwards(asyncio.Queue)(2)",
}
KINDS = [LOCKS, EVENTS, CONDITIONS, SEMAPHORES, BARRIERS, QUEUES]
MAKERS = {**LOCKS, **EVENTS, **CONDITIONS, **SEMAPHORES, **BARRIERS, **QUEUES}

ANYWHERE = """
    log({I})
    p[{P}] = {NEW}
    log({I}, str(p[{P}]))
    p[{LK}].release()
    p[{LK}].release()
    log({I}, p[{LK}].locked(), p[{LK}]._locked, len(p[{LK}]._waiters or ()))
    p[{EV}].set()
    p[{EV}].set()
    p[{EV}].clear()
    log({I}, p[{EV}].is_set(), p[{EV}]._value, len(p[{EV}]._waiters))
    p[{CD}].release()
    p[{CD}].notify()
    p[{CD}].notify({NUM})
    p[{CD}].notify_all()
    log({I}, p[{CD}].locked(), len(p[{CD}]._waiters))
    p[{SE}].release()
    p[{SE}].release()
    log({I}, p[{SE}].locked(), p[{SE}]._value, len(p[{SE}]._waiters or ()))
    log({I}, p[{BA}].parties, p[{BA}].n_waiting, p[{BA}].broken, p[{BA}]._count)
    p[{QU}].put_nowait({I})
    p[{QU}].put_nowait({I})
    log({I}, p[{QU}].get_nowait())
    log({I}, p[{QU}].get_nowait())
    p[{QU}].task_done()
    p[{QU}].task_done()
    log({I}, p[{QU}].qsize(), p[{QU}].empty(), p[{QU}].full(), p[{QU}].maxsize)
    log({I}, len(p[{QU}]._getters), len(p[{QU}]._putters), p[{QU}]._unfinished_tasks)
    log({I}, list(p[{QU}]._queue), p[{QU}]._finished.is_set())
    f[{F}] = loop.create_future()
    f[{F}] = spawn({CO}, "task{I}")
    f[{F}] = spawn({CO}, "task{I}")
    f[{F}] = spawn({CO}, "task{I}")
    f[{F}] = spawn({WAIT}, "wait{I}")
    f[{F}] = spawn({WAIT}, "wait{I}")
    f[{F}] = spawn({WAIT}, "wait{I}")
    f[{F}] = asyncio.ensure_future({WAIT})
    f[{F}] = asyncio.gather(f[{F}], f[{F}])
    f[{F}] = asyncio.gather(f[{F}], f[{F}], return_exceptions=True)
    f[{F}] = asyncio.gather({WAIT}, f[{F}], {CO}, f[{F}])
    f[{F}] = asyncio.gather({WAIT}, {WAIT}, return_exceptions=True)
    f[{F}] = asyncio.gather()
    f[{F}] = asyncio.shield(f[{F}])
    f[{F}] = asyncio.shield({WAIT})
    f[{F}].set_result({I})
    f[{F}].set_result({I})
    f[{F}].set_exception(Boom({I}))
    f[{F}].set_exception({ERROR})
    f[{F}].cancel()
    f[{F}].cancel()
    f[{F}].cancel()
    f[{F}].cancel("message {I}")
    log({I}, f[{F}].cancel())
    log({I}, f[{F}].uncancel())
    log({I}, f[{F}].cancelling())
    log({I}, f[{F}])
    log({I}, f[{F}].result())
    log({I}, f[{F}].exception())
    log({I}, len(f[{F}]._callbacks or ()))
    log({I}, f[{F}]._fut_waiter is not None, f[{F}]._must_cancel)
    f[{F}].add_done_callback(callback({I}))
    h[{F}] = loop.call_soon({M})
    h[{F}] = loop.call_later({N}, {M})
    h[{F}] = loop.call_later({N}, p[{EV}].set)
    h[{F}] = loop.call_soon(p[{LK}].release)
    h[{F}] = loop.call_soon(p[{SE}].release)
    h[{F}] = loop.call_later({N}, p[{QU}].put_nowait, {I})
    threadsafe(p[{EV}].set)
    h[{F}].cancel()
    g[{G}].create_task({CO}, name="group{I}")
    g[{G}].create_task({WAIT}, name="group{I}")
    f[{F}] = g[{G}].create_task({CO})
    log({I}, repr(g[{G}]), g[{G}]._entered, g[{G}]._exiting, g[{G}]._aborting)
    log({I}, len(g[{G}]._tasks), len(g[{G}]._errors), g[{G}]._parent_cancel_requested)
    t[{G}].reschedule(loop.time() + {N})
    t[{G}].reschedule(loop.time() - {N})
    t[{G}].reschedule(None)
    log({I}, t[{G}].when(), t[{G}].expired(), repr(t[{G}]))
    log({I}, loop.time())
    log({I}, len(asyncio.all_tasks(loop)))
    asyncio.Queue("1").full()
    asyncio.Queue(-{NUM}).put_nowait(1)
    asyncio.Semaphore(-{NUM})
    asyncio.BoundedSemaphore("{I}")
    asyncio.Barrier({NUM} - 1)
    asyncio.Condition(p[{EV}])
    asyncio.timeout("x")
    asyncio.gather({I})
    asyncio.gather({WAIT}, {I})
    asyncio.shield({I})
    asyncio.as_completed(f[{F}])
    asyncio.Lock({I})
    asyncio.Event(loop=loop)
    !raise Boom({I})
    !raise asyncio.CancelledError({I})
    """

IN_COROUTINES = """
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep({N})
    log({I}, await asyncio.sleep(0, {I}))
    log({I}, await asyncio.sleep({N}, result={I}))
    log({I}, await asyncio.sleep(-1, {I}))
    await asyncio.sleep(float("nan"))
    await asyncio.sleep("1")
    !await asyncio.sleep({N})
    log({I}, await {WAIT})
    log({I}, await {WAIT})
    log({I}, await {WAIT})
    log({I}, await {WAIT})
    !log({I}, await {WAIT})
    !await {WAIT}
    await {CO}
    log({I}, await f[{F}])
    !await f[{F}]
    p[{LK}].release()
    p[{LK}].release()
    p[{SE}].release()
    log({I}, await asyncio.gather({WAIT}, {WAIT}))
    log({I}, await asyncio.gather({CO}, f[{F}], return_exceptions=True))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]]))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]], timeout={N}))
    log({I}, *await asyncio.wait({f[{F}], f[{F}]}, return_when=asyncio.FIRST_COMPLETED))
    log({I}, *await asyncio.wait([f[{F}], f[{F}]], return_when=asyncio.FIRST_EXCEPTION))
    log({I}, *await asyncio.wait([f[{F}]], timeout=0))
    await asyncio.wait([])
    await asyncio.wait(f[{F}])
    await asyncio.wait([f[{F}]], return_when="{I}")
    log({I}, await asyncio.shield({WAIT}))
    log({I}, await asyncio.shield(f[{F}]))
    asyncio.current_task().cancel()
    asyncio.current_task().cancel("message {I}")
    log({I}, asyncio.current_task().uncancel())
    log({I}, asyncio.current_task().cancelling())
    !return {I}
    !raise Boom({I})
    !raise {ERROR}
    """

# Coroutines, and what else can be awaited once.
WAITS = """
    p[{LK}].acquire()
    p[{LK}].acquire()
    p[{EV}].wait()
    p[{EV}].wait()
    p[{CD}].acquire()
    held(p[{CD}], p[{CD}].wait())
    held(p[{CD}], p[{CD}].wait())
    held(p[{CD}], p[{CD}].wait_for(p[{EV}].is_set))
    held(p[{CD}], p[{CD}].wait_for(counter({NUM})))
    p[{CD}].wait()
    p[{SE}].acquire()
    p[{SE}].acquire()
    p[{BA}].wait()
    p[{BA}].wait()
    p[{BA}].reset()
    p[{BA}].abort()
    p[{QU}].put({I})
    p[{QU}].put({I})
    p[{QU}].get()
    p[{QU}].get()
    p[{QU}].join()
    asyncio.sleep(0, {I})
    asyncio.sleep({N}, {I})
    asyncio.wait_for({WAIT}, {N})
    asyncio.wait_for({WAIT}, {N})
    asyncio.wait_for({WAIT}, None)
    asyncio.wait_for({WAIT}, 0)
    asyncio.wait_for({CO}, {N})
    asyncio.wait_for({CO}, -1)
    asyncio.wait_for(f[{F}], {N})
    asyncio.wait_for(f[{F}], timeout=0)
    asyncio.wait_for({I}, {N})
    """

BLOCKS = [
    "!try:\n{AB}\nexcept Exception as exc:\n    log({I}, exc)\n{AB}",
    "!try:\n{AB}\nexcept BaseException as exc:\n    log({I}, exc)\n    raise",
    "!try:\n{AB}\nexcept asyncio.CancelledError as exc:\n    log({I}, exc)\n{AB}",
    "!try:\n{AB}\nexcept asyncio.CancelledError as exc:\n    log({I}, exc)\n"
    "    asyncio.current_task().uncancel()\n{AB}",
    "!try:\n{AB}\nfinally:\n    log({I})\n{AB}",
    "!with logged({I}):\n{AB}",
    "!for _ in range({NUM}):\n{AB}",
    "!for _ in range({NUM}):\n{AB}",
    "!async with asyncio.timeout({N}) as t[{G}]:\n{AB}",
    "!async with asyncio.timeout({N}):\n{AB}",
    "!async with asyncio.timeout({N}):\n{AB}",
    "!async with asyncio.timeout(None) as t[{G}]:\n{AB}",
    "!async with asyncio.timeout_at(loop.time() + {N}):\n{AB}",
    "!with logged({I}):\n    async with asyncio.timeout({N}) as t[{G}]:\n"
    "        async with asyncio.timeout({N}):\n            await asyncio.sleep({N})\n        {LOG}",
    "!async with asyncio.timeout(0):\n{AB}",
    "!async with t[{G}]:\n{AB}",
    "!async with asyncio.TaskGroup() as g[{G}]:\n{AB}",
    "!async with asyncio.TaskGroup() as tg:\n"
    "    f[{F}] = tg.create_task({CO}, name='g{I}')\n    tg.create_task({WAIT})\n{AB}",
    "!with logged({I}):\n    async with asyncio.TaskGroup() as g[{G}]:\n"
    "        f[{F}] = g[{G}].create_task({CO}, name='g{I}')\n        await asyncio.sleep({N})",
    "!async with g[{G}]:\n{AB}",
    "!async with p[{LK}]:\n{AB}",
    "!async with p[{LK}]:\n{AB}",
    "!async with p[{SE}]:\n{AB}",
    "!async with p[{SE}] as x:\n{AB}\n    log({I}, x)",
    "!async with p[{BA}] as x:\n    log({I}, x)\n{AB}",
    "!async with p[{CD}]:\n{AB}\n    p[{CD}].notify_all()",
    "!async with p[{CD}]:\n    log({I}, await p[{CD}].wait())\n{AB}",
    "!async with p[{CD}]:\n    log({I}, await p[{CD}].wait_for(counter({NUM})))",
    "!for done in asyncio.as_completed([{WAIT}, f[{F}], {CO}], timeout={N}):\n"
    "    with logged({I}):\n        log({I}, await done)",
    "!for done in asyncio.as_completed([f[{F}], f[{F}], {WAIT}]):\n    log({I}, await done)\n{AB}",
]

#: Several tasks that want the same.
CROWD = "!for n in range({NUM} + 1):\n    f[n] = spawn(seen({I}, {WAIT}), 'crowd{I} %d' % n)"

if PYTHON_313:
    BLOCKS += [
        "!async for done in asyncio.as_completed([{WAIT}, f[{F}], f[{F}]], timeout={N}):\n"
        "    log({I}, done)",
        "!async for done in asyncio.as_completed([f[{F}], f[{F}]]):\n    log({I}, await done)",
    ]
    ANYWHERE += """
    p[{QU}].shutdown()
    p[{QU}].shutdown(immediate=True)
    """
if PYTHON_315:
    ANYWHERE += """
    g[{G}].cancel()
    """


def weighted(text):
    """The templates, those three times that are about a primitive of the program."""
    lines = templates(text)
    return lines + [line for line in lines if line.startswith(("p[", "held("))] * 2


class Primitives(Grammar):
    """The grammar of programs that must run alike with both owners' primitives."""

    names = {
        "A": templates(IN_COROUTINES),
        "S": [*weighted(ANYWHERE), *[CROWD] * 20],
        "ERROR": [
            "ValueError({I})",
            "asyncio.CancelledError({I})",
            "asyncio.CancelledError()",
            "TimeoutError()",
            "SystemExit({I})",
            "KeyError",
        ],
        "LOG": ["log({I}, t[{G}].expired(), t[{G}].when())"],
    }
    deepest = 3

    def __init__(self, seed):
        super().__init__(random.Random(seed))
        self.numbers = 0
        #: A program keeps to some kinds, and to one or two of each: else two would rarely meet.
        self.kinds = self.random.sample(KINDS, self.random.choice([1, 1, 2, 3, 6]))
        self.some = [self.random.sample(sorted(kind), self.random.choice([1, 2])) for kind in KINDS]

    def make_I(self):
        self.numbers += 1
        return self.numbers

    def make_F(self):
        return self.random.randrange(5)

    def make_G(self):
        return self.random.randrange(2)

    def make_NUM(self):
        return self.random.choice([0, 1, 1, 2, 3])

    def make_N(self):
        """A delay like no other: timers of one deadline fire in the order of asyncio's heap."""
        return f"{self.random.choice([0, 0, 1, 1, 2, 3, 5, 8])}.{self.make_I():04}"

    def one_of(self, kind):
        return repr(self.random.choice(self.some[KINDS.index(kind)]))

    def make_LK(self):
        return self.one_of(LOCKS)

    def make_EV(self):
        return self.one_of(EVENTS)

    def make_CD(self):
        return self.one_of(CONDITIONS)

    def make_SE(self):
        return self.one_of(SEMAPHORES)

    def make_BA(self):
        return self.one_of(BARRIERS)

    def make_QU(self):
        return self.one_of(QUEUES)

    def make_P(self):
        self.made = self.random.choice(sorted(MAKERS))
        return repr(self.made)

    def make_NEW(self):
        """What stands behind a {P}."""
        return MAKERS[self.made]

    def make_M(self):
        if self.depth >= self.deepest:
            return self.op("int")
        return self.body(FUNCTION, self.statement, [1, 1, 2, 3])

    def make_CO(self):
        if self.depth >= self.deepest:
            return self.op("asyncio.sleep(0)")
        return Op("{0}()", (self.body(COROUTINE, self.step, [1, 2, 3, 4, 6, 9]),))

    def make_WAIT(self):
        if self.depth >= self.deepest + 1:
            return self.op("asyncio.sleep(0)")
        self.depth += 1
        try:
            return self.op(self.fitting(WAIT_TEMPLATES))
        finally:
            self.depth -= 1

    def make_AB(self):
        return self.body("", self.step, [1, 1, 2, 3])

    def body(self, head, statement, counts):
        self.depth += 1
        try:
            count = self.random.choice(counts)
            return Body(head, tuple(statement() for _ in range(count)))
        finally:
            self.depth -= 1

    def fitting(self, choices):
        """One of the templates, of those that name a kind only one that the program keeps to."""
        kinds = {
            "{LK}": LOCKS,
            "{EV}": EVENTS,
            "{CD}": CONDITIONS,
            "{SE}": SEMAPHORES,
            "{BA}": BARRIERS,
            "{QU}": QUEUES,
        }
        while True:
            template = self.random.choice(choices)
            named = [kind for hole, kind in kinds.items() if hole in template]
            if not named or any(kind in self.kinds for kind in named):
                return template

    def guarded(self, template):
        """Most statements note what they raise and go on; some let it through."""
        if template.startswith("!") or self.random.random() < 0.1:
            return self.op("!" + template.lstrip("!"))
        return self.op("!with logged({I}): " + template)

    def statement(self):
        return self.guarded(self.fitting(self.names["S"]))

    def step(self):
        chance = self.random.random()
        if chance < 0.2 and self.depth < self.deepest:
            return self.op(self.fitting(BLOCKS))
        return self.guarded(self.fitting(self.names["A" if chance < 0.65 else "S"]))


WAIT_TEMPLATES = weighted(WAITS)

PROLOGUE = """\
from tests.fuzz.stage import *

asyncio = names()
loop = begin(debug={debug}, eager={eager})
f = {{number: loop.create_future() for number in range(5)}}
g = {{number: asyncio.TaskGroup() for number in range(2)}}
t = {{number: asyncio.Timeout(None) for number in range(2)}}
h, p = {{}}, {{}}
"""


def generate(seed, backend, count=16):
    """The program of a seed."""
    chance = random.Random(seed)
    grammar = Primitives(chance.random())
    prologue = PROLOGUE.format(debug=chance.random() < 0.1, eager=chance.random() < 0.15)
    prologue += "".join(f'p["{name}"] = {maker}\n' for name, maker in MAKERS.items())
    first = [f'f[{number}] = spawn({{CO}}, "first{number}")' for number in range(5)]
    ops = [grammar.op(template) for template in first[: chance.randrange(2, 6)]]
    for _ in range(chance.randrange(3, count)):
        later = "h[{F}] = loop.call_later({N}, {M})", 'f[{F}] = spawn({CO}, "main{I}")'
        op = grammar.op(chance.choice(later)) if chance.random() < 0.5 else grammar.statement()
        if not op.template.startswith("!with logged"):  # it must not end the program
            op = Op("!with logged(0):\n{0}", (Body("", (op,)),))
        ops.append(op)
    return Program(prologue, Body("", tuple(ops)), "finish(loop, f, g, h, t, p)")
