"""After os.fork() the child makes its own loop; the parent's is untouched."""

import asyncio
import multiprocessing
import os
import socket
import traceback

import pytest

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


def in_child(action):
    """Run `action()` in a forked child and return what it returned, or raise what it wrote."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(read)
            try:
                os.write(write, repr(action()).encode())
                status = 0
            except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
                os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, text
    return text


async def some_work():
    reader, writer = socket.socketpair()
    loop = asyncio.get_running_loop()
    with reader, writer:
        reader.setblocking(False)
        received = loop.create_future()
        loop.add_reader(reader, lambda: received.set_result(reader.recv(10)))
        writer.send(b"data")
        data = await received
        loop.remove_reader(reader)
    await asyncio.sleep(0.001)
    values = await asyncio.gather(*(asyncio.sleep(0, number) for number in range(10)))
    return data, sum(values)


EXPECTED = repr((b"data", 45))


def test_a_child_makes_its_own_loop(loop_factory):
    def child():
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(some_work())

    assert in_child(child) == EXPECTED


def test_a_loop_made_before_is_untouched(loop, loop_factory):
    assert loop.run_until_complete(some_work())

    def child():
        own = loop_factory()
        try:
            return own.run_until_complete(some_work())
        finally:
            own.close()

    assert in_child(child) == EXPECTED
    assert repr(loop.run_until_complete(some_work())) == EXPECTED


def test_forking_inside_a_running_loop(loop, loop_factory):
    def child():
        # What was running in the parent does not run here.
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            running = False
        else:
            running = True
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return running, runner.run(some_work())

    async def main():
        text = in_child(child)
        await asyncio.sleep(0.001)
        return text, await some_work()

    text, ours = loop.run_until_complete(main())
    assert text == repr((False, (b"data", 45)))
    assert repr(ours) == EXPECTED


def test_closing_the_parents_loop_in_the_child(loop, loop_factory):
    readers = []

    async def main():
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        received = loop.create_future()
        loop.add_reader(reader, received.set_result, None)
        readers.append((reader, writer, received))

    loop.run_until_complete(main())

    def child():
        loop.close()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(some_work())

    assert in_child(child) == EXPECTED
    reader, writer, received = readers[0]
    writer.send(b"x")
    loop.run_until_complete(asyncio.wait_for(received, 30))
    loop.remove_reader(reader)
    reader.close()
    writer.close()


def test_tasks_of_the_parent_are_not_run_in_the_child(loop, loop_factory):
    seen = []

    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        task.add_done_callback(lambda task: seen.append(os.getpid()))

        def child():
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(some_work())
            return seen

        text = in_child(child)
        await task
        await asyncio.sleep(0)
        return text

    assert loop.run_until_complete(main()) == "[]"
    assert seen == [os.getpid()]


def test_multiprocessing_by_fork(run, loop_factory):
    context = multiprocessing.get_context("fork")

    async def main():
        queue = context.SimpleQueue()
        process = context.Process(target=work_in_process, args=(queue, loop_factory))
        process.start()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(None, queue.get)
        await loop.run_in_executor(None, process.join)
        return result, process.exitcode

    assert run(main) == ((b"data", 45), 0)


def work_in_process(queue, loop_factory):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        queue.put(runner.run(some_work()))
