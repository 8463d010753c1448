"""The benchmark: figures, summaries, tables and warnings, and what its C programs count."""

import json
import shutil
import socket
import subprocess
import threading
import time
from xml.etree import ElementTree

import pytest

from bench import __main__ as command_line
from bench import figures, native, plot, report, runner, units
from bench.best import Best
from bench.cells import LIMIT, Figure, Load, Served, Settings, Work, all_cells
from bench.loops import NO_SPIN, VARIANTS, WATCHED, has_variants
from bench.workloads.scheduling import percentiles

from .support import GUARD

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


# ---- figures ----


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.3e-8, "s", "33 ns"),
        (1.25e-6, "s", "1.2 us"),
        (250e-6, "s", "250 us"),
        (0.0417, "s", "41.7 ms"),
        (2.5, "s", "2.50 s"),
        (-2e-6, "s", "-2.0 us"),
        (units.NEVER, "s", "never"),
        (7700.0, "us", "7.7 ms"),
        (0.0005, "share", "0.0005"),
        (0.0, "share", "0.00"),
        (0.996, "share", "1.00"),
        (1513.0, "B", "1513 B"),
        (83e6, "B", "83.0 MB"),
        (2.5e9, "B/s", "2.50 GB/s"),
        (45_250.0, "1/s", "45.2k"),
        (12e-6, "s/s", "12 us/s"),
    ],
)
def test_a_figure_has_its_unit(value, unit, text):
    assert units.figure(value, unit) == text


def test_a_spread_has_one_unit():
    assert units.spread([3.2e-6, 4e-6, 1200e-6], "s") == "3.2/4.0/1200 us"
    assert units.spread([0.001, units.NEVER, units.NEVER], "s") == "1.0/never/never ms"
    assert units.spread([units.NEVER] * 2, "s") == "never/never"


def test_half_of_never_is_never():
    assert units.median([1.0, 2.0]) == 1.5
    assert units.median([1.0, units.NEVER]) == units.NEVER
    assert units.median([1.0, 2.0, units.NEVER]) == 2.0


# ---- summaries ----


def work(**options):
    return Work("sched/x", "x", run=lambda context: {}, **options)


SAMPLES = [
    {"value": 3.0, "rps": 10.0, "share": 0.5, "p99_us": 40.0},
    {"value": 1.0, "rps": 30.0, "share": 0.9, "p99_us": 7.0},
    {"value": 8.0, "rps": 20.0, "share": 0.1, "p99_us": 8.0, "syscalls": 1.0},
]


def test_a_summary_has_the_best_of_costs_and_rates_and_the_median_of_the_rest():
    best = {"value": 1.0, "rps": 30.0, "share": 0.5, "p99_us": 8.0}
    assert runner.summary(work(), SAMPLES) == best
    assert runner.summary(work(more_is_better=True), SAMPLES) == best | {"value": 8.0}
    medians = {"value": 3.0, "rps": 20.0, "share": 0.5, "p99_us": 8.0}
    assert runner.summary(work(varies=True), SAMPLES) == medians
    assert runner.summary(work(), SAMPLES[2:])["syscalls"] == 1.0


def test_rounds_differ_as_far_as_the_two_best():
    assert report.difference([3.0, 2.0, 9.0], more_is_better=False) == 0.5
    assert report.difference([3.0, 2.0, 4.0], more_is_better=True) == 0.25
    assert report.difference([3.0], more_is_better=True) == 0.0


def batches(costs, settings):
    """Return how many batches are measured that cost so much, and the best one."""
    best, left = Best(settings), list(costs)
    while best.wants_more():
        best.add({"value": left.pop(0), "wall": 1.0})
    return len(costs) - len(left), best.sample["value"]


def test_batches_are_repeated_until_the_best_ones_are_alike():
    settings = Settings(batches=4, most_batches=8)
    assert batches([1.0, 1.02, 5.0, 1.01, 0.0], settings) == (4, 1.0)
    assert batches([3.0, 3.0, 3.0, 1.0, 3.0, 1.0, 1.02], settings) == (7, 1.0)
    assert batches([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], settings) == (8, 2.0)
    assert batches([9.0, 8.0], Settings(batches=2, most_batches=2)) == (2, 8.0)


def test_servers_side_by_side_are_one_sample():
    common = {"seconds": 1.0, "server_switches": 5}
    found = runner.together(
        [
            common
            | {"requests": 300, "rps": 300.0, "share": 1.0, "p99_us": 9.0, "server_cpu": 0.5},
            common
            | {"requests": 100, "rps": 100.0, "share": 0.5, "p99_us": 70.0, "server_cpu": 0.25},
        ],
        2,
    )
    assert found["requests"] == 400
    assert found["rps"] == 400.0
    assert found["server_cpu"] == 0.75
    assert found["p99_us"] == 70.0
    assert found["seconds"] == 1.0
    assert found["share"] == pytest.approx(25 / 100)  # 25 of the least one, 100 on the average


def test_who_takes_part():
    assert work().runners(["asyncio", "fastaio"]) == ["asyncio", "fastaio"]
    assert work(limited=True).runners(["asyncio"]) == ["asyncio", LIMIT]
    spinning = work(variants=(NO_SPIN,)).runners(["asyncio", "fastaio", "fastaio-io_uring"])
    assert spinning == [
        "fastaio",
        "fastaio" + NO_SPIN,
        "fastaio-io_uring",
        "fastaio-io_uring" + NO_SPIN,
    ]
    assert not has_variants("uvloop")
    assert not any(has_variants("fastaio" + variant) for variant in VARIANTS)


def test_each_cell_has_a_name_of_its_own_and_every_family_a_heading():
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        section = f"{cell.family}/{cell.group}" if cell.group else cell.family
        assert section in report._HEADINGS


def test_a_cell_may_have_a_shorter_window_and_its_own_rounds():
    cell = work(window=0.5, rounds=2)
    assert cell.settings(Settings(load_seconds=0.4)).load_seconds == 0.2
    assert runner.Run([cell], ["asyncio"], None, Settings()).total() == 2
    assert runner.Run([cell], ["asyncio"], 5, Settings()).total() == 5


def run(cells, samples, rounds):
    """Return the document of a run that measured samples[loop]: a sample a round, or an error."""
    loops = [loop for loop in samples if loop != LIMIT and not loop.endswith(tuple(VARIANTS))]
    made = runner.Run(cells, loops, rounds, Settings())
    turns = dict.fromkeys(samples, 0)

    def measure(cell, loop, settings):
        given = samples[loop]
        if isinstance(given, str):
            raise runner.Failure(given)
        turns[loop] += 1
        return dict(given[(turns[loop] - 1) % len(given)])

    original, runner.measure = runner.measure, measure
    try:
        made.go(lambda *args: None, lambda: None)
    finally:
        runner.measure = original
    return {
        "machine": {"python": "3", "kernel": "6", "cpus": 2, "cpu_model": "", "load": 0.5},
        "loops": dict.fromkeys(loops, "1"),
        "cells": made.results(),
    }


def row(text, title):
    """The fields of the row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {title}"))
    return [field.strip() for field in line.strip("|").split("|")][1:]


def served(value, rps=1000.0, share=0.9):
    return {"value": value, "rps": rps, "p50_us": 20.0, "p99_us": 41.0, "share": share, "wall": 1.0}


ECHO = Served("echo/x", "x", serve=lambda sock: None, load=Load())


def test_a_table_has_ratios_and_says_who_failed():
    document = run(
        [ECHO],
        {
            "asyncio": "hangs: no result within 8 s",
            "uvloop": [served(10e-6)],
            "rloop": "NotImplementedError",
            "blazio": "ValueError: no",
            "fastaio": [served(5e-6, rps=45_250.0)],
        },
        1,
    )
    text = report.text(document)
    assert "ratio to uvloop" in text
    assert row(text, "x") == ["hangs", "10.0 us", "lacks it", "fails", "2.00"]
    detail = text[text.index("messages/s") :]
    assert row(detail, "x") == ["1.0k, 20/41, 0.90", "45.2k, 20/41, 0.90"]
    assert "echo/x, blazio: ValueError: no" in text
    assert "the rounds" not in text  # there was one
    assert "WARNING" not in text


def test_several_rounds_are_shown_and_uneven_ones_warned_of():
    document = run(
        [ECHO],
        {"uvloop": [served(10e-6), served(10.5e-6)], "fastaio": [served(4e-6), served(6e-6)]},
        2,
    )
    text = report.text(document)
    assert "best of 2 rounds" in text
    assert row(text, "x") == ["10.0 us", "2.50"]
    rounds = text[text.index("the rounds") :]
    assert row(rounds, "x") == ["10.0/10.2/10.5 us", "4.0/5.0/6.0 us"]
    tails = rounds[rounds.index("p99 of the rounds") :]
    assert row(tails, "x") == ["41.0/41.0/41.0 us", "41.0/41.0/41.0 us"]
    assert "the two best rounds differ by more than 15% in 1 of 2 figures" in text
    assert "echo/x on fastaio: 4.0/6.0 us" in text


def test_a_scheduling_cell_may_have_percentiles():
    assert percentiles([n / 1e6 for n in range(100, 0, -1)]) == {"p50_us": 51.0, "p99_us": 100.0}
    samples = [{"value": 1e-6, "p50_us": 30.0, "p99_us": 99.0} for _ in range(2)]
    text = report.text(run([work()], {"uvloop": samples, "fastaio": [{"value": 1e-6}] * 2}, 2))
    assert row(text[text.index("p50/p99") :], "x") == ["30.0/99.0"]
    assert row(text[text.index("p99 of the rounds") :], "x") == ["99.0/99.0/99.0 us"]


def test_a_cell_that_shows_what_varies_may_vary():
    cell = work(varies=True, baseline=None)
    document = run([cell], {"fastaio": [{"value": 1e-6}, {"value": 9e-6}]}, 2)
    assert report.warnings(document) == []
    assert "median of 2 rounds" in report.text(document)


def test_a_busy_machine_is_warned_of():
    document = run([ECHO], {"fastaio": [served(1e-6)]}, 1)
    document["machine"]["load"] = 2.5
    assert "the load was 2.5 on 2 CPUs" in report.text(document)


def test_figures_share_a_field():
    cell = work(baseline=None, beside=(Figure("p99_us", "us"), Figure("share", "share")))
    document = run([cell], {"uvloop": [SAMPLES[0] | {"value": 75e-6}]}, 1)
    assert row(report.text(document), "x") == ["75.0 us / 40.0 us / 0.50"]


def test_spinning_is_compared_to_the_same_loop_without():
    cell = Work(
        "neighbours/spin-x", "x", run=lambda context: {}, baseline=None, variants=(NO_SPIN,),
        group="spinning", beside=(Figure("rps", "1/s"),),
    )  # fmt: skip
    document = run(
        [cell],
        {
            "uvloop": "takes no part",
            "fastaio": [served(12e-6, rps=3000.0)],
            "fastaio" + NO_SPIN: [served(10e-6, rps=2000.0)],
        },
        1,
    )
    text = report.text(document)
    assert "uvloop" not in text[text.index("Spinning") :]
    assert row(text, "x") == ["12.0 us / 3.0k", "10.0 us / 2.0k"]
    assert row(text[text.index("of the same loop's without") :], "x") == ["1.20, 1.50"]


def test_observing_is_compared_to_the_same_loop_without():
    cell = Work(
        "neighbours/observe-x", "x", run=lambda context: {}, baseline=None, group="observing",
        variants=(WATCHED,),
    )  # fmt: skip
    samples = {"fastaio": [served(10e-6)], "fastaio" + WATCHED: [served(10.05e-6)]}
    text = report.text(run([cell], samples, 1))
    assert row(text, "x") == ["10.0 us", "10.1 us"]
    assert row(text[text.index("of the same loop's without") :], "x") == ["1.005"]


def test_the_report_survives_json():
    document = run([ECHO], {"uvloop": [served(units.NEVER)], "fastaio": [served(5e-6)]}, 1)
    assert report.text(json.loads(json.dumps(document, allow_nan=False))) == report.text(document)


# ---- tables for the documents ----


def test_losses_are_listed_and_the_best_is_bold():
    cells = [ECHO, work(baseline=None, more_is_better=True, unit="share")]
    document = run(cells, {"uvloop": [served(10e-6)], "fastaio": [served(12e-6)]}, 1)
    document["cells"]["sched/x"]["loops"]["uvloop"]["shown"]["value"] = 0.5
    document["cells"]["sched/x"]["loops"]["fastaio"]["shown"]["value"] = 0.9
    text = figures.losses(document)
    assert row(text, "`echo/x`") == ["12.0 us", "10.0 us (uvloop)"]
    assert "`sched/x`" not in text  # more is better there
    assert figures._fields(document["cells"]["sched/x"], ["uvloop", "fastaio"]) == [
        "0.50",
        "**0.90**",
    ]


def test_who_starves_is_behind_and_who_never_comes_too():
    share = work(baseline=None, more_is_better=True, unit="share")
    document = run([share], {"uvloop": [{"value": 1.0}], "fastaio": [{"value": 0.0}]}, 1)
    assert row(figures.losses(document), "`sched/x`") == ["0.00", "1.00 (uvloop)"]
    waits = {"uvloop": [{"value": -1e-6}], "fastaio": [{"value": units.NEVER}]}
    document = run([work(baseline=None)], waits, 1)
    assert row(figures.losses(document), "`sched/x`") == ["never", "-1.0 us (uvloop)"]


def test_without_losses_the_table_says_so():
    document = run([ECHO], {"uvloop": [served(10e-6)], "fastaio": [served(10.2e-6)]}, 1)
    assert "No other loop is ahead" in figures.losses(document)  # level, not behind


def test_a_part_of_a_run_renews_no_block():
    document = run([ECHO], {"fastaio": [served(1e-6)]}, 1)
    text = "a\n<!-- bench: losses -->\nold\n<!-- bench: end -->\nb\n"
    assert figures.renew(text, document) == (text, [])
    document["skipped"] = {cell.name: "" for cell in all_cells()}
    renewed, made = figures.renew(text, document)
    assert made == ["losses"]
    assert "old" not in renewed
    assert renewed.startswith("a\n<!-- bench: losses -->\n")
    assert renewed.endswith("\n<!-- bench: end -->\nb\n")
    assert figures.renew(renewed, document) == (renewed, ["losses"])


def test_a_whole_run_makes_every_block():
    sample = served(1e-6) | dict.fromkeys(("p99", "longest", "rate", "switches", "syscalls"), 1.0)
    names = ["uvloop", "fastaio", "fastaio-io_uring"]
    names += [name + variant for name in names[1:] for variant in VARIANTS] + [LIMIT]
    document = run(all_cells(), dict.fromkeys(names, [sample]), 1)
    document["machine"]["date"] = "2026-11-30T17:00:00+00:00"
    for name in figures.BLOCKS:
        text = f"<!-- bench: {name} -->\n<!-- bench: end -->"
        renewed, made = figures.renew(text, document)
        assert made == [name]
        assert len(renewed) > len(text)
    assert figures.ratios(document).count("\n") == len(figures.ROWS) + 1
    assert "What did not work" not in report.text(document)


def test_a_row_says_how_far_its_rounds_differ():
    samples = {"uvloop": [{"value": 9e-6}, {"value": 11e-6}], "fastaio": [{"value": 5e-6}]}
    cell = Work("sched/sleep0", "x", run=lambda context: {})
    assert row(figures.ratios(run([cell], samples, 2)), "`await sleep(0)`")[-1] == "22%"


def test_servers_have_requests_and_their_latency():
    cell = Served("servers/x", "x", serve=lambda sock: None, load=Load())
    samples = {
        "uvloop": [served(9e-6, rps=900.0)],
        "rloop": "hangs: no result",
        "fastaio": [served(5e-6, rps=1500.0)],
    }
    text = figures.served(run([cell], samples, 1))
    assert row(text, "x") == ["900 / 41.0 us", "hangs", "**1.5k** / 41.0 us"]


def test_a_run_says_what_it_ran_on():
    document = run([ECHO], {"uvloop": [served(9e-6)], "fastaio": [served(5e-6)]}, 3)
    document["machine"] |= {"date": "2026-11-30T17:00:00+00:00", "cpu_model": "Z80"}
    text = figures.facts(document)
    assert "`python -m bench --rounds 3`, on 2026-11-30" in text
    assert "2 CPUs (Z80), Linux 6" in text
    assert "CPython 3, uvloop 1, fastaio 1." in text


# ---- the picture ----


def drawn(document):
    """The texts and the widths of the bars of a picture, which must be well-formed."""
    tree = ElementTree.fromstring(plot.picture(document))
    name = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in tree.iter(f"{name}text")]
    return texts, [float(element.get("width")) for element in tree.iter(f"{name}rect")]


def test_a_picture_has_eight_rows_at_most_and_its_axis_has_a_name():
    names = ["asyncio", "uvloop", "fastaio", "fastaio-io_uring", LIMIT]
    cells = [cell for cell in all_cells() if cell.family in ("sched", "echo", "servers", "tls")]
    document = run(cells, {name: [served(1e-6)] for name in names}, 1)
    texts, bars = drawn(document)
    titles = [figures.ROWS[name].replace("`", "") for name in figures.SUMMARY]
    assert [text for text in texts if text in titles] == titles
    assert len(bars) == 3 * len(titles)  # neither the other backend nor the limit has one
    assert sum("times less CPU time than uvloop (log scale)" in text for text in texts) == 1
    assert "prefers-color-scheme: dark" in plot.picture(document)


def test_a_bar_is_as_long_as_its_ratio():
    samples = {
        "asyncio": [served(20e-6)],
        "uvloop": [served(10e-6)],
        "rloop": "NotImplementedError",
        "blazio": [served(5e-6)],
        "fastaio": [served(2.5e-6)],
    }
    texts, (slower, level, twice, four) = drawn(run([ECHO], samples, 1))
    assert level == 0
    assert slower == pytest.approx(twice, abs=0.2)
    assert four == pytest.approx(2 * twice, abs=0.2)
    assert [text for text in texts if "  " in text or ": " in text] == [
        "0.50  asyncio", "1.00  uvloop", "rloop: lacks it", "2.00  blazio", "4.00  fastaio",
    ]  # fmt: skip


def test_nothing_to_compare_is_told():
    document = run([work(baseline=None)], {"fastaio": [{"value": 1.0}]}, 1)
    with pytest.raises(ValueError, match="nothing to compare"):
        plot.picture(document)


# ---- the command line ----


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--json", "no/folder/run.json"], "cannot write no/folder/run.json"),
        (["--plot", "run.png"], "--plot wants a file that ends in .svg"),
        (["--figures", "no.md"], "cannot read no.md"),
        (["--from", "no.json"], "cannot read no.json"),
        (["--figures", "wrong.md"], "wrong.md has the block nobody"),
        (["--loops", "trio"], "unknown loop 'trio'"),
        (["--rounds", "0"], "--rounds must be at least 1"),
    ],
)
def test_what_is_wrong_is_told_before_a_run(arguments, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.md").write_text("<!-- bench: nobody -->\n<!-- bench: end -->\n")
    monkeypatch.setattr(command_line, "measure", lambda *args: pytest.fail("it measured"))
    with pytest.raises(SystemExit) as raised:
        command_line.main(arguments)
    assert raised.value.code == 2
    assert problem in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.md"]


def test_a_missing_compiler_is_told_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(native, "_cache", lambda: tmp_path)
    native.program.cache_clear()
    with pytest.raises(SystemExit, match="needs a C compiler: there is no no-such-compiler"):
        command_line.build([])


def test_without_openssl_the_cells_of_tls_are_left_out(monkeypatch):
    def program(name, tls=False):
        if tls:
            raise native.BuildError("it needs OpenSSL's headers")

    monkeypatch.setattr(native, "program", program)
    left_out = command_line.build(all_cells())
    assert "tls/protocol-1024x10" in left_out
    assert set(left_out) == {c.name for c in all_cells() if isinstance(c, Served) and c.load.tls}


# ---- the C programs ----


class EchoServer:
    """A server with a thread for each connection; all but the first one wait before they answer."""

    def __init__(self, pause):
        self._pause = pause
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *exc):
        self._sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(GUARD)
        self._sock.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            pause = self._pause if len(self._threads) > 1 else 0
            thread = threading.Thread(target=self._echo, args=(connection, pause))
            self._threads.append(thread)
            thread.start()

    def _echo(self, connection, pause):
        with connection:
            try:
                while data := connection.recv(65536):
                    time.sleep(pause)
                    connection.sendall(data)
            except ConnectionResetError:
                return


@needs_compiler
def test_load_counts_the_least_served_connection_and_its_latency():
    pause = 0.01
    with EchoServer(pause) as server:
        command = [native.program("load"), f"--port={server.port}", "--connections=2", "--size=16"]
        command += ["--warmup=0.02", "--seconds=0.3"]
        output = subprocess.run(command, capture_output=True, timeout=GUARD, check=True).stdout
    answer = json.loads(output)
    # The second connection has at most an answer every 10 ms; the first one has no such bound.
    least = answer["share"] * answer["requests"] / 2
    assert least <= answer["seconds"] / pause + 1
    assert answer["p999_us"] >= pause * 1e6 * 0.98 or least < 0.002 * answer["requests"]
    assert answer["p50_us"] <= answer["p99_us"] <= answer["p999_us"]
    assert answer["rps"] == pytest.approx(answer["requests"] / answer["seconds"], rel=0.01)


@needs_compiler
def test_load_gives_equal_connections_equal_shares():
    with EchoServer(0.005) as server:
        command = [native.program("load"), f"--port={server.port}", "--connections=1", "--size=16"]
        command += ["--warmup=0", "--seconds=0.1"]
        output = subprocess.run(command, capture_output=True, timeout=GUARD, check=True).stdout
    assert json.loads(output)["share"] == 1.0


@needs_compiler
def test_a_delayed_peer_answers_after_its_delay():
    ours, theirs = socket.socketpair()
    delay = 0.002
    with ours, theirs:
        command = [
            native.program("peer"),
            "delay",
            str(int(delay * 1e6)),
            "8",
            str(theirs.fileno()),
        ]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as peer:
            theirs.close()
            ours.settimeout(GUARD)
            for _ in range(3):
                begin = time.perf_counter()
                ours.sendall(b"12345678")
                got = b""
                while len(got) < 8:
                    got += ours.recv(8)
                assert time.perf_counter() - begin >= delay
            ours.close()
            assert peer.wait(GUARD) == 0


@needs_compiler
def test_a_flooding_peer_fills_every_connection_alike():
    pairs = [socket.socketpair() for _ in range(4)]
    descriptors = [theirs.fileno() for _, theirs in pairs]
    command = [native.program("peer"), "flood", "4096", *map(str, descriptors)]
    with subprocess.Popen(command, pass_fds=descriptors) as peer:
        for _, theirs in pairs:
            theirs.close()
        first, second = pairs[0][0], pairs[1][0]
        first.settimeout(GUARD)
        second.settimeout(GUARD)
        for _ in range(64):
            assert first.recv(4096)  # nobody reads the others: they hold it up no more than this
        assert second.recv(4096)
        for ours, _ in pairs:
            ours.close()
        assert peer.wait(GUARD) == 0
