"""Processes: how they are started, talked to, waited for, killed; what is left of them: nothing."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from .ioutil import asyncio_log, no_new_descriptors, open_descriptors, pattern, until
from .support import GUARD, PYTHON_312, PYTHON_314

PYTHON = (sys.executable, "-SEc")


def no_children():
    """Whether this process has no child left, neither alive nor as a zombie."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert no_children()


def test_output_and_status(run):
    async def main():
        async with no_new_descriptors():
            process = await asyncio.create_subprocess_exec(
                *PYTHON,
                "import sys; sys.stdout.write(sys.stdin.read().upper());"
                "sys.stderr.write('err'); sys.exit(3)",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.returncode is None
            assert await process.communicate(b"data") == (b"DATA", b"err")
            assert process.returncode == 3
            assert await process.wait() == 3

    run(main)


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_exit_status(run, code):
    async def main():
        process = await asyncio.create_subprocess_shell(f"exit {code}")
        assert await process.wait() == code

    run(main)


@pytest.mark.parametrize("how", ["terminate", "kill", "send_signal"])
def test_signals(run, how):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "60")
        number = {"terminate": signal.SIGTERM, "kill": signal.SIGKILL}.get(how, signal.SIGINT)
        if how == "send_signal":
            process.send_signal(number)
        else:
            getattr(process, how)()
        assert await process.wait() == -number
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # nobody is hit

    run(main)


def test_much_both_ways(run):
    async def main():
        data = pattern(1 << 20) * 64
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(data)
        assert output == data
        assert process.returncode == 0

    run(main)


def test_interactive_lines(run):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for i in range(100):
            process.stdin.write(b"line %d\n" % i)
            await process.stdin.drain()
            assert await process.stdout.readline() == b"line %d\n" % i
        process.stdin.close()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0

    run(main)


def test_output_comes_in_order_and_before_the_end(run):
    async def main():
        events = []
        done = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.SubprocessProtocol):
            def connection_made(self, transport):
                events.append("made")

            def pipe_data_received(self, fd, data):
                events.append((fd, data))

            def pipe_connection_lost(self, fd, exc):
                events.append((fd, exc))

            def process_exited(self):
                events.append("exited")

            def connection_lost(self, exc):
                events.append("lost")
                done.set_result(None)

        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            Protocol, *PYTHON, "import os\nfor i in range(1000): os.write(1, b'%04d' % i)"
        )
        async with asyncio.timeout(GUARD):
            await done
        assert events[0] == "made"
        assert events[-1] == "lost"
        output = b"".join(event[1] for event in events if event[0] == 1 and event[1])
        assert output == b"".join(b"%04d" % i for i in range(1000))
        assert transport.get_returncode() == 0
        transport.close()

    run(main)


def test_two_hundred_at_once(run):
    async def main():
        before = threading.active_count()
        async with no_new_descriptors():
            processes = await asyncio.gather(
                *[
                    asyncio.create_subprocess_shell(
                        f"read x; exit {i % 100}", stdin=subprocess.PIPE
                    )
                    for i in range(200)
                ]
            )
            if PYTHON_314:
                assert threading.active_count() == before
            for process in processes:
                process.stdin.write(b"\n")
            statuses = await asyncio.gather(*[process.wait() for process in processes])
            assert statuses == [i % 100 for i in range(200)]
            for process in processes:
                process.stdin.close()
            del process, processes

    run(main)


@pytest.mark.fastaio_only
def test_no_thread_waits_for_a_child(run):
    async def main():
        before = threading.active_count()
        process = await asyncio.create_subprocess_exec("sleep", "60")
        assert threading.active_count() == before
        process.kill()
        await process.wait()

    run(main)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("error", ["ENOSYS", "EMFILE", "EPERM", "absent"])
def test_a_thread_where_there_is_no_pidfd(run, monkeypatch, error):
    """Old kernels, sandboxes, no descriptor left, other systems."""

    def pidfd_open(pid, flags=0):
        raise OSError(getattr(errno, error), error)

    async def main():
        if error == "absent":
            monkeypatch.delattr(os, "pidfd_open")
        else:
            monkeypatch.setattr(os, "pidfd_open", pidfd_open)
        process = await asyncio.create_subprocess_shell("exit 5")
        assert await process.wait() == 5

    run(main)


def test_the_exit_is_known_at_once(run):
    """Many times within a generous bound, so that no poller in between can go unseen.

    What the child itself needs to come to its end does not count.
    """

    async def main():
        took = []
        for _ in range(10):
            process = await asyncio.create_subprocess_exec("sleep", "60")
            process.kill()
            with contextlib.suppress(ChildProcessError):  # where a thread waits, and is first
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            begin = time.monotonic()
            await process.wait()
            took.append(time.monotonic() - begin)
        assert min(took) < 0.008

    run(main)


def test_the_users_signal_handler_stays(run):
    async def main():
        seen = []
        previous = signal.signal(signal.SIGCHLD, lambda *args: seen.append(args))
        try:
            process = await asyncio.create_subprocess_shell("exit 1")
            assert await process.wait() == 1
            await until(lambda: seen)
            assert signal.getsignal(signal.SIGCHLD) is not previous
        finally:
            signal.signal(signal.SIGCHLD, previous)

    run(main)


def test_a_status_that_somebody_else_has_taken(run, on_fastaio):
    if not (on_fastaio or PYTHON_312):
        pytest.skip("asyncio's thread waits for the status, and may be the first")

    async def main():
        with asyncio_log() as records:
            process = await asyncio.create_subprocess_exec("sleep", "60")
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            assert await process.wait() == 255
        assert "will report returncode 255" in records[0].getMessage()

    run(main)


def test_cancelled_while_it_starts(run):
    """It is killed and reaped."""

    async def main():
        async with no_new_descriptors():
            for turns in range(4):
                task = asyncio.create_task(
                    asyncio.create_subprocess_exec(
                        "sleep", "60", stdin=subprocess.PIPE, stdout=subprocess.PIPE
                    )
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    process = await task
                except asyncio.CancelledError:
                    pass
                else:
                    process.kill()
                    await process.communicate()
            async with asyncio.timeout(GUARD):
                while not no_children():
                    await asyncio.sleep(0.001)

    run(main)


def test_a_child_that_outlives_its_pipes(run):
    async def main():
        process = await asyncio.create_subprocess_exec(
            *PYTHON,
            "import os, sys, time; os.close(1); os.read(0, 1)",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert await process.stdout.read() == b""
        assert process.returncode is None
        process.stdin.write(b"x")
        assert await process.wait() == 0
        process.stdin.close()

    run(main)


def test_pipes_that_outlive_the_child(run):
    """wait() is done when the child is; its grandchild holds the pipe open."""

    async def main():
        process = await asyncio.create_subprocess_shell(
            "sleep 60 & echo $!", stdout=subprocess.PIPE
        )
        pid = int(await process.stdout.readline())
        if sys.version_info >= (3, 14):  # where waiting ends before the pipes do
            async with asyncio.timeout(GUARD):
                assert await process.wait() == 0
        os.kill(pid, signal.SIGKILL)
        assert await process.wait() == 0
        assert await process.stdout.read() == b""

    run(main)


def test_no_descriptor_is_inherited(run):
    async def main():
        others = [
            await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE) for _ in range(3)
        ]
        for close_fds in (True, False):
            process = await asyncio.create_subprocess_exec(
                *PYTHON,
                "import os; print(sorted(os.listdir('/proc/self/fd')))",
                stdout=subprocess.PIPE,
                close_fds=close_fds,
            )
            output, _ = await process.communicate()
            # Its own three, and the one that lists them.
            assert output.decode().strip() == "['0', '1', '2', '3']"
        for process in others:
            process.stdin.close()
            await process.wait()

    inherited = [fd for fd in open_descriptors() if fd > 2 and os.get_inheritable(fd)]
    for fd in inherited:  # what the test runner was started with
        os.set_inheritable(fd, False)
    try:
        run(main)
    finally:
        for fd in inherited:
            os.set_inheritable(fd, True)


def test_arguments_of_popen(run, tmp_path):
    code = """
import os, sys
print(os.getcwd())
print(os.environ["NAME"])
print(os.getsid(0) == os.getpid())
print(os.umask(0))
print(os.path.exists("made"))
print(os.fstat(int(sys.argv[1])).st_ino == os.stat("passed").st_ino)
"""

    async def main():
        with open(tmp_path / "passed", "w") as file:
            process = await asyncio.create_subprocess_exec(
                *PYTHON,
                code,
                str(file.fileno()),
                stdout=subprocess.PIPE,
                cwd=tmp_path,
                env={"NAME": "value"},
                start_new_session=True,
                umask=0o27,
                pass_fds=(file.fileno(),),
                preexec_fn=lambda: os.mkdir("made"),
            )
            output, _ = await process.communicate()
        expected = [tmp_path, "value", True, 0o27, True, True]
        assert output.decode().splitlines() == [str(item) for item in expected]

    run(main)


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"universal_newlines": True}, ValueError),
        ({"text": True}, ValueError),
        ({"encoding": "utf-8"}, ValueError),
        ({"bufsize": 1}, ValueError),
        ({"shell": True}, ValueError),
        ({"cwd": "/no/such/folder"}, FileNotFoundError),
        ({"preexec_fn": lambda: 1 / 0}, subprocess.SubprocessError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_refused(run, kwargs, error):
    async def main():
        async with no_new_descriptors():
            with pytest.raises(error):
                await asyncio.create_subprocess_exec("true", stdin=subprocess.PIPE, **kwargs)

    run(main)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("/no/such/command", FileNotFoundError),
        ("/etc/passwd", PermissionError),
        (5, TypeError),
        ("nul\0byte", ValueError),
    ],
)
def test_a_command_that_is_none(run, command, error):
    async def main():
        async with no_new_descriptors():
            with pytest.raises(error):
                await asyncio.create_subprocess_exec(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )

    run(main)


def test_a_patched_popen_is_used(run, monkeypatch):
    async def main():
        calls = []

        class Popen(subprocess.Popen):
            def __init__(self, args, **kwargs):
                calls.append(args)
                super().__init__(args, **kwargs)

        monkeypatch.setattr(subprocess, "Popen", Popen)
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        assert calls == [("true",)]

    run(main)


def test_closing_the_transport_kills(run):
    async def main():
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "60"
        )
        transport.close()
        async with asyncio.timeout(GUARD):
            assert await transport._wait() == -signal.SIGKILL

    run(main)


def test_in_another_thread(loop_factory):
    def work():
        async def main():
            process = await asyncio.create_subprocess_shell("exit 4")
            return await process.wait()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            results.append(runner.run(main()))

    results = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(GUARD)
    assert results == [4]


@pytest.mark.skipif(PYTHON_314, reason="3.14 has no child watchers")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_watcher_of_the_program_is_asked(run):
    async def main():
        seen = []

        class Watcher(asyncio.ThreadedChildWatcher):
            def add_child_handler(self, pid, callback, *args):
                seen.append(pid)
                super().add_child_handler(pid, callback, *args)

        policy = asyncio.get_event_loop_policy()
        before = policy._watcher
        asyncio.set_child_watcher(Watcher())
        try:
            process = await asyncio.create_subprocess_shell("exit 6")
            assert await process.wait() == 6
        finally:
            policy._watcher = before
        assert seen == [process.pid]

    run(main)


@pytest.mark.fastaio_only
def test_a_loop_that_closes_before_its_child_exits(loop_factory):
    with no_new_descriptors():
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            process = runner.run(asyncio.create_subprocess_exec("sleep", "60"))
            transport = process._transport
        transport._proc.kill()
        transport._proc.wait()
        transport._closed = True  # or else its finalizer would say that it was forgotten
        del process, transport, runner
