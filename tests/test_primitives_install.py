"""The native primitives in asyncio's place: who has the names, and who gets them back."""

import asyncio
import asyncio.locks
import asyncio.queues
import asyncio.streams
import asyncio.taskgroups
import asyncio.tasks
import asyncio.timeouts
import os
import sys
import types

import pytest

from .support import run_python

pytestmark = pytest.mark.fastaio_only

HOMES = {
    "asyncio.locks": ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"),
    "asyncio.queues": ("LifoQueue", "PriorityQueue", "Queue"),
    "asyncio.taskgroups": ("TaskGroup",),
    "asyncio.tasks": ("as_completed", "gather", "shield", "sleep", "wait", "wait_for"),
    "asyncio.timeouts": ("timeout", "timeout_at"),
}
NAMES = [name for names in HOMES.values() for name in names]


@pytest.fixture
def fastaio():
    """fastaio. Afterwards asyncio has what it had before the test."""
    fastaio = pytest.importorskip("fastaio")
    in_place = bool(fastaio.primitives._replaced)
    fastaio.uninstall()
    yield fastaio
    fastaio.uninstall()
    if in_place:  # pytest --primitives
        fastaio.primitives.install()


def places():
    """What each module of asyncio has under the names of the primitives, by module and name."""
    found = {}
    for name, module in sys.modules.items():
        if name.partition(".")[0] == "asyncio":
            for key, value in vars(module).items():
                if key in NAMES:
                    found[name, key] = value
    return found


def test_each_is_there_under_its_name(fastaio):
    for name in NAMES:
        native = getattr(fastaio, name)
        if name == "as_completed" and sys.version_info < (3, 13):
            assert native is asyncio.as_completed  # a generator there
            continue
        assert native is not getattr(asyncio, name)
        assert name in fastaio.__all__
        assert native.__name__ == name
        if isinstance(native, type):
            assert issubclass(native, getattr(asyncio, name))


def test_importing_patches_nothing():
    source = """
        import asyncio, sys
        before = {name: dict(vars(m)) for name, m in sys.modules.items() if name[:7] == "asyncio"}
        import fastaio
        fastaio.run(asyncio.sleep(0))
        for name, names in before.items():
            now = vars(sys.modules[name])
            for key, value in names.items():
                if key in {names}:
                    assert now[key] is value, (name, key)
    """.replace("{names}", repr(NAMES))
    environment = {key: value for key, value in os.environ.items() if key != "FASTAIO_PRIMITIVES"}
    run_python("if 1:" + source, env=environment)


def test_install_and_uninstall(fastaio):
    before = places()
    assert {("asyncio", name) for name in NAMES} <= set(before)
    assert {(home, name) for home, names in HOMES.items() for name in names} <= set(before)
    assert ("asyncio.streams", "sleep") in before
    fastaio.install(primitives=True)
    after = places()
    assert after.keys() == before.keys()
    for (module, name), value in after.items():
        assert value is getattr(fastaio, name), (module, name)
    fastaio.install(primitives=True)  # a second time
    assert places() == after
    fastaio.uninstall()
    assert places() == before
    fastaio.uninstall()
    assert places() == before


def test_install_without_primitives(fastaio, monkeypatch):
    monkeypatch.delenv("FASTAIO_PRIMITIVES", raising=False)
    before = places()
    fastaio.install()
    assert places() == before
    fastaio.install(primitives=True)
    assert places() != before
    fastaio.install()  # says nothing of them: they stay
    assert places() != before
    fastaio.install(primitives=False)
    assert places() == before


def test_the_environment_asks_for_them(fastaio, monkeypatch):
    before = places()
    monkeypatch.setenv("FASTAIO_PRIMITIVES", "1")
    fastaio.install()
    assert asyncio.Lock is fastaio.Lock
    fastaio.install(primitives=False)
    assert places() == before
    for value in ("", "0"):
        monkeypatch.setenv("FASTAIO_PRIMITIVES", value)
        fastaio.install()
        assert places() == before


@pytest.mark.parametrize("value", ["yes", "2", "true", " 1"])
def test_a_wrong_environment(fastaio, monkeypatch, value):
    before = places()
    monkeypatch.setenv("FASTAIO_PRIMITIVES", value)
    message = f"FASTAIO_PRIMITIVES must be '0' or '1', not '{value}'"
    with pytest.warns(RuntimeWarning, match=message):
        fastaio.install()
    assert places() == before
    fastaio.install(primitives=True)  # the argument decides
    assert asyncio.Lock is fastaio.Lock


def test_the_environment_at_import():
    source = "import fastaio, asyncio; print(asyncio.Queue is fastaio.Queue)"
    for value, expected in (("1", "True"), ("0", "False"), ("", "False")):
        done = run_python(source, env={**os.environ, "FASTAIO_PRIMITIVES": value})
        assert done.stdout.strip() == expected
    done = run_python(source, env={**os.environ, "FASTAIO_PRIMITIVES": "on"})
    assert done.stdout.strip() == "False"
    assert "RuntimeWarning: FASTAIO_PRIMITIVES must be '0' or '1', not 'on'" in done.stderr


def test_the_command_line():
    script = "import asyncio, fastaio; print(asyncio.sleep is fastaio.sleep)"
    environment = {key: value for key, value in os.environ.items() if key != "FASTAIO_PRIMITIVES"}

    def run(*options):
        source = "import sys; from fastaio.__main__ import main; main(sys.argv[1:])"
        return run_python(source, *options, env=environment).stdout.strip()

    assert run("-c", script) == "False"
    assert run("--primitives", "-c", script) == "True"
    assert run("--primitives", "--backend", "epoll", f"-c{script}") == "True"
    assert run("--backend=epoll", "--primitives", f"-c{script}") == "True"
    child = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}], check=True)"
    )
    assert run("--primitives", "-c", child) == "True"


def test_what_others_have_stays_theirs(fastaio, monkeypatch):
    other = types.ModuleType("other")
    other.sleep, other.Lock = asyncio.sleep, asyncio.Lock
    monkeypatch.setitem(sys.modules, "other", other)
    own = other.sleep, other.Lock
    fastaio.install(primitives=True)
    assert (other.sleep, other.Lock) == own


def test_a_name_that_somebody_has_replaced_stays_theirs(fastaio, monkeypatch):
    def mine(delay):
        """Somebody's own."""

    original = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", mine)
    fastaio.install(primitives=True)
    assert asyncio.sleep is mine
    assert asyncio.tasks.sleep is fastaio.sleep
    asyncio.tasks.gather, kept = mine, asyncio.tasks.gather
    try:
        fastaio.uninstall()
        assert asyncio.tasks.gather is mine
        assert asyncio.gather is not kept
    finally:
        asyncio.tasks.gather = asyncio.gather
    assert asyncio.sleep is mine
    assert asyncio.tasks.sleep is original


def test_a_mock_over_the_native_one(fastaio):
    from unittest.mock import AsyncMock, patch

    fastaio.install(primitives=True)
    with patch("asyncio.sleep") as sleep:
        assert isinstance(sleep, AsyncMock)  # the native one is known for a coroutine function
        fastaio.run(asyncio.wait_for(asyncio.sleep(5), 1))
        sleep.assert_awaited_once_with(5)
    assert asyncio.sleep is fastaio.sleep


def test_old_objects_and_new_names(fastaio):
    old = asyncio.Lock(), asyncio.Event(), asyncio.Queue()
    kinds = asyncio.Lock, asyncio.Event, asyncio.Queue
    fastaio.install(primitives=True)
    new = asyncio.Lock(), asyncio.Event(), asyncio.Queue()
    for kind, before, after in zip(kinds, old, new, strict=True):
        assert type(before) is kind
        assert isinstance(after, kind)
        assert type(after) is not kind

    async def use(lock, event, queue):
        async with lock:
            event.set()
            await event.wait()
            await queue.put(1)
            return await queue.get()

    assert fastaio.run(use(*old)) == 1
    assert fastaio.run(use(*new)) == 1


def test_asyncio_itself_goes_on(fastaio):
    """asyncio's own code finds the native ones by module, and its private parts where they were."""
    fastaio.install(primitives=True)

    async def answer(reader, writer):
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, happy_eyeballs_delay=0.1)
        writer.write(b"ping")
        assert await reader.read() == b"ping"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input())", stdin=-1, stdout=-1
        )
        out, _ = await process.communicate(b"pong\n")
        assert out == b"pong\n"
        assert await asyncio.to_thread(lambda: 1) == 1
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        done, pending = await asyncio.tasks._wait(
            {future}, None, asyncio.ALL_COMPLETED, asyncio.get_running_loop()
        )
        assert (done, pending) == ({future}, set())
        async with asyncio.timeouts.Timeout(None) as scope:
            assert isinstance(scope, asyncio.Timeout)
        background.append(asyncio.create_task(asyncio.sleep(3600)))
        await asyncio.sleep(0)

    background = []
    for runner in (fastaio.run, asyncio.run):
        runner(main())
        assert background.pop().cancelled()


# The policy


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15")
class TestPolicy:
    def test_uninstall_puts_the_policy_back(self, fastaio):
        before = asyncio.events._event_loop_policy
        fastaio.install()
        fastaio.install()
        assert isinstance(asyncio.events._event_loop_policy, fastaio.EventLoopPolicy)
        fastaio.uninstall()
        assert asyncio.events._event_loop_policy is before
        loop = asyncio.new_event_loop()
        assert not isinstance(loop, fastaio.EventLoop)
        loop.close()

    def test_a_policy_set_since_stays(self, fastaio):
        before = asyncio.events._event_loop_policy
        fastaio.install()
        other = fastaio.EventLoopPolicy()
        from fastaio.policy import _set_policy

        _set_policy(other)
        try:
            fastaio.uninstall()
            assert asyncio.events._event_loop_policy is other
        finally:
            _set_policy(before)

    def test_uninstall_without_install(self, fastaio):
        before = asyncio.events._event_loop_policy
        fastaio.uninstall()
        assert asyncio.events._event_loop_policy is before
