"""What a dropped loop leaves, how an interpreter ends, and what a loop does that has no work."""

import gc
import os
import warnings
import weakref

import pytest

from .hardship import objects, quiet_loop, survives
from .support import GUARD, PYTHON_313, collect, run_python

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


# Garbage


def test_cycles_through_every_type_are_collected():
    def action():
        warnings.simplefilter("ignore")
        open_before = len(os.listdir("/proc/self/fd"))
        refs = []

        class Holder:
            pass

        for _ in range(3):
            loop = quiet_loop()
            things = objects(loop)
            holder = Holder()
            holder.everything = things
            loop.me = holder
            things["future"].add_done_callback(lambda fut, holder=holder: holder)
            things["transport"].me = holder
            things["transport"].get_protocol().me = holder
            loop.call_later(1000, print, holder)
            loop.call_soon(print, holder)
            loop.call_soon_threadsafe(print, holder)
            things["task"]._log_destroy_pending = False
            things["listener"].start()
            ours = things["peers"][2]
            loop.remove_reader(ours)
            loop.add_writer(ours, print, holder)
            loop.set_task_factory(lambda loop, coro, holder=holder: None)
            refs += [weakref.ref(holder), weakref.ref(loop), weakref.ref(things["transport"])]
            del loop, things, holder, ours
        collect()
        assert [ref() for ref in refs] == [None] * len(refs)
        kinds = [type(obj).__name__ for obj in gc.get_objects()]
        left = {"Future", "Task", "StreamTransport", "EventLoop", "Listener"} & set(kinds)
        assert not left
        assert len(os.listdir("/proc/self/fd")) == open_before

    survives(action)


# The end of an interpreter


SHUTDOWNS = {
    "a loop in a global": "loop = fastaio.new_event_loop()",
    "a loop with work": """
loop = fastaio.new_event_loop()
async def main():
    await asyncio.sleep(1000)
task = loop.create_task(main())
loop.call_soon(loop.stop)
loop.run_forever()
loop.call_later(100, print)
loop.call_soon(print)
fut = loop.create_future()
fut.add_done_callback(print)
""",
    "a transport": """
import socket
loop = fastaio.new_event_loop()
ours, theirs = socket.socketpair()
ours.setblocking(False)
transport = loop._make_stream_transport(ours, asyncio.Protocol())
loop.call_soon(loop.stop)
loop.run_forever()
transport.write(b"data")
""",
    "a running loop in a daemon thread": """
import threading
started = threading.Event()
def run():
    global loop
    loop = fastaio.new_event_loop()
    loop.call_soon(started.set)
    loop.run_forever()
threading.Thread(target=run, daemon=True).start()
started.wait()
""",
    "a task that finalizers use": """
class Last:
    def __del__(self):
        fut = loop.create_future()
        fut.add_done_callback(print)
        loop.call_later(1, print)
        loop.call_soon(print)
loop = fastaio.new_event_loop()
last = Last()
import builtins
builtins.last = last
builtins.loop = loop
""",
    "exit from within": """
async def main():
    asyncio.get_running_loop().call_soon(sys.exit, 0)
    await asyncio.sleep(1000)
fastaio.run(main())
""",
}


@pytest.mark.parametrize("source", SHUTDOWNS.values(), ids=SHUTDOWNS)
def test_the_interpreter_ends_with_a_loop_alive(source):
    done = run_python("import asyncio, sys, fastaio\n" + source, check=False)
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr
    assert "SystemError" not in done.stderr


IN_SUBINTERPRETERS = """
import sys
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
work = '''
import asyncio, fastaio, socket
async def main():
    await asyncio.sleep(0.0001)
    await asyncio.gather(*(asyncio.sleep(0, number) for number in range(10)))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    theirs.send(b"data")
    assert await reader.readexactly(4) == b"data"
    writer.close()
    theirs.close()
fastaio.run(main())
left = fastaio.new_event_loop()
left.call_later(100, print)
task = left.create_task(main())
left.call_soon(left.stop)
left.run_forever()
task._log_destroy_pending = False
'''
for _ in range(20):
    number = interpreters.create()
    failure = interpreters.run_string(number, work)
    assert failure is None, failure
    interpreters.destroy(number)
print("done")
sys.stdout.flush()
"""


@pytest.mark.skipif(not PYTHON_313, reason="asyncio itself does not stand this before")
def test_subinterpreters_come_and_go():
    done = run_python(IN_SUBINTERPRETERS, timeout=4 * GUARD)
    assert done.stdout == "done\n"


def test_the_module_can_be_loaded_twice():
    source = """
import gc, sys, weakref
for _ in range(3):
    import fastaio
    loop = fastaio.new_event_loop()
    loop.run_until_complete(__import__("asyncio").sleep(0.0001))
    fut = loop.create_future()
    loop.close()
    for name in [name for name in sys.modules if name.startswith("fastaio")]:
        del sys.modules[name]
    del fastaio
    gc.collect()
    repr(fut), fut.done()
    del fut, loop
    gc.collect()
"""
    run_python(source)


# Idleness


IDLE = """
import asyncio, fastaio, os, socket, sys, threading
def status(name):
    with open("/proc/self/task/%d/status" % main_thread) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
def ticks():
    with open("/proc/self/task/%d/stat" % main_thread) as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
main_thread = os.getpid()
loop = fastaio.new_event_loop()
ours, theirs = socket.socketpair()
ours.setblocking(False)
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
transport = loop._make_stream_transport(ours, Echo())
watched, silent = socket.socketpair()
loop.add_reader(watched, print)
loop.call_later(1000, print)
found = []
def watch():
    for _ in range(20):
        theirs.send(b"ping")
        theirs.recv(100)
    pause.wait(0.2)
    before = status("voluntary_ctxt_switches"), ticks(), loop.metrics()
    pause.wait(0.5)
    after = status("voluntary_ctxt_switches"), ticks(), loop.metrics()
    found.append((after[0] - before[0], after[1] - before[1],
                  after[2]["iterations"] - before[2]["iterations"],
                  after[2]["polls"] - before[2]["polls"]))
    loop.call_soon_threadsafe(loop.stop)
pause = threading.Event()
thread = threading.Thread(target=watch)
loop.call_soon(thread.start)
loop.run_forever()
thread.join()
transport.abort()
loop.call_soon(loop.stop)
loop.run_forever()
loop.remove_reader(watched)
loop.close()
print(found[0])
"""


def test_an_idle_loop_does_nothing_at_all():
    done = run_python(IDLE)
    assert done.stdout.strip() == "(0, 0, 0, 0)"
