"""The recorder: a callback that blocks the loop is reported while it blocks."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

import fastaio
from fastaio.recorder import Stall

from .support import FREE_THREADED, GUARD, run_python

pytestmark = [
    pytest.mark.fastaio_only,
    # os.fork() in a test is meant.
    pytest.mark.filterwarnings("error::DeprecationWarning"),
]

THRESHOLD = 0.02


class Reports:
    """A report for loop.watch() that keeps what it gets; `told` is set by the first one."""

    def __init__(self):
        self.all = []
        self.told = threading.Event()
        self.over = threading.Event()

    def __call__(self, stall):
        self.all.append((stall, stall.over, stall.seconds))
        (self.over if stall.over else self.told).set()

    def wait_until_told(self):
        """Block until a stall has been reported, which only the recorder can do."""
        assert self.told.wait(GUARD)


@pytest.fixture
def reports(loop):
    reports = Reports()
    loop.watch(THRESHOLD, reports)
    return reports


def finish(loop, reports):
    """Let the end of the stall be reported, too."""

    async def main():
        while not reports.over.is_set():
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(main(), GUARD))


def test_a_stall_is_reported_while_it_lasts(loop, reports):
    async def blocker():
        reports.wait_until_told()  # the blocking line

    async def main():
        await asyncio.create_task(blocker(), name="the blocker")

    loop.run_until_complete(loop.create_task(main(), name="the waiter"))
    finish(loop, reports)
    (stall, over, so_far), (same, _, total) = reports.all
    assert not over
    assert isinstance(stall, Stall)
    assert stall is same
    assert stall.over
    assert THRESHOLD <= so_far <= total
    assert stall.loop is loop
    assert not stall.keeps_gil
    assert [frame.name for frame in stall.stack[:2]] == ["blocker", "wait_until_told"]
    assert stall.stack[0].line == "reports.wait_until_told()  # the blocking line"
    assert "name='the blocker'" in stall.subject
    assert ("blocker()" if FREE_THREADED else "blocker() running at") in stall.subject
    assert stall.awaited_by == [
        "'the waiter' (test_a_stall_is_reported_while_it_lasts.<locals>.main)"
    ]


def test_code_that_computes_is_reported(loop, reports):
    async def main():
        while not reports.told.is_set():
            pass

    loop.run_until_complete(main())
    finish(loop, reports)
    assert reports.all[0][0].stack[0].name == "main"


@pytest.mark.parametrize("kind", ["handle", "timer", "future"])
def test_callbacks_are_reported(loop, reports, kind):
    def callback(*_):
        reports.wait_until_told()
        loop.stop()

    if kind == "handle":
        loop.call_soon(callback)
    elif kind == "timer":
        loop.call_later(0.001, callback)
    else:
        future = loop.create_future()
        future.add_done_callback(callback)
        future.set_result(None)
    loop.run_forever()
    finish(loop, reports)
    assert reports.all[0][0].stack[0].name == "callback"
    assert reports.all[0][0].subject is None


def test_a_callback_that_raises_ends_its_stall(loop, reports):
    async def main():
        reports.wait_until_told()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(main())
    finish(loop, reports)
    assert [over for _, over, _ in reports.all] == [False, True]


def test_what_leaves_the_loop_ends_its_stall(loop, reports):
    def callback():
        reports.wait_until_told()
        raise KeyboardInterrupt

    loop.call_soon(callback)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    finish(loop, reports)
    assert [over for _, over, _ in reports.all] == [False, True]


def test_a_stall_is_reported_once_and_each_stall_is(loop, reports):
    async def main():
        for _ in range(3):
            reports.told.clear()
            reports.wait_until_told()
            time.sleep(3 * THRESHOLD)
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    while len(reports.all) < 6:
        reports.over.clear()
        finish(loop, reports)
    assert [over for _, over, _ in reports.all] == [False, True] * 3
    assert len({id(stall) for stall, _, _ in reports.all}) == 3


def test_a_loop_that_waits_or_is_busy_is_not_blocked(loop, reports):
    loop.watch(0.4, reports)  # a busy machine may hold the loop up for some time

    async def main():
        await asyncio.sleep(0.6)
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            await asyncio.sleep(0)
        await asyncio.sleep(0.6)
        assert not reports.told.is_set()
        reports.wait_until_told()

    loop.run_until_complete(main())
    finish(loop, reports)
    assert len(reports.all) == 2


def test_none_ends_the_watch(loop, reports):
    async def main():
        loop.watch(None)
        time.sleep(5 * THRESHOLD)
        assert not reports.told.is_set()
        loop.watch(THRESHOLD, reports)
        await asyncio.sleep(0)
        reports.wait_until_told()

    loop.run_until_complete(main())


def test_the_log_gets_both_reports(loop, caplog):
    seen = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            seen.set()

    logger = logging.getLogger("fastaio")
    handler = Handler()
    logger.addHandler(handler)
    loop.watch(THRESHOLD)

    async def main():
        assert seen.wait(GUARD)  # the blocking line
        while len(caplog.records) < 2:
            await asyncio.sleep(0.001)

    try:
        loop.run_until_complete(asyncio.wait_for(main(), GUARD))
    finally:
        logger.removeHandler(handler)
    first, second = (record.getMessage() for record in caplog.records)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert "and still is, by <Task pending name='Task-" in first
    assert "assert seen.wait(GUARD)  # the blocking line" in first
    assert second.startswith("The event loop was blocked for ")
    assert "seconds by <Task pending name=" in second


def test_a_report_that_raises_is_logged_and_the_next_stall_is_reported(loop, caplog):
    calls = []
    called = threading.Event()

    def report(stall):
        calls.append(stall)
        called.set()
        raise ZeroDivisionError

    loop.watch(THRESHOLD, report)

    async def main():
        for _ in range(2):
            called.clear()
            assert called.wait(GUARD)
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(calls) >= 2
    assert any(
        record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records
    )


def test_two_loops_are_watched_at_once(loop_factory):
    told = []

    def work():
        loop = loop_factory()
        reports = Reports()
        loop.watch(THRESHOLD, reports)

        async def main():
            # A reporter that gets no CPU for 25 ms leaves a stall to the native thread.
            while not reports.told.wait(1):
                await asyncio.sleep(0)

        try:
            loop.run_until_complete(main())
            finish(loop, reports)
            told.append(reports.all[0][0].loop is loop)
        finally:
            loop.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    assert told == [True, True]


KEEPS_GIL = """
import asyncio, ctypes, os, sys
import fastaio

def keep_the_gil():
    ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)  # the blocking line

async def blocker():
    keep_the_gil()

async def main():
    await asyncio.create_task(blocker(), name="the blocker")

async def wait():
    await main()
    await asyncio.sleep(0.2)

fastaio.run(wait(), watch=0.05)
"""


def read_until(stream, word):
    """Read lines until one has the word; return them."""
    lines = []
    while not lines or word not in lines[-1]:
        line = stream.readline()
        assert line, lines
        lines.append(line)
    return "".join(lines)


@pytest.mark.skipif(FREE_THREADED, reason="the reporter runs, and waits for the thread's stack")
def test_code_that_keeps_the_gil_is_reported_while_it_blocks(tmp_path):
    script = tmp_path / "keeps.py"
    script.write_text(KEEPS_GIL)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as child:
        # The child blocks in read(), which holds the GIL, until it gets a byte.
        text = read_until(child.stderr, "in <module>")
        assert "blocked for" in text
        assert "keeps the GIL" in text
        assert f'File "{script}", line 6 in keep_the_gil' in text
        assert f'File "{script}", line 9 in blocker' in text
        child.stdin.write("x")
        child.stdin.flush()
        rest = child.stderr.read()
    assert child.returncode == 0
    assert "The event loop was blocked for " in rest
    assert "name='the blocker'" in rest
    assert "which kept the GIL" in rest
    assert "# the blocking line" in rest


def test_run_and_the_environment(tmp_path):
    blocks = (
        "import asyncio, threading, fastaio, logging, sys\n"
        "told = threading.Event()\n"
        "class Handler(logging.Handler):\n"
        "    def emit(self, record): told.set()\n"
        "logging.getLogger('fastaio').addHandler(Handler())\n"
        f"async def main(): assert told.wait({GUARD})\n"
    )
    run_python(blocks + "fastaio.run(main(), watch=0.02)")
    run_python(
        blocks + "asyncio.Runner(loop_factory=fastaio.new_event_loop).run(main())",
        env={**os.environ, "FASTAIO_WATCH": "0.02"},
    )


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", "0.1s"])
def test_an_environment_that_makes_no_sense_is_told_and_the_program_runs(text):
    done = run_python(
        "import fastaio, asyncio\n"
        "async def main(): print('ran')\n"
        "fastaio.run(main())\n"
        "fastaio.run(main())",
        env={**os.environ, "FASTAIO_WATCH": text},
    )
    assert done.stdout == "ran\nran\n"
    (line,) = [line for line in done.stderr.splitlines() if "Warning" in line]
    expected = (
        f"FASTAIO_WATCH must be a number of seconds above 0, not {text!r}: no loop is watched"
    )
    assert line.endswith(f"RuntimeWarning: {expected}")


@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("nan"), float("inf")])
def test_thresholds_that_make_no_sense(loop, seconds):
    message = f"^watch must be a number of seconds above 0, not {seconds!r}$"
    with pytest.raises(ValueError, match=message):
        loop.watch(seconds)
    main = asyncio.sleep(0)
    with pytest.raises(ValueError, match=message):
        fastaio.run(main, watch=seconds)
    main.close()


@pytest.mark.parametrize("seconds", ["x", b"1", True, [1]])
def test_thresholds_that_are_no_numbers(loop, seconds):
    with pytest.raises(TypeError, match="^watch must be a number of seconds, not "):
        loop.watch(seconds)


def test_a_report_that_cannot_be_called(loop):
    with pytest.raises(TypeError, match="^report must be callable or None, not 1$"):
        loop.watch(1, 1)


def test_watch_needs_a_loop_that_can_be_watched():
    main = asyncio.sleep(0)
    with pytest.raises(TypeError, match="^watch needs a fastaio loop, and loop_factory made <"):
        fastaio.run(main, watch=1, loop_factory=asyncio.SelectorEventLoop)
    main.close()


def test_a_loop_that_is_watched_can_be_freed_and_closed(loop_factory):
    for _ in range(3):
        loop = loop_factory()
        loop.watch(THRESHOLD)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del loop


def test_forks(loop, reports):
    """The threads end before the fork: os.fork() does not warn. Both processes are watched."""

    def fork():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pid = os.fork()
        if pid:
            return pid
        try:  # the child
            child_reports = Reports()
            child_loop = fastaio.new_event_loop()
            child_loop.watch(THRESHOLD, child_reports)
            child_loop.run_until_complete(block(child_reports))
            os._exit(0)
        finally:
            os._exit(1)

    async def block(reports):
        reports.wait_until_told()

    async def main():
        pid = fork()
        reports.wait_until_told()
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0

    loop.run_until_complete(main())


def test_the_threads_end_with_the_last_watched_loop(loop_factory):
    loops = [loop_factory() for _ in range(2)]
    before = threading.active_count()
    for loop in loops:
        loop.watch(THRESHOLD)
    assert threading.active_count() == before + 1
    loops[0].close()
    assert threading.active_count() == before + 1
    loops[1].watch(None)
    assert threading.active_count() == before
    loops[1].close()


def test_the_last_report_is_made_before_the_loop_is_closed(loop_factory):
    reports = Reports()
    loop = loop_factory()
    loop.watch(THRESHOLD, reports)
    loop.call_soon(reports.wait_until_told)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert [over for _, over, _ in reports.all] == [False, True]


def test_the_recorder_ends_with_the_interpreter():
    done = run_python(
        "import asyncio, fastaio, threading, time\n"
        "async def main():\n"
        "    await asyncio.sleep(0)\n"
        "    time.sleep(0.05)\n"
        "loop = fastaio.new_event_loop()\n"
        "loop.watch(0.01)\n"
        "loop.run_until_complete(main())\n"
        "print([thread.name for thread in threading.enumerate()])"
    )
    assert "fastaio-recorder" in done.stdout


def test_an_idle_watched_loop_does_not_wake_the_recorder(loop_factory):
    done = run_python(
        "import asyncio, fastaio, os\n"
        "def switches():\n"
        "    for tid in os.listdir('/proc/self/task'):\n"
        "        with open(f'/proc/self/task/{tid}/comm') as file:\n"
        "            if file.read() != 'fastaio-record\\n': continue\n"
        "        with open(f'/proc/self/task/{tid}/status') as file:\n"
        "            for line in file:\n"
        "                if line.startswith('voluntary_ctxt'): return int(line.split()[1])\n"
        "async def main():\n"
        "    await asyncio.sleep(0.2)\n"
        "    before = switches()\n"
        "    await asyncio.sleep(0.5)\n"
        "    print(switches() - before)\n"
        "fastaio.run(main(), watch=0.01)"
    )
    # It looks eight times more, then sleeps; awake, it would look 200 times.
    assert 0 < int(done.stdout) < 40


def test_a_watched_loop_is_closed_while_another_thread_watches_the_next(loop_factory):
    """close() waits for the report that is being made, not for the recorder of the other loop."""
    reported, closing = threading.Event(), threading.Event()
    goes_on = threading.Event()
    first, second = loop_factory(), loop_factory()

    def report(stall):
        reported.set()
        closing.wait(GUARD)
        second.watch(0.02, lambda stall: None)  # starts the recorder again, in time
        goes_on.set()

    async def block():
        assert reported.wait(GUARD)

    first.watch(0.02, report)
    first.run_until_complete(block())
    closer = threading.Thread(target=first.close)
    runner = threading.Thread(target=second.run_forever)
    closer.start()
    while fastaio.recorder._reporter.running():
        time.sleep(0.001)
    closing.set()
    assert goes_on.wait(GUARD)
    runner.start()
    closer.join(GUARD)
    assert not closer.is_alive()
    second.call_soon_threadsafe(second.stop)
    runner.join(GUARD)
    second.close()


ENDS_WHILE_LOOPS_START = """
import atexit, asyncio, threading, time, fastaio

ending = threading.Event()

def report(stall):
    ending.wait()  # the reporter is at work when the interpreter ends
    time.sleep(0.2)

async def block(seconds):
    asyncio.get_running_loop().watch(0.02, report)
    time.sleep(seconds)

def run():
    fastaio.run(block(0.1))

def run_again():
    ending.wait()
    async def wait():
        asyncio.get_running_loop().watch(0.02, report)
        await asyncio.sleep(100)
    fastaio.run(wait())

for work in (run, run_again):
    threading.Thread(target=work, daemon=True).start()
while fastaio.recorder._reporter._stalls == {}:
    time.sleep(0.001)
atexit.register(ending.set)
print("end")
"""


def test_a_loop_that_starts_while_the_interpreter_ends_is_not_watched():
    assert run_python(ENDS_WHILE_LOOPS_START).stdout == "end\n"
