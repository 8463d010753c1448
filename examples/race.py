"""One FastAPI app, served by uvicorn on asyncio and on fastaio: which needs less for a request?

    python examples/race.py

Both servers run from the start, each told its loop by uvicorn's own ``--loop`` option. One client
process loads them in turn, a second at a time, so that a noisy machine is noisy for both. It counts
the requests, how long each took, and the CPU time of the server.
"""

import argparse
import asyncio
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

LOOPS = {"asyncio": "asyncio", "fastaio": "fastaio:new_event_loop"}
TICK = 0.1  # seconds between two reports of the client
RESOLUTION = 20e-6  # seconds, of the latencies

try:
    from fastapi import FastAPI
except ImportError:
    sys.exit("This example needs FastAPI and uvicorn: pip install '.[demo]'")

# ---------------------------------------------------------------------------------- the app

app = FastAPI()


async def look_up(what: str, user: int) -> dict[str, object]:
    await asyncio.sleep(0)  # where a real one would ask a cache or a database
    return {"what": what, "user": user, "items": [user, user + 1, user + 2]}


@app.get("/users/{user}")
async def dashboard(user: int):
    async with asyncio.timeout(1):
        profile, orders, news = await asyncio.gather(
            look_up("profile", user), look_up("orders", user), look_up("news", user)
        )
    return {"profile": profile, "orders": orders, "news": news}


# ------------------------------------------------------------------------------- the client

REQUEST = b"GET /users/42 HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Connection:
    """One keep-alive connection with one request on its way."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.length = 0
        self.ask()

    def ask(self) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(REQUEST)

    def answered(self) -> bool:
        """Take what has arrived; True once the answer is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.received += data
        if len(self.received) != self.length:
            head, end, _ = self.received.partition(b"\r\n\r\n")
            if not end:
                return False
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ConnectionError(f"the server answered {head[:60]!r}")
            body = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            self.length = len(head) + len(end) + body
            if len(self.received) < self.length:
                return False
        self.received = b""
        return True


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, all its threads together."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) gives for a process


def load(port: int, pid: int, connections: int, seconds: float) -> None:
    """Load one server and report, tick by tick, its CPU time and how many answers took how long."""
    poll = select.epoll()
    open_connections = {}
    for _ in range(connections):
        connection = Connection(port)
        open_connections[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
    now = reported = begin = time.perf_counter()
    cpu = cpu_seconds(pid)
    latencies: Counter[int] = Counter()
    while now - begin < seconds:
        for fd, _ in poll.poll(TICK):
            connection = open_connections[fd]
            if connection.answered():
                latencies[int((time.perf_counter() - connection.sent) / RESOLUTION)] += 1
                connection.ask()
        now = time.perf_counter()
        if now - reported >= TICK or now - begin >= seconds:
            used = cpu_seconds(pid)
            report = {"seconds": now - reported, "cpu": used - cpu, "latencies": latencies}
            print(json.dumps(report), flush=True)
            latencies.clear()
            reported, cpu = now, used
    for connection in open_connections.values():
        connection.socket.close()
    poll.close()
    print("{}", flush=True)


def client(connections: int) -> None:
    """Take orders from stdin: a server's port and process, and a number of seconds."""
    for line in sys.stdin:
        port, pid, seconds = line.split()
        load(int(port), int(pid), connections, float(seconds))


# --------------------------------------------------------------------------------- the race


class Runner:
    """A server on one loop, and what it has achieved so far."""

    def __init__(self, name: str, cpu: int | None):
        self.name = name
        self.requests = 0
        self.seconds = 0.0
        self.cpu = 0.0
        self.latencies: Counter[int] = Counter()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "race:app", "--loop", LOOPS[name]]
        command += ["--app-dir", str(Path(__file__).parent), "--port", str(self.port)]
        command += ["--http", "httptools", "--no-access-log", "--log-level", "warning"]
        self.process = subprocess.Popen(command)
        if cpu is not None:
            os.sched_setaffinity(self.process.pid, {cpu})

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"The server on {self.name} ended with status {self.process.returncode}.")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        sys.exit(f"The server on {self.name} did not start within 20 seconds.")

    def add(self, seconds: float, cpu: float, latencies: dict[str, int]) -> None:
        self.seconds += seconds
        self.cpu += cpu
        for bucket, count in latencies.items():
            self.latencies[int(bucket)] += count
            self.requests += count

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def cost(self) -> float:
        """CPU time per request, in microseconds."""
        return self.cpu / self.requests * 1e6 if self.requests else 0.0

    def percentile(self, part: float) -> float:
        """In milliseconds."""
        left = part * self.requests
        for bucket in sorted(self.latencies):
            left -= self.latencies[bucket]
            if left <= 0:
                return (bucket + 0.5) * RESOLUTION * 1e3
        return 0.0

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Screen:
    """Bars that move on a terminal; one line per round elsewhere."""

    def __init__(self, runners: list[Runner]):
        self.runners = runners
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.live and "NO_COLOR" not in os.environ
        self.drawn = False
        try:
            "█".encode(sys.stdout.encoding or "ascii")
            self.block = "█"
        except UnicodeEncodeError:
            self.block = "#"

    def line(self, runner: Runner, width: int) -> str:
        fastest = max(other.rate for other in self.runners) or 1.0
        size = round(width * runner.rate / fastest)
        bar = self.block * size
        if self.colour:
            bar = f"\033[{'36' if runner.name == 'fastaio' else '33'}m{bar}\033[0m"
        return (
            f"{runner.name:>8} {bar}{' ' * (width - size)} {runner.rate:>7,.0f} req/s"
            f"  {runner.cost:5.0f} us CPU/req"
            f"  p50 {runner.percentile(0.5):5.2f} ms  p99 {runner.percentile(0.99):5.2f} ms"
        )

    def draw(self) -> None:
        width = max(4, min(60, shutil.get_terminal_size().columns - 72))
        if self.drawn and self.live:
            print(f"\033[{len(self.runners)}A", end="")
        for runner in self.runners:
            print(("\033[2K" if self.live else "") + self.line(runner, width))
        sys.stdout.flush()
        self.drawn = True

    def tick(self) -> None:
        if self.live:
            self.draw()

    def round(self, number: int, rounds: int) -> None:
        if not self.live:
            rates = "   ".join(
                f"{r.name} {r.rate:,.0f} req/s, {r.cost:.0f} us" for r in self.runners
            )
            print(f"round {number} of {rounds}   {rates}", flush=True)


def race(options: argparse.Namespace) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    apart = len(cpus) > 1  # servers on one core, the client on another
    runners = [Runner(name, cpus[-1] if apart else None) for name in LOOPS]
    customer = subprocess.Popen(
        [sys.executable, __file__, "--client", "--connections", str(options.connections)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if apart:
        os.sched_setaffinity(customer.pid, {cpus[0]})
    screen = Screen(runners)

    def run(runner: Runner, seconds: float, count: bool) -> None:
        customer.stdin.write(f"{runner.port} {runner.process.pid} {seconds}\n")
        customer.stdin.flush()
        for line in customer.stdout:
            report = json.loads(line)
            if not report:
                return
            if count:
                runner.add(**report)
                screen.tick()
        sys.exit("The client ended too early.")

    try:
        for runner in runners:
            runner.wait_until_ready()
        print(
            f"FastAPI on uvicorn, {options.connections} connections, "
            f"{options.rounds} rounds of {options.seconds:g} s on each loop, "
            f"Python {sys.version.split()[0]}"
        )
        for runner in runners:
            run(runner, 0.5, count=False)  # warm up
        for number in range(1, options.rounds + 1):
            for runner in runners:
                run(runner, options.seconds, count=True)
            screen.round(number, options.rounds)
        screen.draw()
        ours, theirs = (next(r for r in runners if r.name == n) for n in ("fastaio", "asyncio"))
        print(
            f"\nfastaio answered {ours.rate / theirs.rate:.2f} times the requests of asyncio "
            f"({ours.requests:,} and {theirs.requests:,}), "
            f"with {ours.cost / theirs.cost:.2f} times the CPU time for each. "
            "The app is unchanged."
        )
    finally:
        customer.terminate()
        customer.wait()
        for runner in runners:
            runner.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round on one loop")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("connections", "rounds", "seconds"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name} must be more than 0")
    try:
        if options.client:
            client(options.connections)
        else:
            race(options)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
