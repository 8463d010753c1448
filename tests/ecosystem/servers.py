"""PostgreSQL, MariaDB and Redis as this machine has them installed, each started for the tests.

The data is in a temporary folder, the port one of the loopback. Databases refuse to run as root:
there an unprivileged user runs them.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from ..support import GUARD
from .support import LOCALHOST

NOBODY = 65534


def find(*names):
    """The path of a program, or skip where it is not installed; under CI that is an error."""
    postgresql = sorted(
        pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    places = os.pathsep.join([*map(str, reversed(postgresql)), os.environ["PATH"], "/usr/sbin"])
    for name in names:
        if path := shutil.which(name, path=places):
            return path
    problem = f"{names[0]} is not installed"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)


def bound_socket():
    """Keeps a port from all but those who set SO_REUSEADDR, as servers do; they may listen."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOCALHOST, 0))
    return sock


class Server:
    """A server program with its folder; `with` starts and ends it."""

    user = "tester"
    password = "secret"

    def __init__(self):
        self.host = LOCALHOST
        # It takes seconds to prepare the data: the port is still free when the server begins.
        self.place = bound_socket()
        self.port = self.place.getsockname()[1]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fastaio-server-"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.process = None
        self.who = {}
        if os.geteuid() == 0:
            self.who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def prepare(self):
        """Make the data, and return the command that serves it."""
        raise NotImplementedError

    def file(self, name, content):
        """Write a file that only the server may read."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        if self.who:
            os.chown(path, NOBODY, NOBODY)
        return path

    def options(self):
        home = {"HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C"}
        variables = {**os.environ, **home}
        variables.pop("LD_PRELOAD", None)  # a sanitizer is for our code
        return {"cwd": self.folder, "env": variables, **self.who}

    def call(self, *command, **options):
        """Run a program to its end as the user of the server."""
        with open(self.log, "ab") as log:
            status = subprocess.call(
                command, stdout=log, stderr=log, timeout=2 * GUARD, **self.options(), **options
            )
        assert status == 0, self.log.read_text(errors="replace")

    def __enter__(self):
        try:
            if self.who:
                os.chown(self.folder, NOBODY, NOBODY)
            command = self.prepare()
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **self.options(),
                )
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self):
        """Until the server accepts connections."""
        deadline = time.monotonic() + 2 * GUARD
        while not self.is_ready():
            said = self.log.read_text(errors="replace")
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def is_ready(self):
        try:
            socket.create_connection((self.host, self.port), timeout=GUARD).close()
        except ConnectionRefusedError:
            return False
        return True

    def __exit__(self, *exc):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(GUARD)
        self.place.close()
        shutil.rmtree(self.folder)


class PostgreSQL(Server):
    def __init__(self, certificate=None, key=None):
        super().__init__()
        self.certificate, self.key = certificate, key

    def prepare(self):
        program = find("postgres")
        password = self.file("password", self.password.encode())
        self.call(
            find("initdb"),
            f"--pgdata={self.data}",
            f"--username={self.user}",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )
        options = {
            "listen_addresses": self.host,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 60,
        }
        if self.certificate:
            options["ssl"] = "on"
            options["ssl_cert_file"] = self.file("certificate.pem", self.certificate)
            options["ssl_key_file"] = self.file("key.pem", self.key)
        return [
            *(program, "-D", self.data, "-p", str(self.port)),
            *(f"--{name}={value}" for name, value in options.items()),
        ]

    def is_ready(self):
        return b"ready to accept connections" in self.log.read_bytes()


class MariaDB(Server):
    def prepare(self):
        program = find("mariadbd", "mysqld")
        self.call(
            find("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--skip-test-db",
            "--skip-log-bin",
        )
        users = (
            f"CREATE USER {self.user}@'{self.host}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user}@'{self.host}';\n"
            "CREATE DATABASE traffic CHARACTER SET utf8mb4;\n"
        )
        return [
            program,
            "--no-defaults",
            f"--datadir={self.data}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.file('users.sql', users.encode())}",
            "--innodb-flush-log-at-trx-commit=0",
            "--max-allowed-packet=64M",
            "--skip-name-resolve",
        ]

    def is_ready(self):
        return b"ready for connections" in self.log.read_bytes()


class Redis(Server):
    def prepare(self):
        return [
            *(find("redis-server"), "--bind", self.host, "--port", str(self.port)),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no"),
            *("--requirepass", self.password),
        ]
