"""Which poller a loop gets, what it says about it, and what happens where io_uring is forbidden."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from .ringutil import needs_io_uring
from .support import run_python

pytestmark = pytest.mark.fastaio_only


@pytest.fixture(autouse=True)
def no_backend_in_the_environment(monkeypatch):
    monkeypatch.delenv("FASTAIO_BACKEND", raising=False)


def backend_of(**kwargs):
    import fastaio

    loop = fastaio.new_event_loop(**kwargs)
    try:
        assert loop.run_until_complete(asyncio.sleep(0, "ran")) == "ran"
        return loop.backend, loop.backend_reason
    finally:
        loop.close()
        assert loop.backend is None


def test_epoll_by_name():
    assert backend_of(backend="epoll") == ("epoll", "asked for by backend")


@needs_io_uring
def test_io_uring_by_name():
    assert backend_of(backend="io_uring") == ("io_uring", "asked for by backend")


def test_the_default():
    name, reason = backend_of()
    assert name in ("epoll", "io_uring")
    assert "asked" not in reason


@needs_io_uring
@pytest.mark.parametrize("name", ["epoll", "io_uring"])
def test_by_the_environment(monkeypatch, name):
    monkeypatch.setenv("FASTAIO_BACKEND", name)
    assert backend_of() == (name, "asked for by FASTAIO_BACKEND")


@needs_io_uring
def test_the_argument_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("FASTAIO_BACKEND", "io_uring")
    assert backend_of(backend="epoll")[0] == "epoll"
    monkeypatch.setenv("FASTAIO_BACKEND", "epoll")
    assert backend_of(backend="io_uring")[0] == "io_uring"


@needs_io_uring
def test_run_takes_a_backend():
    import fastaio

    async def main():
        return asyncio.get_running_loop().backend

    assert fastaio.run(main(), backend="io_uring") == "io_uring"


def test_a_nameless_or_unknown_backend(monkeypatch):
    import fastaio

    with pytest.raises(ValueError, match="backend must be 'auto', 'epoll' or 'io_uring', not 'x'"):
        fastaio.new_event_loop(backend="x")
    monkeypatch.setenv("FASTAIO_BACKEND", "iouring")
    problem = "FASTAIO_BACKEND must be 'auto', 'epoll' or 'io_uring', not 'iouring'"
    with pytest.warns(RuntimeWarning, match=f"{problem}; the default is used"):
        name, reason = backend_of()
    assert (name, reason) == ("epoll", f"the default, as {problem}")
    with pytest.raises(ValueError, match="unknown backend: 'auto'"):
        fastaio._fastaio.Loop("auto")


# io_uring_setup() fails, as on kernels and in containers that do not let it be used.

FORBIDDEN = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
import seccomp
seccomp.make_fail(seccomp.IO_URING_SETUP, int(sys.argv[2]))
import fastaio
before = sorted(os.listdir("/proc/self/fd"))
try:
    fastaio.new_event_loop(backend="io_uring")
except OSError as exc:
    print(exc.errno, exc)
print(sorted(os.listdir("/proc/self/fd")) == before)
loop = fastaio.new_event_loop()
print(loop.backend, loop.run_until_complete(asyncio.sleep(0.001, "ran")))
loop.close()
"""


@pytest.mark.parametrize(
    "error, why",
    [
        (errno.EPERM, "io_uring is forbidden here"),
        (errno.EACCES, "io_uring is forbidden here"),
        (errno.ENOSYS, "this kernel has no io_uring"),
        # What a kernel before 6.1 says to DEFER_TASKRUN.
        (errno.EINVAL, "Linux 6.1 is needed"),
        (errno.ENOMEM, "no memory for a ring"),
        (errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
)
def test_where_io_uring_is_forbidden(error, why):
    here = str(Path(__file__).parent)
    done = run_python(FORBIDDEN, here, str(int(error)))
    refusal, same_descriptors, auto = done.stdout.splitlines()
    assert refusal.startswith(f"{int(error)} [Errno {int(error)}] backend='io_uring': ")
    assert why in refusal
    assert same_descriptors == "True"
    assert auto == "epoll ran"


def test_where_the_environment_asks_for_what_is_forbidden_the_default_is_used():
    here = str(Path(__file__).parent)
    env = {**os.environ, "FASTAIO_BACKEND": "io_uring"}
    done = run_python(FORBIDDEN, here, str(int(errno.EPERM)), env=env)
    assert done.stdout.splitlines()[-1] == "epoll ran"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "FASTAIO_BACKEND='io_uring': io_uring is forbidden here" in done.stderr
    assert "the default is used" in done.stderr


@pytest.mark.parametrize("switch", ["1", "2"])
def test_the_sysctl_is_named(monkeypatch, switch):
    from fastaio import backend

    def refuse(name):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(backend, "_read_switch", lambda: switch)
    with pytest.raises(PermissionError, match=f"kernel.io_uring_disabled is {switch}"):
        backend.open_backend(refuse, "io_uring")


def test_what_fails_otherwise_is_raised_as_it_is():
    from fastaio import backend

    def refuse(name):
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OSError, match="Too many open files") as caught:
        backend.open_backend(refuse, "epoll")
    assert "io_uring" not in str(caught.value)


@needs_io_uring
def test_the_command_line():
    import subprocess
    import sys

    program = (
        "import asyncio; asyncio.run(asyncio.sleep(0)); print(asyncio.new_event_loop().backend)"
    )
    command = [sys.executable, "-W", "ignore", "-m", "fastaio", "--backend", "io_uring"]
    done = subprocess.run([*command, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "io_uring\n", done.stderr


def test_auto_takes_the_next_one_where_the_first_cannot_be_had(monkeypatch):
    from fastaio import backend

    tried = []

    def open_native(name):
        tried.append(name)
        if name == "io_uring":
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(backend, "_AUTO", ("io_uring", "epoll"))
    reason = backend.open_backend(open_native)
    assert tried == ["io_uring", "epoll"]
    assert reason == "the default, as io_uring cannot be had: Operation not permitted"
