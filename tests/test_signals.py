"""Signal handlers of a loop, Ctrl-C in every place, and what is left behind after close."""

import asyncio
import os
import signal
import threading
import time

import pytest

from .support import GUARD, run_python

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def kill(signum=USR1):
    os.kill(os.getpid(), signum)


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """No test may leave a handler, a mask or a wake-up descriptor behind."""
    numbers = (USR1, USR2, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    after = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, before[number])
    descriptor = signal.set_wakeup_fd(-1)
    assert descriptor == -1
    assert after[signal.SIGINT] == before[signal.SIGINT]


def test_a_handler_is_called_with_its_arguments(run):
    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        loop.add_signal_handler(USR1, lambda *args: got.set_result(args), 1, "two")
        kill()
        assert await asyncio.wait_for(got, GUARD) == (1, "two")
        assert loop.remove_signal_handler(USR1) is True
        assert loop.remove_signal_handler(USR1) is False

    run(main)


def test_it_runs_in_the_loop_not_in_the_signal(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_signal_handler(USR1, lambda: seen.append(asyncio.get_running_loop() is loop))
        kill()
        assert seen == []
        while not seen:
            await asyncio.sleep(0)
        assert seen == [True]

    run(main)


def test_a_signal_wakes_a_blocked_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        got = asyncio.Event()
        loop.add_signal_handler(USR1, got.set)
        thread = threading.Timer(0.02, kill)
        thread.start()
        await asyncio.wait_for(got.wait(), GUARD)
        thread.join(GUARD)

    run(main)


def test_a_signal_that_comes_while_the_loop_does_not_run(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "late")
    kill()
    assert seen == []

    async def main():
        while not seen:
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(main(), GUARD))
    assert seen == ["late"]


async def burst(size, rounds):
    loop = asyncio.get_running_loop()
    counts = {USR1: 0, USR2: 0}

    def count(signum):
        counts[signum] += 1

    for signum in counts:
        loop.add_signal_handler(signum, count, signum)
    for done in range(1, rounds + 1):
        for _ in range(size):
            kill(USR1)
            kill(USR2)
        while min(counts.values()) < size * done:
            await asyncio.sleep(0.001)
    return counts


def test_bursts(run):
    counts = run(asyncio.wait_for(burst(50, 10), GUARD))
    assert counts == {USR1: 500, USR2: 500}


@pytest.mark.fastaio_only
def test_a_burst_larger_than_asyncio_can_hold(run):
    counts = run(asyncio.wait_for(burst(3000, 1), GUARD))
    assert counts == {USR1: 3000, USR2: 3000}


def test_two_signals_keep_their_order(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_signal_handler(USR1, seen.append, "one")
        loop.add_signal_handler(USR2, seen.append, "two")
        for _ in range(5):
            kill(USR2)
            kill(USR1)
        while len(seen) < 10:
            await asyncio.sleep(0.001)
        assert seen == ["two", "one"] * 5

    run(asyncio.wait_for(main(), GUARD))


def test_a_handler_is_replaced(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        loop.add_signal_handler(USR1, seen.append, "first")
        loop.add_signal_handler(USR1, seen.append, "second")
        kill()
        while not seen:
            await asyncio.sleep(0.001)
        assert seen == ["second"]

    run(main)


def test_a_handler_that_raises_is_reported(same_outcome):
    def scenario(env):
        def bad():
            raise ValueError("handler")

        async def main():
            env.loop.add_signal_handler(USR1, bad)
            kill()
            while not env.reports:
                await asyncio.sleep(0.001)
            env.loop.remove_signal_handler(USR1)

        env.run(asyncio.wait_for(main(), GUARD))

    _, reports = same_outcome(scenario)
    assert reports[0]["exception"] == ("ValueError", "handler")


def test_a_handler_may_remove_itself(run):
    async def main():
        loop = asyncio.get_running_loop()
        seen = []

        def once():
            seen.append(loop.remove_signal_handler(USR1))

        loop.add_signal_handler(USR1, once)
        kill()
        while not seen:
            await asyncio.sleep(0.001)
        assert signal.getsignal(USR1) is signal.SIG_DFL

    run(main)


async def coroutine_function():
    return None


BAD_CALLS = {
    "SIGKILL": lambda loop: loop.add_signal_handler(signal.SIGKILL, print),
    "SIGSTOP": lambda loop: loop.add_signal_handler(signal.SIGSTOP, print),
    "zero": lambda loop: loop.add_signal_handler(0, print),
    "negative": lambda loop: loop.add_signal_handler(-1, print),
    "too large": lambda loop: loop.add_signal_handler(1000, print),
    "a string": lambda loop: loop.add_signal_handler("SIGUSR1", print),
    "a float": lambda loop: loop.add_signal_handler(10.0, print),
    "no callback": lambda loop: loop.add_signal_handler(USR1),
    "a coroutine function": lambda loop: loop.add_signal_handler(USR1, coroutine_function),
    "remove a string": lambda loop: loop.remove_signal_handler("x"),
    "remove too large": lambda loop: loop.remove_signal_handler(1000),
    "remove SIGKILL": lambda loop: loop.remove_signal_handler(signal.SIGKILL),
    "remove unknown": lambda loop: loop.remove_signal_handler(USR2),
    "closed": lambda loop: (loop.close(), loop.add_signal_handler(USR1, print)),
    "an int callback in debug mode": lambda loop: (
        loop.set_debug(True),
        loop.add_signal_handler(USR1, 5),
    ),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls(call, same_outcome):
    def scenario(env):
        return call(env.loop)

    same_outcome(scenario)
    assert signal.getsignal(USR1) is signal.SIG_DFL


def test_a_coroutine_object(same_outcome):
    def scenario(env):
        coro = coroutine_function()
        try:
            env.loop.add_signal_handler(USR1, coro)
        finally:
            coro.close()

    (how, (name, _)), _ = same_outcome(scenario)
    assert (how, name) == ("raised", "TypeError")


def test_not_from_another_thread(same_outcome):
    def scenario(env):
        errors = []

        def add():
            try:
                env.loop.add_signal_handler(USR1, print)
            except (ValueError, RuntimeError) as exc:
                errors.append(exc)

        thread = threading.Thread(target=add)
        thread.start()
        thread.join(GUARD)
        return errors

    (_, errors), _ = same_outcome(scenario)
    assert len(errors) == 1


def test_sigchld_is_allowed(run):
    async def main():
        loop = asyncio.get_running_loop()
        got = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, got.set)
        kill(signal.SIGCHLD)
        await asyncio.wait_for(got.wait(), GUARD)
        loop.remove_signal_handler(signal.SIGCHLD)

    run(main)


# What is left behind


def test_removing_gives_the_default_back(same_outcome):
    def scenario(env):
        seen = []
        for signum in (USR1, signal.SIGINT):
            env.loop.add_signal_handler(signum, print)
            seen.append(signal.getsignal(signum) is not signal.SIG_DFL)
            env.loop.remove_signal_handler(signum)
            seen.append(signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler))
        return seen

    (_, seen), _ = same_outcome(scenario)
    assert seen == [True] * 4


def test_closing_removes_the_handlers(same_outcome):
    def scenario(env):
        env.loop.add_signal_handler(USR1, print)
        env.loop.add_signal_handler(USR2, print)
        env.loop.close()
        left = [signal.getsignal(signum) is signal.SIG_DFL for signum in (USR1, USR2)]
        descriptor = signal.set_wakeup_fd(-1)
        return left, descriptor

    (_, (left, descriptor)), _ = same_outcome(scenario)
    assert left == [True, True]
    assert descriptor == -1


def test_a_handler_set_before_and_closing(same_outcome):
    def scenario(env):
        def mine(signum, frame):
            """A handler of the program's own."""

        signal.signal(USR1, mine)
        env.loop.add_signal_handler(USR1, print)
        env.loop.close()
        left = signal.getsignal(USR1)
        signal.signal(USR1, signal.SIG_DFL)
        return left is mine, left is signal.SIG_DFL

    same_outcome(scenario)


# Ctrl-C


def interrupt_soon(delay=0.02):
    """Called while the loop runs, or else it may come before what it is to interrupt."""
    main_thread = threading.main_thread().ident
    timer = threading.Timer(delay, signal.pthread_kill, (main_thread, signal.SIGINT))
    timer.start()


def test_ctrl_c_out_of_a_blocked_poll(loop):
    loop.call_soon(interrupt_soon)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()
    assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"


def test_ctrl_c_out_of_a_wait_for_a_timer(loop):
    task = loop.create_task(asyncio.sleep(3600))
    loop.call_soon(interrupt_soon)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_ctrl_c_out_of_a_callback(loop):
    def spin():
        interrupt_soon(0)
        deadline = time.monotonic() + GUARD
        while time.monotonic() < deadline:
            time.sleep(0.001)

    loop.call_soon(spin)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"


def test_ctrl_c_out_of_a_task_that_computes(loop):
    async def spin():
        interrupt_soon(0)
        deadline = time.monotonic() + GUARD
        while time.monotonic() < deadline:
            time.sleep(0.001)

    task = loop.create_task(spin())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert task.done()
    assert isinstance(task.exception(), KeyboardInterrupt)


@pytest.mark.fastaio_only
def test_ctrl_c_out_of_a_loop_that_never_waits(loop):
    """Wherever it comes, the task is not lost; asyncio may lose the step that was to run next."""

    async def spin():
        interrupt_soon()
        while True:
            await asyncio.sleep(0)

    task = loop.create_task(spin())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))


def test_runner_turns_ctrl_c_into_a_cancellation(loop_factory):
    seen = []

    async def main():
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(GUARD)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
    assert seen == ["cancelled"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_runner_and_a_blocked_poll(loop_factory):
    async def main():
        interrupt_soon()
        await asyncio.sleep(GUARD)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())


def test_runner_lets_the_task_finish_when_it_wants(loop_factory):
    async def main():
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(GUARD)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            return "finished"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(main()) == "finished"


def test_runner_and_a_second_ctrl_c(loop_factory):
    async def main():
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(GUARD)
        except asyncio.CancelledError:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(GUARD)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())


def test_sigterm_handled_in_a_real_process(loop_factory_source):
    done = run_python(
        f"""
import asyncio, os, signal

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    print("stopped")

with asyncio.Runner(loop_factory={loop_factory_source}) as runner:
    runner.run(main())
"""
    )
    assert done.stdout.strip() == "stopped"


def test_ctrl_c_ends_a_real_process(loop_factory_source):
    done = run_python(
        f"""
import asyncio, os, signal

async def main():
    asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.sleep({GUARD})

with asyncio.Runner(loop_factory={loop_factory_source}) as runner:
    runner.run(main())
""",
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
