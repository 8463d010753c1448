"""What a burst has taken is given back: as much as on asyncio, in a process of its own."""

import os
import subprocess
import sys

import pytest

from .support import GUARD

# AddressSanitizer keeps freed memory for a while, to see whether it is still used.
measures_memory = pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer keeps what is freed"
)

# Without a GIL objects come from mimalloc, which keeps many pages whose objects have been freed. So
# there the kilobytes in use are counted instead: objects at 100 bytes each, and what malloc() gave.
PROGRAM = """
import asyncio, gc, sys, sysconfig, threading

MALLINFO2 = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

COUNT = 50_000

def nothing(*args):
    pass

async def soon_and_later():
    loop = asyncio.get_running_loop()
    for _ in range(4 * COUNT):
        loop.call_soon(nothing)
    await asyncio.sleep(0)
    for _ in range(4 * COUNT):
        loop.call_later(0, nothing)

async def threadsafe():
    loop = asyncio.get_running_loop()
    def post():
        for _ in range(4 * COUNT):
            loop.call_soon_threadsafe(nothing)
    thread = threading.Thread(target=post)
    thread.start()
    thread.join()

async def out_of_order():
    loop = asyncio.get_running_loop()
    for i in range(COUNT):
        loop.call_later(0.3 - i * 1e-6, nothing)
    await asyncio.sleep(0.35)

async def cancelled():
    loop = asyncio.get_running_loop()
    timers = [loop.call_later(100 + i, nothing) for i in range(COUNT)]
    for timer in timers:
        timer.cancel()

async def settle():
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.sleep(0.15)
    await asyncio.sleep(0)
    gc.collect()

def in_use():
    import ctypes
    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO2]
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Info
    info = mallinfo2()
    return (info.uordblks + info.hblkhd + 100 * sys.getallocatedblocks()) // 1024

def resident():
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return in_use()
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])

async def main():
    await settle()
    before = resident()
    for _ in range(2):
        await BURST()
        await settle()
    print(resident() - before)

with asyncio.Runner(loop_factory=FACTORY) as runner:
    runner.run(main())
"""


def kilobytes_kept(factory, burst):
    """How much larger a process is after two bursts."""
    program = PROGRAM.replace("FACTORY", factory).replace("BURST", burst)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=4 * GUARD
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@measures_memory
@pytest.mark.parametrize("burst", ["soon_and_later", "threadsafe", "out_of_order", "cancelled"])
def test_a_burst_is_given_back(loop_factory_source, burst):
    kept = kilobytes_kept(loop_factory_source, burst)
    on_asyncio = kilobytes_kept("asyncio.SelectorEventLoop", burst)
    assert kept < 1.5 * on_asyncio + 3072


@measures_memory
def test_a_burst_is_given_back_when_the_loop_stops(loop_factory_source):
    program = (
        PROGRAM[: PROGRAM.index("async def main")]
        + f"""
loop = {loop_factory_source}()
loop.run_until_complete(asyncio.sleep(0))
before = resident()
for _ in range(4 * COUNT):
    loop.call_soon(nothing)
loop.run_until_complete(asyncio.sleep(0))
print(resident() - before)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=4 * GUARD
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5 * 1024


def test_queues_work_through_growing_and_shrinking(run):
    import asyncio

    async def main():
        loop = asyncio.get_running_loop()
        expected = 0
        for size in (10, 20_000, 30, 9_000, 50_000, 1):
            order = []
            for i in range(size):
                loop.call_soon(order.append, i)
                loop.call_later(0.001 - i * 1e-9, done.append, i)
            await asyncio.sleep(0)
            assert order == list(range(size))
            expected += size
            async with asyncio.timeout(GUARD):
                while len(done) < expected:
                    await asyncio.sleep(0.11)

    done = []
    run(main)
