"""Metrics of this process's loops for Prometheus and OpenTelemetry.

``prometheus()`` is the text that Prometheus reads, ``serve(port)`` serves it over HTTP from a
thread, ``opentelemetry()`` adds instruments to OpenTelemetry where that is installed.
"""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .accounts import running_loops
from .metrics import COUNTERS, GAUGES

__all__ = ("opentelemetry", "prometheus", "serve")

_logger = logging.getLogger("fastaio")

# The names of zuvloop, where it has one for the same thing.
_OTEL_NAMES = {
    "iterations": "loop_count",
    "callbacks": "callbacks_run",
    "io_events": "events",
}

_ACCOUNTS = {
    "steps": ("fastaio_account_steps_total", "Times that it has run", 1),
    "run_ns": ("fastaio_account_run_seconds_total", "How long it has run", 1e-9),
    "cpu_ns": ("fastaio_account_cpu_seconds_total", "CPU time of the loop's thread", 1e-9),
    "waited_ns": ("fastaio_account_wait_seconds_total", "Waiting in the ready queue", 1e-9),
    "longest_ns": ("fastaio_account_longest_seconds", "The longest step", 1e-9),
}


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _labels(**labels: object) -> str:
    return "{" + ",".join(f'{key}="{_escape(str(value))}"' for key, value in labels.items()) + "}"


def _family(
    name: str, kind: str, meaning: str, samples: Iterable[tuple[str, float]]
) -> Iterator[str]:
    yield f"# HELP {name} {_escape(meaning)}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{labels} {value:.12g}"


def _lag_family(histograms: list[tuple[int, list[int], int]]) -> Iterator[str]:
    name = "fastaio_turn_seconds"
    yield f"# HELP {name} How long the callbacks of a turn took"
    yield f"# TYPE {name} histogram"
    for index, counts, busy_ns in histograms:
        total = 0
        for exponent, count in enumerate(counts[:-1]):
            total += count
            yield f"{name}_bucket{_labels(loop=index, le=f'{2**exponent / 1e6:.12g}')} {total}"
        total += counts[-1]
        yield f"{name}_bucket{_labels(loop=index, le='+Inf')} {total}"
        yield f"{name}_sum{_labels(loop=index)} {busy_ns / 1e9:.12g}"
        yield f"{name}_count{_labels(loop=index)} {total}"


def prometheus() -> str:
    """Return the metrics and accounts of the loops that run, in Prometheus's text format.

    May be called in any thread. The label ``loop`` numbers the loops from 0 on, in the order in
    which they were made.
    """
    loops = running_loops()
    metrics: list[dict[str, Any]] = [{**loop.metrics()} for loop in loops]
    lines: list[str] = []
    for key, meaning in COUNTERS.items():
        name, factor = f"fastaio_{key}_total", 1.0
        if key.endswith("_ns"):
            name, factor = f"fastaio_{key[:-3]}_seconds_total", 1e-9
            meaning = meaning.replace("nanoseconds", "seconds")
        samples = [(_labels(loop=i), one[key] * factor) for i, one in enumerate(metrics)]
        lines += _family(name, "counter", meaning, samples)
    for key, meaning in GAUGES.items():
        samples = [(_labels(loop=i), one[key]) for i, one in enumerate(metrics)]
        lines += _family(f"fastaio_{key}", "gauge", meaning, samples)
    lines += _lag_family(
        [(i, one["lag_histogram"], one["busy_ns"]) for i, one in enumerate(metrics)]
    )
    lines += _account_families(loops)
    return "\n".join(lines) + "\n"


def _account_families(loops: list[Any]) -> Iterator[str]:
    accounts = [(i, row) for i, loop in enumerate(loops) for row in _rows(loop)]
    if not accounts:
        return
    for key, (name, meaning, factor) in _ACCOUNTS.items():
        samples = [(_labels(loop=i, name=row["name"]), row[key] * factor) for i, row in accounts]
        kind = "counter" if name.endswith("_total") else "gauge"
        yield from _family(name, kind, meaning, samples)


def _rows(loop: Any) -> list[Any]:
    from .accounts import Accounts

    return list(Accounts(loop, "function").rows()) if loop.keeps_accounts else []


# HTTP


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the metrics, whatever the path."""
        body = prometheus().encode(errors="replace")  # the name of a task may be any str
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: each scrape would be a line."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def serve(port: int, host: str = "127.0.0.1") -> int | None:
    """Serve prometheus() over HTTP from a thread, until the process ends.

    Args:
        port: The port; 0 for any free one.
        host: The address to listen on.

    Returns:
        The port. If it cannot be had: None, and the logger "fastaio" gets one warning. So the
        program goes on.
    """
    try:
        server = _Server((host, port), _Handler)
    except (OSError, OverflowError) as error:
        _logger.warning("Metrics are not served on %s:%s: %s", host, port, error)
        return None
    threading.Thread(target=server.serve_forever, name="fastaio-metrics", daemon=True).start()
    return int(server.server_address[1])


# OpenTelemetry


def opentelemetry(meter_provider: Any = None) -> None:
    """Add observable counters and gauges of the loops that run to OpenTelemetry.

    Names are ``fastaio.`` and the key of loop.metrics(), or zuvloop's where it has one: loop_count,
    callbacks_run, events. Accounts that are kept are ``fastaio.account.`` and their key, with the
    attribute ``name``. The attribute ``loop`` numbers the loops.

    Args:
        meter_provider: OpenTelemetry's meter provider. None means the global one.

    Raises:
        ImportError: The package opentelemetry-api is not installed.
    """
    try:
        from opentelemetry import metrics
    except ImportError:
        raise ImportError(
            "fastaio.telemetry.opentelemetry() needs the package opentelemetry-api"
        ) from None
    meter = metrics.get_meter("fastaio", meter_provider=meter_provider)

    def observe(key: str) -> Callable[[Any], Iterator[Any]]:
        def callback(options: Any) -> Iterator[Any]:
            for index, loop in enumerate(running_loops()):
                values: dict[str, Any] = {**loop.metrics()}
                yield metrics.Observation(values[key], {"loop": index})

        return callback

    for key, meaning in COUNTERS.items():
        meter.create_observable_counter(
            f"fastaio.{_OTEL_NAMES.get(key, key)}",
            [observe(key)],
            unit="ns" if key.endswith("_ns") else "1",
            description=meaning,
        )
    for key, meaning in GAUGES.items():
        meter.create_observable_gauge(
            f"fastaio.{key}", [observe(key)], unit="1", description=meaning
        )
    _add_accounts(meter, metrics.Observation)


def _add_accounts(meter: Any, observation: Any) -> None:
    def observe(key: str) -> Callable[[Any], Iterator[Any]]:
        def callback(options: Any) -> Iterator[Any]:
            for index, loop in enumerate(running_loops()):
                for row in _rows(loop):
                    yield observation(row[key], {"loop": index, "name": row["name"]})

        return callback

    for key, (name, meaning, _) in _ACCOUNTS.items():
        counts = name.endswith("_total")
        create = meter.create_observable_counter if counts else meter.create_observable_gauge
        unit = "ns" if key.endswith("_ns") else "1"
        create(f"fastaio.account.{key}", [observe(key)], unit=unit, description=meaning)
