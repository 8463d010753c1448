"""The wakeup descriptor of the process: whose it is, and that no signal is written into a file that
got the number of a closed pipe."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import warnings

import pytest

import fastaio

from .hardship import survives
from .ioutil import is_open, no_new_descriptors, open_descriptors
from .support import run_python

pytestmark = pytest.mark.fastaio_only

HOUSE = os.path.dirname(fastaio.__file__)


class Interrupt:
    """Raises KeyboardInterrupt at the `count`-th line that is run in fastaio's files."""

    def __init__(self, count):
        self.left = count

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(HOUSE):
            return None
        return self.in_frame(frame, event, arg)

    def in_frame(self, frame, event, arg):
        if event == "line" and self.left:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        return self.in_frame


def live(with_handler):
    """What is interrupted: a loop that is run twice and closed."""
    loop = fastaio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.sleep(0))
        if with_handler:
            loop.add_signal_handler(signal.SIGUSR1, print)
        loop.run_until_complete(asyncio.sleep(0))
        if with_handler:
            loop.remove_signal_handler(signal.SIGUSR1)
            loop.add_signal_handler(signal.SIGUSR2, print)
    finally:
        loop.close()


@pytest.mark.parametrize("with_handler", [False, True])
def test_ctrl_c_at_every_line(with_handler):
    def action():
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda unraisable: None
        live(with_handler)
        before = open_descriptors()
        for count in range(1, 10_000):
            interrupt = Interrupt(count)
            with contextlib.suppress(KeyboardInterrupt, RuntimeError):
                sys.settrace(interrupt)
                try:
                    live(with_handler)
                finally:
                    sys.settrace(None)
            # An interrupted start leaves these, on asyncio as well.
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(None, None)
            wakeup = signal.set_wakeup_fd(-1)
            assert wakeup == -1 or wakeup in open_descriptors() - before, count
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            signal.signal(signal.SIGUSR2, signal.SIG_DFL)
            gc.collect()
            assert open_descriptors() <= before, count
            if interrupt.left:
                return count
        raise AssertionError("the end was never reached")

    assert int(survives(action)) > 20


def test_a_loop_that_goes_without_close():
    with no_new_descriptors():
        loop = fastaio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        number = loop._wakeup.fileno()
        signal.set_wakeup_fd(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del loop
            gc.collect()
        assert signal.set_wakeup_fd(-1) == -1


def test_a_loop_with_handlers_that_is_closed_by_another_thread():
    def action():
        loop = fastaio.new_event_loop()
        loop.add_signal_handler(signal.SIGUSR1, print)

        def close():
            with contextlib.suppress(ValueError):  # of signal.signal()
                loop.close()

        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
        assert loop._wakeup.fileno() == -1
        wakeup = signal.set_wakeup_fd(-1)
        # Up to 3.12 only the main thread can take it back: there the pipe stays open.
        return wakeup == -1 or (sys.version_info < (3, 13) and is_open(wakeup))

    assert survives(action) == "True"


@pytest.fixture
def foreign():
    """A wakeup descriptor that the program has set itself."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right
        signal.set_wakeup_fd(-1)


ELSEWHERE = {
    "thread": """
import threading
thread = threading.Thread(target=exec, args=(work,))
thread.start()
thread.join()
""",
    "subinterpreter": """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
run = getattr(interpreters, "exec", interpreters.run_string)
interpreter = interpreters.create()
problem = run(interpreter, work)
interpreters.destroy(interpreter)
if problem:
    raise RuntimeError(problem)
""",
}

LOOPS_ELSEWHERE = """
import os, signal
work = '''
import asyncio, fastaio, signal
for _ in range(3):
    loop = fastaio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    try:
        loop.add_signal_handler(signal.SIGUSR1, print)
    except RuntimeError:
        pass
    loop.close()
'''
reader, writer = os.pipe()
os.set_blocking(writer, False)
for size in (4096, 1):
    try:
        while True:
            os.write(writer, bytes(size))
    except BlockingIOError:
        pass
signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
signal.signal(signal.SIGUSR1, lambda *args: None)
before = len(os.listdir("/proc/self/fd"))
"""

AFTER_ELSEWHERE = """
signal.raise_signal(signal.SIGUSR1)
assert signal.set_wakeup_fd(-1) == writer
assert len(os.listdir("/proc/self/fd")) == before
print("done", flush=True)
os._exit(0)  # after subinterpreters that used asyncio, 3.12 may crash at exit
"""


@pytest.mark.parametrize("where", ELSEWHERE)
def test_loops_outside_of_the_main_thread(where):
    """The descriptor of others stays, silent about a full buffer; the loops leave none open."""
    done = run_python(LOOPS_ELSEWHERE + ELSEWHERE[where] + AFTER_ELSEWHERE)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_foreign_descriptor_stays(foreign):
    left, right = foreign
    handler = signal.signal(signal.SIGUSR1, lambda *args: None)
    try:
        signal.set_wakeup_fd(left.fileno())
        with asyncio.Runner(loop_factory=fastaio.new_event_loop) as runner:

            async def main():
                signal.raise_signal(signal.SIGUSR1)

            runner.run(main())
            runner.run(main())
        assert right.recv(10) == bytes([signal.SIGUSR1, signal.SIGUSR1])
        assert signal.set_wakeup_fd(-1) == left.fileno()
    finally:
        signal.signal(signal.SIGUSR1, handler)


FULL = """
import asyncio, os, signal, sys, fastaio
reader, writer = os.pipe2(os.O_NONBLOCK)
try:
    while True:
        os.write(writer, b"x" * 4096)
except BlockingIOError:
    pass
signal.signal(signal.SIGUSR1, lambda *args: None)
signal.set_wakeup_fd(writer, warn_on_full_buffer=sys.argv[1] == "True")
async def main():
    signal.raise_signal(signal.SIGUSR1)
    await asyncio.sleep(0)
fastaio.run(main())
fastaio.run(main())
signal.raise_signal(signal.SIGUSR1)
for i in range(1000):
    pass
"""


@pytest.mark.parametrize("warns", [True, False])
@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 does not show the descriptor")
def test_a_foreign_descriptor_keeps_its_word_about_a_full_buffer(warns):
    done = run_python(FULL, str(warns))
    assert ("signal wakeup fd" in done.stderr) is warns


def test_what_the_program_sets_while_the_loop_runs_stays(foreign):
    left, _ = foreign

    async def main():
        signal.set_wakeup_fd(left.fileno(), warn_on_full_buffer=False)

    fastaio.run(main())
    assert signal.set_wakeup_fd(-1) == left.fileno()


def test_the_number_of_a_closed_pipe_gets_no_signals(tmp_path):
    """The specimen: Ctrl-C when the pipe should be taken back, and a file opened afterwards."""

    def action():
        loop = fastaio.new_event_loop()
        handler = signal.signal(signal.SIGUSR1, lambda *args: None)
        release = loop._wakeup.release.__func__.__code__

        def trace(frame, event, arg):
            if frame.f_code is release:
                raise KeyboardInterrupt

        sys.settrace(trace)
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(0))
        sys.settrace(None)
        asyncio._set_running_loop(None)
        loop._thread_id = None
        loop.close()
        files = [open(tmp_path / str(i), "wb+", buffering=0) for i in range(20)]
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, handler)
        return sum(os.fstat(file.fileno()).st_size for file in files)

    assert survives(action) == "0"
