"""Accounts, `python -m fastaio top`, and telemetry: what each coroutine costs."""

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from fastaio import telemetry, top
from fastaio.accounts import running_loops
from fastaio.metrics import COUNTERS, GAUGES

from .support import GUARD, run_python, wait_until

pytestmark = pytest.mark.fastaio_only


def by_name(accounts):
    return {row["name"].rpartition(".")[2]: row for row in accounts.rows()}


async def work(steps, seconds=0.0):
    for _ in range(steps):
        time.sleep(seconds)
        await asyncio.sleep(0)


def test_steps_and_times(loop):
    accounts = loop.account()

    async def compute():
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass

    async def main():
        await asyncio.gather(work(10), work(20), work(2, 0.02), compute())

    loop.run_until_complete(main())
    rows = by_name(accounts)
    assert rows["work"]["steps"] == 11 + 21 + 3
    assert rows["work"]["run_ns"] >= 40_000_000
    assert rows["work"]["longest_ns"] >= 20_000_000
    assert rows["work"]["cpu_ns"] < rows["work"]["run_ns"]
    assert rows["compute"]["steps"] == 1
    assert rows["compute"]["cpu_ns"] >= 50_000_000
    assert rows["compute"]["run_ns"] >= 50_000_000
    assert accounts.rows()[0]["name"].endswith("compute")


def test_waiting_in_the_queue(loop):
    accounts = loop.account()

    async def late():
        await asyncio.sleep(0)

    async def main():
        tasks = [asyncio.create_task(work(1, 0.03)), asyncio.create_task(late())]
        await asyncio.wait(tasks)

    loop.run_until_complete(main())
    rows = by_name(accounts)
    # late() waits behind work() once; its second step comes behind work()'s short one.
    assert 30_000_000 <= rows["late"]["waited_ns"] < 30_000_000 + rows["work"]["run_ns"]
    assert rows["work"]["waited_ns"] < 30_000_000


def test_accounts_by_the_name_of_a_task(loop):
    accounts = loop.account(by="name")

    async def main():
        named = asyncio.create_task(work(3), name="the name")
        await asyncio.gather(named, work(1), work(1))

    loop.run_until_complete(main())
    rows = by_name(accounts)
    assert rows["the name"]["steps"] == 4
    assert rows["work"]["steps"] == 4


def test_callbacks_have_accounts(loop):
    accounts = loop.account()

    class Thing:
        def method(self):
            """Called by the loop."""

    def done(future):
        """Called by the loop."""

    async def main():
        loop.call_soon(Thing().method)
        loop.call_soon(int)
        loop.call_later(0.001, done, None)
        future = loop.create_future()
        future.add_done_callback(done)
        future.set_result(None)
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    rows = by_name(accounts)
    assert rows["method"]["steps"] == 1
    assert rows["int"]["steps"] == 1
    assert rows["done"]["steps"] == 2


def test_exceptions_are_reported_as_without_accounts(loop):
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(type(context["exception"])))
    accounts = loop.account()

    def fail():
        raise ZeroDivisionError

    async def main():
        loop.call_soon(fail)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert reports == [ZeroDivisionError]
    assert by_name(accounts)["fail"]["steps"] == 1


def test_clear_and_stop(loop):
    accounts = loop.account()
    loop.run_until_complete(work(3))
    assert by_name(accounts)["work"]["steps"] == 4
    accounts.clear()
    assert accounts.rows() == []

    async def main():
        await work(1)
        accounts.clear()  # while a step is measured
        await work(1)

    loop.run_until_complete(main())
    assert by_name(accounts)["main"]["steps"] == 1
    accounts.stop()
    assert not loop.keeps_accounts
    loop.run_until_complete(work(3))
    assert "work" not in by_name(accounts)


def test_accounts_of_a_queue_that_grows(loop):
    accounts = loop.account()

    async def main():
        await asyncio.gather(*(work(2) for _ in range(1000)))

    loop.run_until_complete(main())
    row = by_name(accounts)["work"]
    assert row["steps"] == 3000
    assert row["waited_ns"] > 0


def test_there_is_a_limit_of_names(loop):
    accounts = loop.account(by="name")

    async def main():
        for first in range(0, 12_000, 1000):
            names = range(first, first + 1000)
            await asyncio.wait([loop.create_task(work(0), name=f"name {i}") for i in names])

    loop.run_until_complete(main())
    rows = by_name(accounts)
    assert len(rows) == 10_001
    assert rows["(others)"]["steps"] >= 2000


def test_a_wrong_word(loop):
    with pytest.raises(ValueError, match="^by must be 'function' or 'name', not 'x'$"):
        loop.account("x")


# top

PROGRAM = """
import asyncio, time
import fastaio

async def busy():
    while True:
        time.sleep(0.002)
        await asyncio.sleep(0)

async def main():
    task = asyncio.create_task(busy())
    print("runs", flush=True)
    await asyncio.sleep(60)

fastaio.run(main())
"""


@contextlib.contextmanager
def program(source, folder, **variables):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    env = {**os.environ, "PYTHONPATH": path, "XDG_RUNTIME_DIR": str(folder), **variables}
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, env=env
    ) as child:
        try:
            assert child.stdout.readline() == "runs\n"
            yield child
        finally:
            child.kill()


def run_top(capsys, *arguments):
    status = top.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_top_shows_another_process(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with program(PROGRAM, tmp_path, FASTAIO_TOP="1") as child:
        status, out, _ = run_top(capsys, child.pid, "--once", "--interval", "0.3")
        assert status == 0
        assert f"process {child.pid}, CPython {sys.version.split()[0].rstrip('+')}" in out
        assert re.search(r"loop 0 \(epoll\): [\d,]+ callbacks/s, \d+\.\d% busy, 2 tasks", out)
        (row,) = (line for line in out.splitlines() if line.endswith("  busy"))
        steps, per_step = (float(text.replace(",", "")) for text in row.split()[1:3])
        assert 0 < steps <= 500
        assert per_step >= 2000
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        (sock,) = folder.iterdir()
        assert sock.stat().st_mode & 0o777 == 0o600


IDLE_PROGRAM = """
import asyncio
import fastaio

async def handler():
    await asyncio.get_running_loop().create_future()

async def main():
    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    print("runs", flush=True)
    await task

fastaio.run(main())
"""


def may_exec_in(pid, tmp_path):
    """Whether this system lets sys.remote_exec() run something in another process."""
    script = tmp_path / "nothing.py"
    script.write_text("")
    try:
        sys.remote_exec(pid, str(script))
    except (OSError, RuntimeError):
        if "CI" in os.environ:
            raise
        return False
    return True


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="from Python 3.14 on")
@pytest.mark.parametrize("source", [PROGRAM, IDLE_PROGRAM], ids=["busy", "idle"])
def test_top_of_a_process_that_was_started_without(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with program(source, tmp_path) as child:
        if not may_exec_in(child.pid, tmp_path):
            pytest.skip("this system does not permit sys.remote_exec()")
        assert not (tmp_path / "fastaio" / f"{child.pid}.sock").exists()
        for _ in range(2):  # the second time it answers at once
            status, out, error = run_top(capsys, child.pid, "--once", "--interval", "0.3")
            assert (status, error) == (0, "")
            assert f"process {child.pid}, CPython " in out
            assert ", 2 tasks, " in out
        assert (tmp_path / "fastaio" / f"{child.pid}.sock").exists()
        assert child.poll() is None
        assert [entry.name for entry in (tmp_path / "fastaio").iterdir()] == [f"{child.pid}.sock"]


def test_top_looks_where_the_process_answers(tmp_path, monkeypatch, capsys):
    """A service has another environment than the shell in which `top` runs."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "elsewhere"))
    with program(PROGRAM, tmp_path, FASTAIO_TOP="1") as child:
        assert run_top(capsys, child.pid, "--once", "--interval", "0.1")[0] == 0


def test_a_process_that_ends_takes_its_socket_away(tmp_path):
    source = "import asyncio, fastaio; fastaio.run(asyncio.sleep(0))"
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "FASTAIO_TOP": "1"}
    run_python(source, env=env)
    assert list((tmp_path / "fastaio").iterdir()) == []


def test_top_shows_names_without_what_a_terminal_obeys():
    loop = {"backend": "epoll", "metrics": dict.fromkeys(COUNTERS | GAUGES, 0)}
    before = {"pid": 1, "python": "3", "time_ns": 0, "loops": [loop | {"accounts": []}]}
    row = ["a\x1b[2J\u202eb", 3, 10, 10, 10, 10]
    text = top.table(before | {"time_ns": 10**9, "loops": [loop | {"accounts": [row]}]}, before)
    assert text.endswith("  a?[2J?b")


def test_top_of_accounts_that_the_program_has_cleared():
    assert top._rates(["x", 2, 5, 5, 5, 5], ["x", 9, 50, 50, 9, 50]) == ["x", 2, 5, 5, 5, 5]
    assert top._rates(["x", 9, 50, 50, 9, 50], ["x", 2, 5, 5, 5, 5]) == ["x", 7, 45, 45, 9, 45]


def test_top_of_what_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert run_top(capsys, 2**30)[::2] == (1, f"fastaio top: there is no process {2**30}\n")
    with program("import time; print('runs', flush=True); time.sleep(60)", tmp_path) as child:
        monkeypatch.setattr(top, "_TIMEOUT", 0.3)
        status, _, error = run_top(capsys, child.pid)
        assert status == 1
        assert error.startswith(f"fastaio top: process {child.pid} ")
        assert error.count("\n") == 1


def test_top_of_a_process_without_a_loop(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    serve = "import time; from fastaio import top; top.serve(); "
    source = serve + "print('runs', flush=True); time.sleep(60)"
    with program(source, tmp_path) as child:
        status, _, error = run_top(capsys, child.pid)
        assert (status, error) == (1, f"fastaio top: process {child.pid} runs no loop of fastaio\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look at another user's process")
def test_top_of_another_users_process(capsys):
    with subprocess.Popen(["sleep", "60"], user=65534, group=65534, extra_groups=[]) as child:
        try:
            status, _, error = run_top(capsys, child.pid)
        finally:
            child.kill()
    assert (status, error) == (1, f"fastaio top: process {child.pid} belongs to another user\n")


def test_a_folder_that_others_may_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "fastaio").mkdir()
    (tmp_path / "fastaio").chmod(0o777)
    with pytest.raises(PermissionError, match="is not a folder that only its owner may use"):
        top.serve()


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "--interval", "0"]])
def test_a_wrong_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        top.main(arguments)
    assert error.value.code == 2


# telemetry


@contextlib.contextmanager
def running(loop):
    """Run the loop in a thread meanwhile."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    wait_until(loop.is_running)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GUARD)


SAMPLE = re.compile(r'^fastaio_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+.\w]+$')


def test_prometheus_text(loop):
    loop.account()
    loop.run_until_complete(work(5))
    with running(loop):
        text = telemetry.prometheus()
    lines = text.splitlines()
    assert all(line.startswith("# ") or SAMPLE.match(line) for line in lines)
    for line in (
        "# TYPE fastaio_callbacks_total counter",
        "# TYPE fastaio_idle_seconds_total counter",
        "# TYPE fastaio_tasks gauge",
        'fastaio_tasks{loop="0"} 0',
        "# TYPE fastaio_turn_seconds histogram",
        "# TYPE fastaio_account_cpu_seconds_total counter",
        'fastaio_account_steps_total{loop="0",name="work"} 6',
    ):
        assert line in lines
    buckets = [
        int(line.split()[1]) for line in lines if line.startswith("fastaio_turn_seconds_bucket")
    ]
    assert buckets == sorted(buckets)
    assert f'fastaio_turn_seconds_count{{loop="0"}} {buckets[-1]}' in lines
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(
        {line for line in lines if line.startswith("# TYPE")}
    )


def test_the_dashboard_asks_for_metrics_that_there_are(loop):
    loop.account()
    loop.run_until_complete(work(1))
    with running(loop):
        there = set(re.findall(r"^(fastaio_\w+)", telemetry.prometheus(), re.MULTILINE))
    dashboard = Path(__file__).parent.parent / "examples" / "grafana.json"
    panels = json.loads(dashboard.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"fastaio_\w+", expression)}
    assert len(names) >= 6
    assert names <= there


def test_the_exporter():
    """In a process of its own: the exporter's thread lasts as long as the process."""
    source = """
        import asyncio, fastaio, urllib.request
        from fastaio import telemetry

        def ask(url):
            with urllib.request.urlopen(url) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert b'fastaio_iterations_total{loop="0"} ' in answer.read()

        async def main():
            port = telemetry.serve(0)
            await asyncio.to_thread(ask, f"http://127.0.0.1:{port}/metrics")

        fastaio.run(main())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(source)], check=True, timeout=GUARD)


def test_a_port_that_is_taken_is_told_in_one_line(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert telemetry.serve(port) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"Metrics are not served on 127.0.0.1:{port}: ")


def test_opentelemetry(loop):
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader = export.InMemoryMetricReader()
    telemetry.opentelemetry(sdk.MeterProvider(metric_readers=[reader]))
    loop.account()
    loop.run_until_complete(work(1))
    with running(loop):
        data = reader.get_metrics_data()
    metrics = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert {"fastaio.loop_count", "fastaio.callbacks_run", "fastaio.events"} <= set(metrics)
    assert metrics["fastaio.idle_ns"].unit == "ns"
    (point,) = metrics["fastaio.loop_count"].data.data_points
    assert point.value >= 1
    assert dict(point.attributes) == {"loop": 0}
    steps = {
        point.attributes["name"]: point.value
        for point in metrics["fastaio.account.steps"].data.data_points
    }
    assert steps["work"] == 2
    assert metrics["fastaio.account.cpu_ns"].unit == "ns"
    assert "fastaio.account.longest_ns" in metrics


def test_loops_are_numbered_in_the_order_in_which_they_were_made(loop_factory):
    first, second = loop_factory(), loop_factory()
    with running(second), running(first):
        assert running_loops() == [first, second]
        text = telemetry.prometheus()
    assert 'fastaio_tasks{loop="0"} 0\nfastaio_tasks{loop="1"} 0' in text
    first.close()
    second.close()


def test_loops_may_be_made_while_others_are_counted(loop_factory):
    """A scrape reads the loops that there are, whatever another thread does."""
    over = threading.Event()

    def make():
        while not over.is_set():
            loop_factory().close()

    thread = threading.Thread(target=make)
    thread.start()
    try:
        for _ in range(300):
            telemetry.prometheus()
    finally:
        over.set()
        thread.join(GUARD)


def test_a_name_of_any_characters(loop):
    loop.account(by="name")

    async def main():
        await loop.create_task(work(1), name='a "b"\n\\c\udc80\x1b[2J')
        return telemetry.prometheus()

    text = loop.run_until_complete(main())
    assert 'name="a \\"b\\"\\n\\\\c\udc80\x1b[2J"} 2' in text


def test_opentelemetry_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match="needs the package opentelemetry-api$"):
        telemetry.opentelemetry()
